package analyze

import (
	"context"
	"fmt"
	"strings"

	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/resource"
)

// findings collects what one analyzer finds.
type findings struct {
	ctx context.Context // of one run of one analyzer
	w   *world
	out []diag.Diagnostic
}

// text is what is said: what is wrong, what it does to traffic, the next step.
type text struct{ message, effect, fix string }

// add reports something about a field, at the level that the code has.
func (f *findings) add(o *resource.Object, c code, field string, t text) {
	f.addAt(o, c, c.level, field, t)
}

// addAt is add at a level of its own.
func (f *findings) addAt(o *resource.Object, c code, level diag.Severity, field string, t text) {
	f.out = append(f.out, diag.Diagnostic{
		Code: c.id, Severity: level, Object: o.Ref(), Pos: o.At(field), Field: field,
		Message: t.message, Effect: t.effect, Fix: t.fix,
	})
}

// edit adds to the last finding what would put it right.
func (f *findings) edit(e diag.Edit) { f.out[len(f.out)-1].Edit = e }

// missing reports a reference that leads nowhere, or that it cannot be known.
// namespace is where the thing would be.
func (f *findings) missing(o *resource.Object, c code, is known, field, namespace string, t text) {
	switch is {
	case no:
		f.add(o, c, field, t)
	case unknown:
		what := "the objects given"
		if namespace != "" {
			what += ", which do not describe namespace " + namespace
		}
		f.addAt(o, c, diag.Unknown, field, text{
			"cannot be told from " + what + ": " + t.message,
			"if it is so: " + t.effect, "give the missing files too, or leave such findings out with --ignore-missing",
		})
	case yes: // nothing to say
	}
}

// at makes the path of a list's item.
func at(path string, i int) string { return fmt.Sprintf("%s[%d]", path, i) }

// in makes the path of a map's value.
func in(path, key string) string { return path + "[" + key + "]" }

// under joins a path and a field; the path may be empty.
func under(path, field string) string { return strings.TrimPrefix(path+"."+field, ".") }
