package resource

import (
	"fmt"
	"regexp"

	"github.com/cespare/xxhash/v2"
	"google.golang.org/protobuf/proto"
	securityv1beta1 "istio.io/api/security/v1beta1"

	"github.com/meshctl/meshctl/internal/diag"
)

// A policy that is broken and has no last good version must not leave open what
// it was written to close. What stands in for it refuses: for an
// AuthorizationPolicy one that denies every request, for a PeerAuthentication one
// that demands mTLS, of the workloads that its selector names if that much can be
// read, else of the whole namespace.

// StandIn is what to put in force for a broken document without a last good
// version, with a finding that says what it does. It is nil for kinds whose
// absence opens nothing, and for policies that only watch.
func (d Document) StandIn() (*Object, diag.Diagnostic) {
	key := d.Key
	if d.tree == nil {
		key = keyInText(d.text, key.Namespace)
	} else if key.Kind.Group == "" { // apiVersion may be what is broken
		key.Kind.Group = GroupSecurity
	}
	if !closes(key.Kind) || onlyWatches(d.tree) {
		return nil, diag.Diagnostic{}
	}
	if key.Name == "" {
		key.Name = fmt.Sprintf("unnamed-%d", d.Pos.Line)
	}
	o := &Object{Key: key, APIVersion: InfoOf(key.Kind).APIVersion(), Pos: d.Pos}
	whose := "all workloads of namespace " + key.Namespace
	if spec, selects, ok := selection(d.tree, key.Kind); !ok {
		o.Spec = refusal(InfoOf(key.Kind).newSpec())
		whose += ", as what it selects cannot be read"
	} else {
		o.Spec = refusal(spec)
		if selects {
			whose = "the workloads that it selects"
		}
	}
	effect := "every request to " + whose + " is refused"
	if key.Kind == KindPeerAuthentication {
		effect = "clients of " + whose + " must use mTLS"
	}
	o.Hash = hashOf(o.Spec.(proto.Message))
	return o, diag.Diagnostic{
		Code: CodeFailClosed, Severity: diag.Error, Object: o.Ref(), Pos: d.Pos,
		Message: "the policy is broken, and no version of it was good before", Effect: effect,
		Fix: "repair the policy, or remove it",
	}
}

// closes reports whether objects of a kind close what is open without them.
func closes(k Kind) bool { return k == KindAuthorizationPolicy || k == KindPeerAuthentication }

// refusal makes a policy of the selection in spec that lets nobody through.
func refusal(spec proto.Message) proto.Message {
	switch s := spec.(type) {
	case *securityv1beta1.AuthorizationPolicy:
		s.Action = securityv1beta1.AuthorizationPolicy_DENY
		s.Rules = []*securityv1beta1.Rule{{}}
	case *securityv1beta1.PeerAuthentication:
		s.Mtls = &securityv1beta1.PeerAuthentication_MutualTLS{Mode: securityv1beta1.PeerAuthentication_MutualTLS_STRICT}
	}
	return spec
}

// hashOf identifies the content of a message that was made here.
func hashOf(m proto.Message) uint64 {
	text, _ := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	return xxhash.Sum64(text)
}

// selectionFields are those of a policy's spec that say whom it is about.
var selectionFields = []string{"selector", "targetRef", "targetRefs"}

// selection decodes only what says whom a policy is about, by the rules that
// hold for whole policies. ok is false when that cannot be known: it is broken
// itself, misspelled, or in the wrong place.
func selection(tree *node, kind Kind) (spec proto.Message, selects, ok bool) {
	if tree == nil || tree.child("selector") != nil {
		return nil, false, false
	}
	n := tree.child("spec")
	if n == nil || n.kind != mapNode {
		return nil, false, false
	}
	info := InfoOf(kind)
	spec = info.newSpec()
	said := &node{kind: mapNode, pos: n.pos}
	for _, f := range n.fields {
		if spec.ProtoReflect().Descriptor().Fields().ByJSONName(f.name) == nil {
			if nearest(f.name, selectionFields) != "" {
				return nil, false, false
			}
			continue
		}
		for _, name := range selectionFields {
			if f.name == name {
				said.fields = append(said.fields, f)
			}
		}
	}
	r := &reporter{}
	protoDecoder{r}.message(said, spec.ProtoReflect())
	r.ds = append(r.ds, Validate(&Object{Key: Key{Kind: kind, Namespace: "default", Name: "selection"}, Spec: spec})...)
	return spec, len(said.fields) > 0, !r.hasErrors()
}

// onlyWatches reports policies that refuse nothing also when they are whole.
func onlyWatches(tree *node) bool {
	if tree == nil {
		return false
	}
	if spec := tree.child("spec"); spec != nil && spec.str("action") == securityv1beta1.AuthorizationPolicy_AUDIT.String() {
		return true
	}
	if m := tree.child("metadata"); m != nil {
		if a := m.child("annotations"); a != nil {
			return a.str("istio.io/dry-run") == "true"
		}
	}
	return false
}

var (
	kindLine      = regexp.MustCompile(`(?m)^[{\s]*"?kind"?\s*:\s*"?(AuthorizationPolicy|PeerAuthentication)\b`)
	nameLine      = regexp.MustCompile(`(?m)^[{\s]*"?name"?\s*:\s*["']?([a-z0-9.-]+)`)
	namespaceLine = regexp.MustCompile(`(?m)^[{\s]*"?namespace"?\s*:\s*["']?([a-z0-9-]+)`)
)

// keyInText looks for a policy in text that is no YAML, line by line.
func keyInText(text []byte, namespace string) Key {
	kind := kindLine.FindSubmatch(text)
	if kind == nil {
		return Key{}
	}
	key := Key{Kind: Kind{GroupSecurity, string(kind[1])}, Namespace: namespace}
	if m := nameLine.FindSubmatch(text); m != nil {
		key.Name = string(m[1])
	}
	if m := namespaceLine.FindSubmatch(text); m != nil {
		key.Namespace = string(m[1])
	}
	return key
}
