package resource

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/meshctl/meshctl/internal/diag"
)

// maxFindings bounds what is said about one object: past it, the rest adds nothing.
const maxFindings = 200

// reporter collects findings about one object while its tree is walked.
type reporter struct {
	file  string
	obj   diag.Object
	steps []step
	ds    []diag.Diagnostic
	muted bool // status is read leniently: what does not fit is dropped
}

// step is a field name, or a list index when name is "".
type step struct {
	name  string
	entry bool // a key chosen by the user
	index int
}

func (r *reporter) push(name string)      { r.steps = append(r.steps, step{name: name}) }
func (r *reporter) pushEntry(name string) { r.steps = append(r.steps, step{name: name, entry: true}) }
func (r *reporter) pushIndex(i int)       { r.steps = append(r.steps, step{index: i}) }
func (r *reporter) pop()                  { r.steps = r.steps[:len(r.steps)-1] }

func (r *reporter) path() string {
	var b strings.Builder
	for _, s := range r.steps {
		switch {
		case s.entry:
			b.WriteString("[" + s.name + "]")
		case s.name == "":
			b.WriteString("[" + strconv.Itoa(s.index) + "]")
		default:
			appendName(&b, s.name)
		}
	}
	return b.String()
}

func (r *reporter) add(d diag.Diagnostic, pos place) {
	if r.muted || len(r.ds) >= maxFindings {
		return
	}
	d.Object = r.obj
	d.Pos = diag.Pos{File: r.file, Line: int(pos.line), Col: int(pos.col)}
	d.Field = r.path()
	r.ds = append(r.ds, d)
}

// errorf reports a schema error at pos; the object will not be used.
func (r *reporter) errorf(pos place, fix, format string, args ...any) {
	r.add(diag.Diagnostic{Code: CodeSchema, Severity: diag.Error, Message: fmt.Sprintf(format, args...), Effect: effectNotUsed, Fix: fix}, pos)
}

// mistyped reports a value of the wrong type.
func (r *reporter) mistyped(n *node, want string) {
	found := n.kind.String()
	switch n.kind {
	case stringNode:
		found = "the text " + strconv.Quote(shorten(n.text))
	case intNode, floatNode:
		found = "the number " + shorten(n.written())
	case boolNode:
		found = "the boolean " + n.text
	case nullNode, listNode, mapNode: // the kind says it all
	}
	fix := ""
	if want == "text" && (n.kind == intNode || n.kind == floatNode || n.kind == boolNode) {
		fix = "quote it: " + strconv.Quote(shorten(n.written()))
	}
	r.errorf(n.pos, fix, "must be %s, found %s", want, found)
	if fix != "" {
		r.edit(diag.Edit{Path: r.path(), Value: strconv.Quote(n.written())})
	}
}

// edit adds to the last finding what would put it right.
func (r *reporter) edit(e diag.Edit) {
	if len(r.ds) > 0 && !r.muted {
		r.ds[len(r.ds)-1].Edit = e
	}
}

func (r *reporter) unknownField(f *field, known []string) {
	hint := didYouMean(f.name, known)
	if hint == "" && len(known) > 0 && len(known) <= 12 {
		hint = "known fields are " + strings.Join(known, ", ")
	}
	r.push(f.name)
	r.errorf(f.pos, hint, "unknown field %q", shorten(f.name))
	if near := nearest(f.name, known); near != "" && foldName(near) == foldName(f.name) {
		r.edit(diag.Edit{Path: r.path(), Key: near}) // only its spelling differs
	}
	r.pop()
}

// hasErrors reports whether any finding so far sets the object aside.
func (r *reporter) hasErrors() bool {
	worst, ok := diag.Worst(r.ds)
	return ok && worst == diag.Error
}

const effectNotUsed = "the object is not used; its last good version, if there is one, stays in force"

// shorten keeps a message readable when it quotes what the user wrote.
func shorten(s string) string {
	const most = 80
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

// alsoWrong adds what Validate has against the fields of o that could be read, so
// that one round of corrections is enough. What was not written, and what stands
// above or below a field that could not be read, is left out: it may only seem wrong.
func (r *reporter) alsoWrong(o *Object, fields *fieldIndex) {
	unread := slices.Clone(r.ds)
	o.Fields = fields
	for _, d := range Validate(o) {
		near := func(e diag.Diagnostic) bool {
			return e.Severity == diag.Error && (strings.HasPrefix(d.Field, e.Field) || strings.HasPrefix(e.Field, d.Field))
		}
		if d.Severity == diag.Error && fields.has(d.Field) && !slices.ContainsFunc(unread, near) {
			r.ds = append(r.ds, d)
		}
	}
	sortFindings(r.ds)
}
