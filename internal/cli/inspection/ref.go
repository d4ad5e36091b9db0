package inspection

import (
	"strings"

	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/resource"
	"github.com/meshctl/meshctl/internal/whatif"
)

// Ref is the one thing that a command is about, as the user named it.
type Ref struct{ Kind, Name string }

// ParseRef takes KIND NAME and KIND/NAME.
func ParseRef(command string, args []string) (Ref, error) {
	kind, name, slash := strings.Cut(args[0], "/")
	switch {
	case slash && len(args) == 1:
		return Ref{kind, name}, nil
	case !slash && len(args) == 2:
		return Ref{args[0], args[1]}, nil
	}
	return Ref{}, exit.Usagef("%s needs KIND NAME", command).Try("meshctl %s svc reviews", command).Try("meshctl %s svc/reviews.default", command)
}

// Info is what is known of the kind.
func (r Ref) Info(command string) (*resource.KindInfo, error) {
	if info, ok := resource.LookupKind(r.Kind); ok {
		return info, nil
	}
	err := exit.Usagef("there is no kind %q", r.Kind)
	if near := resource.SuggestKind(r.Kind); near != "" {
		err = err.Try("did you mean %s?", near)
	}
	return nil, err.Try("meshctl %s --help", command)
}

// Key is the object that is meant: NAME in the namespace given, else NAME.NAMESPACE
// where there is no object of the whole name.
func Key(w *whatif.World, info *resource.KindInfo, name, namespace string) resource.Key {
	k := resource.Key{Kind: info.Kind, Namespace: namespace, Name: name}
	if !info.Namespaced {
		k.Namespace = ""
		return k
	}
	if i := strings.LastIndexByte(name, '.'); i > 0 && w.Object(k.Kind, namespace, name) == nil {
		k.Name, k.Namespace = name[:i], name[i+1:]
	}
	return k
}

// Names are the objects of a kind, as users name them.
func Names(w *whatif.World, kind resource.Kind) []string {
	var out []string
	for _, o := range w.Objects(kind) {
		out = append(out, strings.TrimSuffix(o.Key.Name+"."+o.Key.Namespace, "."))
	}
	return out
}
