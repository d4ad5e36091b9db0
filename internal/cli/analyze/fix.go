package analyze

import (
	"slices"

	"github.com/rogpeppe/go-internal/diff"

	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/plural"
	"github.com/meshctl/meshctl/internal/yamledit"
)

// fix shows what can be put right as a patch, or writes it, and returns the findings
// that remain.
func (o *Options) fix(found []diag.Diagnostic, in *gathered) ([]diag.Diagnostic, error) {
	byFile := map[string][]diag.Diagnostic{}
	var remain []diag.Diagnostic
	for _, d := range found {
		if d.Edit == (diag.Edit{}) || d.Pos.Line == 0 {
			remain = append(remain, d)
			continue
		}
		byFile[d.Pos.File] = append(byFile[d.Pos.File], d)
	}
	fixed, files := 0, 0
	for _, f := range in.files {
		ds := byFile[f.Name]
		if len(ds) == 0 {
			continue
		}
		text, left := edited(f.Data, ds)
		remain = append(remain, left...)
		if n := len(ds) - len(left); n > 0 {
			fixed, files = fixed+n, files+1
			if err := o.change(f.Name, f.Data, text); err != nil {
				return nil, err
			}
		}
	}
	slices.SortFunc(remain, diag.Compare)
	o.sayFixed(fixed, files, len(remain))
	return remain, nil
}

// edited applies the edits of findings, and returns those that could not be.
func edited(text []byte, ds []diag.Diagnostic) ([]byte, []diag.Diagnostic) {
	var changes []yamledit.Change
	for _, d := range ds {
		changes = append(changes, yamledit.Change{Line: d.Pos.Line, Col: d.Pos.Col, Key: d.Edit.Key, Value: d.Edit.Value})
	}
	out, refused := yamledit.Apply(text, changes)
	var left []diag.Diagnostic
	for _, r := range refused {
		left = append(left, ds[slices.Index(changes, r.Change)])
	}
	return out, left
}

// change writes a file, or shows how it would change.
func (o *Options) change(name string, before, after []byte) error {
	if !o.Write || name == standardInput {
		if o.Write {
			return exit.Usagef("standard input cannot be written").Try("leave --write out, to see the patch")
		}
		_, err := o.Env.IO.Out.Write(diff.Diff("a/"+name, before, "b/"+name, after))
		return err
	}
	if err := writeFile(name, after); err != nil {
		return exit.Failuref("cannot write %s", name).Because(err)
	}
	return nil
}

func (o *Options) sayFixed(fixed, files, remain int) {
	io := o.Env.IO
	switch {
	case fixed == 0:
		io.Sayf("nothing can be put right with certainty\n")
	case o.Write:
		io.Sayf("%s put right in %s\n", plural.Of(fixed, "finding"), plural.Of(files, "file"))
	default:
		io.Sayf("%s can be put right in %s; --write does it\n", plural.Of(fixed, "finding"), plural.Of(files, "file"))
	}
	if remain > 0 {
		io.Sayf("left: %s, which analyze without --fix shows\n", plural.Of(remain, "finding"))
	}
}
