package inspect

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"

	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/reference"
	"github.com/meshctl/meshctl/internal/resource"
	"github.com/meshctl/meshctl/internal/whatif"
)

// Unused is an object, or a part of one, that has no effect.
type Unused struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	Field     string `json:"field,omitempty"` // "" for the whole object
	Reason    string `json:"reason"`
	At        string `json:"at,omitempty"`
}

// wholeCodes are findings by which an object has no effect at all, with the field
// that they are about; "" for any.
var wholeCodes = map[string]string{
	"IST0174": "",                   // a DestinationRule's host does not exist
	"IST0127": "",                   // a policy's selector selects nothing
	"IST0167": "",                   // a Sidecar selects what has none
	"IST0111": "",                   // a second Sidecar for the namespace
	"IST0160": "",                   // a second Telemetry for the namespace
	"IST0101": "selector",           // a Gateway, Sidecar or Telemetry selects nothing
	"MSH0207": "whole",              // a kind that has no effect
	"MSH1102": "PeerAuthentication", // an older policy decides
}

// partCodes are findings by which a part of an object has no effect.
var partCodes = []string{"MSH1107", resource.CodeUnreachableRule, "MSH0203"}

// Unused lists what has no effect, ordered by kind, namespace and name. What the
// objects cannot tell is left out.
func (in *Inspector) Unused() []Unused {
	var out []Unused
	whole := map[diag.Object]bool{}
	add := func(o diag.Object, field, reason, at string) {
		if field == "" {
			if whole[o] {
				return
			}
			whole[o] = true
		}
		out = append(out, Unused{o.Kind, o.Namespace, o.Name, field, reason, at})
	}
	for _, f := range in.findings {
		if f.Severity == diag.Unknown {
			continue
		}
		if in.isWhole(f) {
			add(f.Object, "", f.Message, place(f.Pos))
		} else if slices.Contains(partCodes, f.Code) {
			add(f.Object, f.Field, f.Message, place(f.Pos))
		}
	}
	refs := in.References()
	for _, o := range in.w.Given() {
		if reason, field := in.vain(o, refs); reason != "" {
			add(o.Ref(), "", reason, place(o.At(field)))
			continue
		}
		if dr, ok := o.Spec.(*networking.DestinationRule); ok && !whole[o.Ref()] {
			for i, s := range dr.Subsets {
				if !routed(refs, mesh.QualifyHost(dr.Host, o.Key.Namespace, in.w.Domain()), s.Name) {
					field := fmt.Sprintf("spec.subsets[%d]", i)
					add(o.Ref(), field, "no route leads to subset "+s.Name, place(o.At(field)))
				}
			}
		}
	}
	out = slices.DeleteFunc(out, func(u Unused) bool {
		return u.Field != "" && whole[diag.Object{Kind: u.Kind, Namespace: u.Namespace, Name: u.Name}]
	})
	slices.SortFunc(out, func(a, b Unused) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Field, b.Field))
	})
	return slices.CompactFunc(out, func(a, b Unused) bool { // of several reasons one will do
		return a.Kind == b.Kind && a.Namespace == b.Namespace && a.Name == b.Name && a.Field == b.Field
	})
}

func place(p diag.Pos) string {
	if p.File == "" {
		return ""
	}
	return p.String()
}

// isWhole reports whether a finding says that its object has no effect at all.
func (in *Inspector) isWhole(f diag.Diagnostic) bool {
	about, ok := wholeCodes[f.Code]
	switch {
	case !ok:
		return false
	case about == "selector":
		return strings.Contains(strings.ToLower(f.Field), "selector")
	case about == "whole":
		return f.Field == ""
	case about != "":
		return f.Object.Kind == about
	}
	return true
}

// vain says why an object has no effect, and which field shows it; "" when it has.
func (in *Inspector) vain(o *resource.Object, refs []reference.Reference) (reason, field string) {
	named := func(k resource.Kind) bool {
		return slices.ContainsFunc(refs, func(r reference.Reference) bool {
			return r.Kind == k && r.Name == o.Key.Name && (r.Target.Namespace == "" || r.Target.Namespace == o.Key.Namespace)
		})
	}
	switch s := o.Spec.(type) {
	case *networking.Gateway:
		auto := slices.ContainsFunc(s.Servers, func(x *networking.Server) bool {
			return x.GetTls().GetMode() == networking.ServerTLSSettings_AUTO_PASSTHROUGH
		})
		if !named(resource.KindGateway) && !auto {
			return "no VirtualService is bound to it: every request gets 404", ""
		}
	case *networking.VirtualService:
		if len(s.Hosts) == 0 {
			if !named(resource.KindVirtualService) {
				return "it has no hosts, and no VirtualService delegates to it", "spec"
			}
			return "", ""
		}
		return in.vainRoutes(o, s)
	case *networking.DestinationRule:
		return in.hidden(s.ExportTo, o, in.w.Config().GetDefaultDestinationRuleExportTo()), "spec.exportTo"
	case *networking.ServiceEntry:
		return in.hidden(s.ExportTo, o, in.w.Config().GetDefaultServiceExportTo()), "spec.exportTo"
	case *corev1.Secret:
		if s.Type == corev1.SecretTypeTLS && !named(resource.KindSecret) {
			return "nothing names it", ""
		}
	}
	return "", ""
}

// hidden says that nobody sees an object.
func (in *Inspector) hidden(exportTo []string, o *resource.Object, def []string) string {
	v := mesh.NewVisibility(exportTo, o.Key.Namespace, def)
	if v.None() {
		return "it is exported to nobody"
	}
	if v.All {
		return ""
	}
	for _, ns := range v.Namespaces {
		described := in.w.Running() || slices.ContainsFunc(in.w.Given(), func(o *resource.Object) bool { return o.Key.Namespace == ns && o.Key.Kind != resource.KindNamespace })
		if !described || slices.ContainsFunc(in.w.Pods(), func(p whatif.Pod) bool { return p.Namespace == ns }) {
			return ""
		}
	}
	return "it is exported to " + strings.Join(v.Namespaces, ", ") + " only, where nothing runs"
}

// vainRoutes says why no proxy uses a VirtualService.
func (in *Inspector) vainRoutes(o *resource.Object, s *networking.VirtualService) (reason, field string) {
	if why := in.hidden(s.ExportTo, o, in.w.Config().GetDefaultVirtualServiceExportTo()); why != "" {
		return why, "spec.exportTo"
	}
	taken, unbound, unserved := 0, 0, 0
	last := ""
	for _, f := range in.findings {
		if f.Object != o.Ref() || f.Severity == diag.Unknown {
			continue
		}
		switch {
		case f.Code == "IST0109":
			taken, last = taken+1, f.Message
		case f.Code == "IST0101" && strings.HasPrefix(f.Field, "spec.gateways["):
			unbound++
		case f.Code == "IST0132":
			unserved++
		}
	}
	gateways := slices.DeleteFunc(slices.Clone(s.Gateways), func(g string) bool { return g == mesh.MeshGateway })
	inMesh := len(s.Gateways) == 0 || len(gateways) < len(s.Gateways)
	switch {
	case inMesh && len(gateways) == 0 && taken == len(s.Hosts):
		return last, "spec.hosts"
	case !inMesh && unbound == len(gateways):
		return "none of its gateways exists", "spec.gateways"
	case !inMesh && unbound+unserved > 0 && unserved == len(s.Hosts)*(len(gateways)-unbound):
		return "none of its gateways serves its hosts", "spec.hosts"
	}
	return "", ""
}

// routed reports whether a rule leads to a subset of a host.
func routed(refs []reference.Reference, host, subset string) bool {
	return slices.ContainsFunc(refs, func(r reference.Reference) bool {
		return r.Subset == subset && r.Host != "" && mesh.HostsOverlap(r.Host, host)
	})
}
