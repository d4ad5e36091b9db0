package file

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/plural"
	"github.com/meshctl/meshctl/internal/resource"
)

// fileState is what is known of one file. Immutable once made.
type fileState struct {
	sig  signature
	racy bool
	text uint64 // hash of the content

	objects  []*resource.Object // good, as the text has them
	kept     []*resource.Object // last good versions of what the text breaks
	refusals []*resource.Object // what stands in for broken policies that were never good
	findings []diag.Diagnostic
	// suspicious: the file had objects and is empty now, which is what a file
	// looks like while an editor writes it. It is believed at the second look.
	suspicious bool
}

// inForce are all objects the file stands for, as they were written.
func (f *fileState) inForce() []*resource.Object {
	if f == nil {
		return nil
	}
	return append(slices.Clip(f.objects), f.kept...)
}

// refresh returns the state of a file, reading it when it may have changed.
func (s *Source) refresh(c candidate) *fileState {
	old := s.files[c.path]
	if old != nil && c.err == nil && !old.racy && !old.suspicious && old.sig == c.sig {
		return old
	}
	now := time.Now()
	data, err := s.read(c)
	if err != nil {
		return unreadable(c, old, err)
	}
	next := &fileState{sig: c.sig, racy: isRacy(c.sig, now), text: xxhash.Sum64(data)}
	if old != nil && old.text == next.text && !old.suspicious && old.sig != (signature{}) {
		next.objects, next.kept, next.refusals, next.findings = old.objects, old.kept, old.refusals, old.findings
		return next
	}
	if old != nil && !old.suspicious && len(bytes.TrimSpace(data)) == 0 && len(old.inForce()) > 0 {
		next.objects, next.kept, next.refusals, next.findings, next.suspicious = old.objects, old.kept, old.refusals, old.findings, true
		return next
	}
	s.decode(c, data, old, next)
	return next
}

// unreadable keeps what the file stood for, and says so. The empty signature
// makes the next look read it.
func unreadable(c candidate, old *fileState, err error) *fileState {
	next := &fileState{kept: old.inForce()}
	if old != nil {
		next.refusals = old.refusals
	}
	d := diag.Diagnostic{
		Code: resource.CodeSource, Severity: diag.Error, Pos: diag.Pos{File: c.path},
		Message: "cannot be read: " + reason(err), Effect: "nothing is read from it", Fix: "make it readable, or remove it",
	}
	if n := len(next.kept); n > 0 {
		d.Effect = fmt.Sprintf("the last good version of %s stays in force", plural.Of(n, "object"))
	}
	next.findings = []diag.Diagnostic{d}
	return next
}

// decode fills next from the text of a file.
func (s *Source) decode(c candidate, data []byte, old, next *fileState) {
	docs := resource.DecodeDocuments(c.path, data, s.opts.Decode)
	if !c.named && len(docs) > 0 && !slices.ContainsFunc(docs, func(d resource.Document) bool { return !d.Foreign }) {
		next.findings = []diag.Diagnostic{{
			Code: resource.CodeSource, Severity: diag.Info, Pos: docs[0].Pos,
			Message: "the file holds no objects: there is neither apiVersion nor kind", Effect: "none: it is left alone",
		}}
		return
	}
	var broken []resource.Document
	for _, doc := range docs {
		ds := doc.Diagnostics
		if doc.Object != nil {
			ds = append(ds, resource.Validate(doc.Object)...)
		}
		next.findings = append(next.findings, ds...)
		if worst, ok := diag.Worst(ds); doc.Object == nil || ok && worst == diag.Error {
			broken = append(broken, doc)
			continue
		}
		next.objects = append(next.objects, doc.Object)
	}
	next.refuse(next.keepLastGood(old, broken))
}

// refuse puts stand-ins in force for the broken policies that have no last good version.
func (f *fileState) refuse(broken []resource.Document) {
	for _, doc := range broken {
		stand, finding := doc.StandIn()
		if stand == nil || slices.ContainsFunc(f.inForce(), func(o *resource.Object) bool { return o.Key == stand.Key }) {
			continue
		}
		f.refusals = append(f.refusals, stand)
		f.findings = append(f.findings, finding)
	}
}

// keepLastGood decides which objects of the version before stay in force. A
// broken document that names its object keeps that one. Where it is not known
// which object a broken document is, all that can no longer be found are kept;
// when at least its kind is known (an object renamed while being edited), those
// of that kind. An object that is gone from a text without errors is deleted.
// Returned are the broken documents for which nothing was kept.
func (f *fileState) keepLastGood(old *fileState, broken []resource.Document) []resource.Document {
	kept := make([]bool, len(broken))
	for _, o := range old.inForce() {
		if slices.ContainsFunc(f.objects, func(n *resource.Object) bool { return n.Key == o.Key }) {
			continue
		}
		i := slices.IndexFunc(broken, func(d resource.Document) bool { return d.Key == o.Key })
		if i < 0 {
			i = slices.IndexFunc(broken, func(d resource.Document) bool {
				return d.Key.Kind.Kind == "" || d.Key.Name == "" ||
					d.Key.Kind == o.Key.Kind && !slices.ContainsFunc(old.inForce(), func(p *resource.Object) bool { return p.Key == d.Key })
			})
		}
		if i < 0 {
			continue
		}
		kept[i] = true
		f.kept = append(f.kept, o)
		f.findings = append(f.findings, diag.Diagnostic{
			Code: resource.CodeLastGood, Severity: diag.Warning, Object: o.Ref(), Pos: broken[i].Pos,
			Message: fmt.Sprintf("the new text is broken; the version read from %s before stays in force", o.Pos),
			Effect:  "traffic is handled as before the edit", Fix: "repair the text; it is read again at once",
		})
	}
	var rest []resource.Document
	for i, doc := range broken {
		if !kept[i] {
			rest = append(rest, doc)
		}
	}
	return rest
}
