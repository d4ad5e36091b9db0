package resource

import (
	"slices"
	"strings"

	"github.com/meshctl/meshctl/internal/diag"
)

// checkHeader checks apiVersion, kind and name. It returns false when there is
// no point in looking at the content.
func (d *decoder) checkHeader(root *node, info *KindInfo, key Key, r *reporter) bool {
	missing := false
	for _, name := range [...]string{"apiVersion", "kind"} {
		switch c := root.child(name); {
		case c == nil || c.kind == nullNode || (c.kind == stringNode && c.text == ""):
			r.push(name)
			r.errorf(root.pos, "write "+name+", as in apiVersion: networking.istio.io/v1, kind: VirtualService", "%s is missing", name)
			r.pop()
			missing = true
		case c.kind != stringNode:
			r.push(name)
			r.mistyped(c, "text")
			r.pop()
			missing = true
		}
	}
	if missing {
		return false
	}
	if !d.checkKind(root, info, key, r) {
		return false
	}
	if key.Name == "" {
		r.push("metadata")
		r.push("name")
		pos := root.pos
		if m := root.child("metadata"); m != nil {
			pos = m.pos
			if n := m.child("name"); n != nil && n.kind != stringNode {
				r.mistyped(n, "text")
				r.pop()
				r.pop()
				return true
			}
		}
		r.errorf(pos, "write metadata.name", "the object has no name")
		r.pop()
		r.pop()
	}
	return true
}

// checkKind reports kinds and versions that are not known. In Istio's own groups
// an unknown kind is an error, since it can only be a mistake; elsewhere the
// object belongs to someone else and is left alone, with a warning when its kind in
// one of Kubernetes' own groups is nearly one that is read.
func (d *decoder) checkKind(root *node, info *KindInfo, key Key, r *reporter) bool {
	version := root.str("apiVersion")
	if i := strings.LastIndexByte(version, '/'); i >= 0 {
		version = version[i+1:]
	}
	if info != nil {
		if slices.Contains(info.Versions, version) {
			return true
		}
		r.push("apiVersion")
		r.errorf(root.child("apiVersion").pos, "write "+info.APIVersion(), "version %q of %s is not supported: known are %s", shorten(version), info.Kind.Kind, strings.Join(info.Versions, ", "))
		r.pop()
		return false
	}
	if other := kindNamed(key.Kind.Kind); other != nil && !strings.Contains(key.Kind.Group, ".") || strings.HasSuffix(key.Kind.Group, ".istio.io") || key.Kind.Group == GroupGatewayAPI {
		if other != nil {
			r.push("apiVersion")
			r.errorf(root.child("apiVersion").pos, "write "+other.APIVersion(), "%s is not a kind of %s", other.Kind.Kind, quoted(root.str("apiVersion")))
			r.pop()
			return false
		}
		r.push("kind")
		r.errorf(root.child("kind").pos, didYouMean(key.Kind.Kind, kindsOfGroup(key.Kind.Group)), "unknown kind %s in %s", quoted(key.Kind.Kind), quoted(root.str("apiVersion")))
		r.pop()
		return false
	}
	unknown := diag.Diagnostic{
		Code: CodeUnknownKind, Severity: diag.Info,
		Message: "objects of kind " + shorten(key.Kind.String()) + " are not read by the mesh",
		Effect:  "none: the object is left as it is",
	}
	if fix := didYouMean(key.Kind.Kind, kindsOfGroup(key.Kind.Group)); fix != "" && !strings.Contains(key.Kind.Group, ".") {
		unknown.Severity, unknown.Effect, unknown.Fix = diag.Warning, "the mesh goes on without what the object was meant to be", fix
	}
	r.push("kind")
	r.add(unknown, root.child("kind").pos)
	r.pop()
	return true
}

func kindNamed(name string) *KindInfo {
	for i := range kindTable {
		if kindTable[i].Kind.Kind == name {
			return &kindTable[i]
		}
	}
	return nil
}

func kindsOfGroup(group string) []string {
	var names []string
	for i := range kindTable {
		if kindTable[i].Kind.Group == group {
			names = append(names, kindTable[i].Kind.Kind)
		}
	}
	return names
}

// setNamespace writes the namespace that applies into the tree, so that typed
// content, canonical text and key agree; it drops one from cluster-scoped kinds.
func (d *decoder) setNamespace(root *node, info *KindInfo, key Key, r *reporter) {
	m := root.child("metadata")
	if m == nil || m.kind != mapNode {
		return
	}
	i := slices.IndexFunc(m.fields, func(f field) bool { return f.name == "namespace" })
	switch {
	case key.Namespace == "":
		if i >= 0 {
			f := m.fields[i]
			r.push("metadata")
			r.push("namespace")
			r.add(diag.Diagnostic{
				Code: CodeSchemaWarning, Severity: diag.Warning,
				Message: "objects of kind " + key.Kind.Kind + " have no namespace",
				Effect:  "the namespace is ignored", Fix: "remove it",
			}, f.pos)
			r.pop()
			r.pop()
			m.fields = slices.Delete(m.fields, i, i+1)
		}
	case i < 0:
		m.fields = append(m.fields, field{name: "namespace", pos: m.pos, value: node{kind: stringNode, pos: m.pos, text: key.Namespace}})
	case info == nil || info.Namespaced:
		if v := &m.fields[i].value; v.kind == nullNode || v.kind == stringNode && v.text == "" {
			*v = node{kind: stringNode, pos: v.pos, text: key.Namespace}
		}
	}
}
