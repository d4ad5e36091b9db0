package mesh

import (
	"slices"
	"strings"
)

// Visibility is a parsed exportTo: which namespaces may see an object.
type Visibility struct {
	All        bool
	Namespaces []string // sorted; the object's own is in it if "." was given
}

// NewVisibility parses exportTo values of an object in a namespace: "." is its
// own namespace, "*" all, "~" none, anything else a namespace. No values mean
// the default, which MeshConfig gives in the same words.
func NewVisibility(exportTo []string, namespace string, def []string) Visibility {
	if len(exportTo) == 0 {
		exportTo = def
	}
	if len(exportTo) == 0 {
		return Visibility{All: true}
	}
	var v Visibility
	for _, e := range exportTo {
		switch e = strings.TrimSpace(e); e {
		case "*":
			return Visibility{All: true}
		case ".":
			v.Namespaces = append(v.Namespaces, namespace)
		case "~", "":
		default:
			v.Namespaces = append(v.Namespaces, e)
		}
	}
	slices.Sort(v.Namespaces)
	v.Namespaces = slices.Compact(v.Namespaces)
	return v
}

// To reports whether the object is visible in a namespace.
func (v Visibility) To(namespace string) bool {
	return v.All || slices.Contains(v.Namespaces, namespace)
}

// None reports whether nobody may see the object.
func (v Visibility) None() bool { return !v.All && len(v.Namespaces) == 0 }

// Equal compares two visibilities.
func (v Visibility) Equal(w Visibility) bool {
	return v.All == w.All && slices.Equal(v.Namespaces, w.Namespaces)
}
