package resource

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"unicode/utf8"

	"github.com/meshctl/meshctl/internal/diag"
)

// Options of Decode. The zero value works.
type Options struct {
	// DefaultNamespace is given to namespaced objects that name none; "default" when empty.
	DefaultNamespace string
	Limits           Limits
}

// Document is what became of one object in a stream.
type Document struct {
	// Key names the object as far as the text tells; Name is "" when it does not.
	Key Key
	// Object is nil when the text is broken: Diagnostics says why.
	Object      *Object
	Pos         diag.Pos
	Diagnostics []diag.Diagnostic
	// tree and text are what StandIn reads of a broken document; one is nil.
	tree *node
	text []byte
	// Foreign is true for an object without apiVersion and kind: most likely
	// another tool's file rather than a mistake.
	Foreign bool
}

// Decode reads the objects of a YAML or JSON stream: several documents, lists
// (kind: List) and anchors included. Objects with errors are left out, those
// beside them are not; every finding carries the place it is about. Decode
// checks that objects fit their kinds; Validate checks what the fields say. Of an
// object that does not fit, the rest is validated here: nobody else sees it.
func Decode(file string, data []byte, opts Options) ([]*Object, []diag.Diagnostic) {
	var objects []*Object
	var ds []diag.Diagnostic
	for _, doc := range DecodeDocuments(file, data, opts) {
		if doc.Object != nil {
			objects = append(objects, doc.Object)
		}
		ds = append(ds, doc.Diagnostics...)
	}
	return objects, ds
}

// DecodeDocuments is Decode for callers who need to know which object a broken
// document was meant to be, as the file source does to keep its last good version.
func DecodeDocuments(file string, data []byte, opts Options) []Document {
	d := newDecoder(file, opts)
	data, bad := d.prepare(data)
	if bad != nil {
		return []Document{d.broken(*bad)}
	}
	for _, c := range splitDocuments(data) {
		if len(d.docs) >= d.limits.Documents {
			d.docs = append(d.docs, d.broken(syntaxError{CodeLimit, place{int32(c.line), 1}, fmt.Sprintf("more than %d objects in one file", d.limits.Documents), "split the file"}))
			break
		}
		root, errs := d.parse(c)
		switch {
		case root == nil:
			for _, e := range errs {
				doc := d.broken(*e)
				doc.Key.Namespace, doc.text = d.namespace, c.text
				d.docs = append(d.docs, doc)
			}
		case root.kind == nullNode && len(errs) == 0:
		default:
			d.document(root, errs, 0)
		}
	}
	return d.docs
}

// decoder is one call of Decode.
type decoder struct {
	parser
	file      string
	namespace string
	types     map[reflect.Type]*structFields
	docs      []Document
	scratch   []byte
}

func newDecoder(file string, opts Options) *decoder {
	d := &decoder{file: file, namespace: opts.DefaultNamespace, types: map[reflect.Type]*structFields{}}
	d.limits = opts.Limits.withDefaults()
	d.names = make(map[string]string, 128)
	if d.namespace == "" {
		d.namespace = "default"
	}
	return d
}

// prepare checks what can be known before parsing, and drops a byte order mark.
func (d *decoder) prepare(data []byte) ([]byte, *syntaxError) {
	start := place{1, 1}
	if len(data) > d.limits.FileBytes {
		return nil, &syntaxError{CodeLimit, start, fmt.Sprintf("the file has %d bytes, at most %d are read", len(data), d.limits.FileBytes), "split it into several files"}
	}
	if bytes.HasPrefix(data, []byte("\xff\xfe")) || bytes.HasPrefix(data, []byte("\xfe\xff")) {
		return nil, &syntaxError{CodeSyntax, start, "the text is UTF-16", "save it as UTF-8"}
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if !utf8.Valid(data) {
		line, rest := int32(1), data
		for i := bytes.IndexByte(rest, '\n'); i >= 0 && utf8.Valid(rest[:i]); i = bytes.IndexByte(rest, '\n') {
			line, rest = line+1, rest[i+1:]
		}
		return nil, &syntaxError{CodeSyntax, place{line, 1}, "the line is not UTF-8 text", "save the file as UTF-8"}
	}
	if i := bytes.IndexByte(data, '\r'); i >= 0 && bytes.Count(data, []byte("\r")) != bytes.Count(data, []byte("\r\n")) {
		line := 1 + bytes.Count(data[:i], []byte("\n"))
		return nil, &syntaxError{CodeSyntax, place{int32(line), 1}, "a carriage return without a line feed", "end lines with LF or CRLF"}
	}
	return data, nil
}

// broken is a document of which nothing but a finding is known.
func (d *decoder) broken(e syntaxError) Document {
	r := &reporter{file: d.file}
	r.add(e.diagnostic(), e.pos)
	return Document{Pos: r.posOf(e.pos), Diagnostics: r.ds}
}

// document decodes one tree; lists become one document for each item.
func (d *decoder) document(root *node, errs []*syntaxError, depth int) {
	if items := root.child("items"); items != nil && strings.HasSuffix(root.str("kind"), "List") && depth < 2 {
		d.list(root, items, errs, depth)
		return
	}
	r := &reporter{file: d.file}
	doc := Document{Pos: r.posOf(root.pos), tree: root}
	for _, e := range errs {
		r.add(e.diagnostic(), e.pos)
	}
	if root.kind != mapNode {
		r.errorf(root.pos, "write an object with apiVersion, kind and metadata", "a document must be an object, found %s", root.kind)
		doc.Diagnostics = r.ds
		d.docs = append(d.docs, doc)
		return
	}
	doc.Foreign = root.child("apiVersion") == nil && root.child("kind") == nil
	doc.Key = Key{Kind: kindOf(root), Name: nameOf(root), Namespace: namespaceOf(root)}
	info := InfoOf(doc.Key.Kind)
	if doc.Key.Namespace == "" && (info == nil || info.Namespaced) {
		doc.Key.Namespace = d.namespace
	}
	if info != nil && !info.Namespaced {
		doc.Key.Namespace = ""
	}
	r.obj = diag.Object{Kind: doc.Key.Kind.Kind, Namespace: doc.Key.Namespace, Name: doc.Key.Name}
	obj := d.object(root, info, doc.Key, r)
	if !r.hasErrors() {
		doc.Object = obj
		if !closes(doc.Key.Kind) {
			doc.tree = nil // several times the size of the object
		}
	}
	for i := range r.ds { // those found before the name was
		r.ds[i].Object = r.obj
	}
	doc.Diagnostics = r.ds
	d.docs = append(d.docs, doc)
}

// list decodes the items of a list. Errors of the text belong to the item they
// stand in, so that they set only that one aside.
func (d *decoder) list(root, items *node, errs []*syntaxError, depth int) {
	r := &reporter{file: d.file}
	if items.kind != listNode && items.kind != nullNode {
		r.push("items")
		r.mistyped(items, "a list")
		r.pop()
	}
	own := make([][]*syntaxError, len(items.items))
	for _, e := range errs {
		at := -1
		for i := range items.items {
			if !e.pos.before(items.items[i].pos) {
				at = i
			}
		}
		if at < 0 {
			r.add(e.diagnostic(), e.pos)
			continue
		}
		own[at] = append(own[at], e)
	}
	if len(r.ds) > 0 {
		d.docs = append(d.docs, Document{Pos: r.posOf(root.pos), Diagnostics: r.ds})
	}
	for i := range items.items {
		if len(d.docs) >= d.limits.Documents {
			d.docs = append(d.docs, d.broken(syntaxError{CodeLimit, items.items[i].pos, fmt.Sprintf("more than %d objects in one file", d.limits.Documents), "split the file"}))
			return
		}
		d.document(&items.items[i], own[i], depth+1)
	}
}

// object decodes the content of a document whose kind and name are known.
func (d *decoder) object(root *node, info *KindInfo, key Key, r *reporter) *Object {
	if !d.checkHeader(root, info, key, r) {
		return nil
	}
	obj := &Object{Key: key, APIVersion: root.str("apiVersion"), Pos: r.posOf(root.pos)}
	d.setNamespace(root, info, key, r)
	switch {
	case info == nil || info.IsTolerated():
		d.metadataOnly(root, obj, r)
	case info.IsIstio():
		d.istioObject(root, info, obj, r)
	default:
		d.kubeObject(root, info, obj, r)
	}
	if r.hasErrors() {
		if obj.Spec != nil {
			r.alsoWrong(obj, indexFields(d.file, root))
		}
		return nil
	}
	obj.Fields = indexFields(d.file, root)
	obj.Raw, obj.Hash = d.canonical(root)
	return obj
}

func (r *reporter) posOf(p place) diag.Pos {
	return diag.Pos{File: r.file, Line: int(p.line), Col: int(p.col)}
}

func kindOf(root *node) Kind {
	group, _, qualified := strings.Cut(root.str("apiVersion"), "/")
	if !qualified {
		group = ""
	}
	return Kind{Group: group, Kind: root.str("kind")}
}

func nameOf(root *node) string {
	if m := root.child("metadata"); m != nil {
		return m.str("name")
	}
	return ""
}

func namespaceOf(root *node) string {
	if m := root.child("metadata"); m != nil {
		return m.str("namespace")
	}
	return ""
}
