package whatif

import (
	"strings"

	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/resource"
)

// decided names the object behind a path of generated configuration, such as
// /apis/networking.istio.io/v1alpha3/namespaces/default/virtual-service/reviews,
// and the place of its field; nil when nothing the user wrote decided.
func (w *World) decided(path, field string) *Decision {
	o := w.objects[path]
	if o == nil {
		return nil
	}
	return decision(o, field)
}

// decidedBy names the object of an origin.
func (w *World) decidedBy(o mesh.Origin, field string) *Decision {
	if o.IsZero() {
		return nil
	}
	if d := w.decided(o.ConfigPath(), field); d != nil {
		return d
	}
	return &Decision{Kind: o.Kind, Namespace: o.Namespace, Name: o.Name, Field: field}
}

func decision(o *resource.Object, field string) *Decision {
	d := &Decision{Kind: o.Key.Kind.Kind, Namespace: o.Key.Namespace, Name: o.Key.Name, Field: field, Pos: o.Pos}
	if field != "" {
		d.Pos = o.At(field)
	}
	if d.Pos.File != "" {
		d.At = d.Pos.String()
	}
	return d
}

// policyRule reads the name that generated policies have,
// ns[default]-policy[allow-ratings]-rule[0], as an AuthorizationPolicy and a field.
func (w *World) policyRule(name string) *Decision {
	ns, rest, ok := bracket(name, "ns")
	if !ok {
		return nil
	}
	policy, rest, ok := bracket(rest, "policy")
	if !ok {
		return nil
	}
	field := ""
	if rule, _, ok := bracket(rest, "rule"); ok && rule != "none" {
		field = "spec.rules[" + rule + "]"
	}
	return w.decidedBy(mesh.Origin{Group: "security.istio.io", Kind: "AuthorizationPolicy", Namespace: ns, Name: policy}, field)
}

// policyPath is how generated configuration names an AuthorizationPolicy.
func policyPath(namespace, name string) string {
	return mesh.Origin{Group: "security.istio.io", Kind: "AuthorizationPolicy", Namespace: namespace, Name: name}.ConfigPath()
}

// bracket takes "key[value]" off the front of s, behind an optional "-".
func bracket(s, key string) (value, rest string, ok bool) {
	s, ok = strings.CutPrefix(strings.TrimPrefix(s, "-"), key+"[")
	if !ok {
		return "", "", false
	}
	return strings.Cut(s, "]")
}
