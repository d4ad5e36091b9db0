package resource

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	yaml "go.yaml.in/yaml/v4"
	"go.yaml.in/yaml/v4/plugin/loaderlimits"

	"github.com/meshctl/meshctl/internal/diag"
)

// nodeKind is the JSON type of a value.
type nodeKind uint8

const (
	nullNode nodeKind = iota
	boolNode
	intNode
	floatNode
	stringNode
	listNode
	mapNode
)

func (k nodeKind) String() string {
	return [...]string{"null", "a boolean", "a number", "a number", "text", "a list", "an object"}[k]
}

// node is one value of a document after YAML's own machinery (anchors, merge
// keys, tags, styles) is gone: a JSON value that knows its place.
type node struct {
	kind  nodeKind
	loose bool // plain yes/no/on/off: text here, a boolean to Kubernetes
	pos   place
	text  string // scalars, in JSON's spelling (strings without quotes)
	raw   string // as written, where that differs from text

	fields []field // mapNode, in the order written
	items  []node  // listNode
}

// field is one member of a map; pos is that of its name.
type field struct {
	name  string
	pos   place
	value node
}

// place is a line and column, both from 1.
type place struct{ line, col int32 }

func (p place) before(q place) bool {
	return p.line < q.line || p.line == q.line && p.col < q.col
}

// child returns the value of a field, nil when there is none.
func (n *node) child(name string) *node {
	for i := range n.fields {
		if n.fields[i].name == name {
			return &n.fields[i].value
		}
	}
	return nil
}

// str returns a child's text when it is a string, else "".
func (n *node) str(name string) string {
	if c := n.child(name); c != nil && c.kind == stringNode {
		return c.text
	}
	return ""
}

// syntaxError is a finding about the text itself.
type syntaxError struct {
	code string
	pos  place
	msg  string
	fix  string
}

func (e *syntaxError) diagnostic() diag.Diagnostic {
	return diag.Diagnostic{Code: e.code, Severity: diag.Error, Message: e.msg, Effect: effectNotUsed, Fix: e.fix}
}

// parser turns the text of a document into a tree.
type parser struct {
	limits Limits
	names  map[string]string // interned field names, shared by all documents of a call

	offset   int32 // added to the lines YAML reports
	lastLine int32
	nodes    int // left of the budget
	errs     []*syntaxError
}

// parse reads one document. Duplicate keys and unknown tags are collected, so
// that one run shows them all; a text that is not YAML gives one error.
func (p *parser) parse(c chunk) (*node, []*syntaxError) {
	p.offset = int32(c.line - 1)
	p.lastLine = int32(c.line + strings.Count(string(c.text), "\n"))
	p.nodes, p.errs = p.limits.Nodes, nil
	start := place{int32(c.line), 1}
	if len(c.text) > p.limits.DocumentBytes {
		return nil, []*syntaxError{{CodeLimit, start, fmt.Sprintf("the document has %d bytes, at most %d are read", len(c.text), p.limits.DocumentBytes), "split it into several documents"}}
	}
	if n := maxNodes(c.text); n > p.limits.Nodes {
		return nil, []*syntaxError{{CodeLimit, start, fmt.Sprintf("the document may hold %d values, at most %d are read", n, p.limits.Nodes), "split it into several documents"}}
	}
	text, bad := p.yamlText(c)
	if bad != nil {
		return nil, []*syntaxError{bad}
	}
	var doc yaml.Node
	err := yaml.Load(text, &doc, yaml.WithPlugin(loaderlimits.New(loaderlimits.DepthValue(p.limits.Depth))))
	if err != nil {
		return nil, []*syntaxError{p.loadError(err, start)}
	}
	if doc.Kind == yaml.DocumentNode && len(doc.Content) == 1 {
		out := &node{}
		p.convert(doc.Content[0], out, 0)
		return out, p.errs
	}
	return &node{pos: start}, nil
}

// maxNodes is an upper bound on the values in text, from the characters that
// can begin one; it keeps a small file from becoming a huge tree.
func maxNodes(text []byte) int {
	n := 2
	for _, b := range text {
		switch b {
		case ',', ':', '\n', '[', '{', '?':
			n++
		}
	}
	return n
}

// loadError translates what the YAML package says into a finding with a place.
func (p *parser) loadError(err error, start place) *syntaxError {
	var one *yaml.LoadError
	if many := (*yaml.LoadErrors)(nil); errors.As(err, &many) && len(many.Errors) > 0 {
		one = many.Errors[0]
	} else {
		errors.As(err, &one)
	}
	if one == nil {
		return &syntaxError{code: CodeSyntax, pos: start, msg: "not YAML: " + err.Error()}
	}
	mark := one.Mark
	if mark.Line == 0 {
		mark = one.ContextMark
	}
	out := &syntaxError{code: CodeSyntax, pos: start, msg: "not YAML: " + one.Message}
	if one.ContextMsg != "" {
		out.msg += " (" + one.ContextMsg + ")"
	}
	if mark.Line > 0 {
		out.pos = p.at(mark.Line, mark.Column)
	}
	switch {
	case strings.Contains(one.Message, "max depth"):
		out.code = CodeLimit
		out.msg = fmt.Sprintf("nested deeper than %d levels", p.limits.Depth)
	case strings.Contains(one.Message, "cannot start any token") || strings.Contains(one.Message, "tab"):
		out.fix = "indent with spaces, not tabs, and quote text that begins with a special character"
	case strings.Contains(one.Message, "mapping values are not allowed"):
		out.fix = "check the indentation, and quote values that contain a colon"
	}
	return out
}

func (p *parser) at(line, col int) place {
	return place{max(1, min(int32(line)+p.offset, p.lastLine)), int32(max(1, col))}
}

func (p *parser) fail(code string, pos place, fix, format string, args ...any) {
	if len(p.errs) < maxFindings {
		p.errs = append(p.errs, &syntaxError{code, pos, fmt.Sprintf(format, args...), fix})
	}
}

// intern makes equal field names share their bytes.
func (p *parser) intern(s string) string {
	if t, ok := p.names[s]; ok {
		return t
	}
	if len(s) <= 40 {
		p.names[s] = s
	}
	return s
}

// convert fills out from y. Aliases are expanded where they stand, so the node
// budget counts what they expand to.
func (p *parser) convert(y *yaml.Node, out *node, depth int) {
	out.pos = p.at(y.Line, y.Column)
	if p.nodes--; p.nodes < 0 {
		if p.nodes == -1 {
			p.fail(CodeLimit, out.pos, "write the values out, or split the document", "the document expands to more than %d values", p.limits.Nodes)
		}
		return
	}
	if depth > p.limits.Depth {
		p.fail(CodeLimit, out.pos, "", "nested deeper than %d levels, or an anchor contains itself", p.limits.Depth)
		p.nodes = -2 // nothing below is worth reading, nor are its siblings
		return
	}
	switch y.Kind {
	case yaml.AliasNode:
		if y.Alias != nil {
			p.convert(y.Alias, out, depth+1)
		}
	case yaml.ScalarNode:
		p.scalar(y, out)
	case yaml.SequenceNode:
		p.checkTag(y, out.pos, "!!seq")
		out.kind = listNode
		out.items = make([]node, len(y.Content))
		for i, c := range y.Content {
			p.convert(c, &out.items[i], depth+1)
		}
	case yaml.MappingNode:
		p.checkTag(y, out.pos, "!!map")
		out.kind = mapNode
		p.mapping(y, out, depth)
	default:
		p.fail(CodeSyntax, out.pos, "", "unexpected YAML node")
	}
}

func (p *parser) checkTag(y *yaml.Node, pos place, want string) {
	if tag := y.ShortTag(); tag != "" && tag != want {
		p.fail(CodeSyntax, pos, "remove the tag", "the tag %s is not supported here", tag)
	}
}

// mapping reads the members of a map: the written ones first, then those of
// merge keys ("<<"), which never replace a written one (YAML merge key, 2005).
func (p *parser) mapping(y *yaml.Node, out *node, depth int) {
	out.fields = make([]field, 0, len(y.Content)/2)
	seen := &fieldSet{}
	var merges []*yaml.Node
	for i := 0; i+1 < len(y.Content); i += 2 {
		k, v := y.Content[i], y.Content[i+1]
		for k.Kind == yaml.AliasNode && k.Alias != nil {
			k = k.Alias
		}
		pos := p.at(y.Content[i].Line, y.Content[i].Column)
		switch {
		case k.Kind != yaml.ScalarNode:
			p.fail(CodeSyntax, pos, "use a plain name", "a field name cannot be a list or an object")
			continue
		case k.ShortTag() == "!!merge":
			merges = append(merges, v)
			continue
		case k.ShortTag() == "!!null" && k.Value == "":
			p.fail(CodeSyntax, pos, "write a name before the colon", "a field without a name")
			continue
		}
		if first := seen.find(out.fields, k.Value); first != nil {
			p.fail(CodeSyntax, pos, "remove one of the two", "the field %q is written twice, first at line %d", k.Value, first.pos.line)
			continue
		}
		out.fields = append(out.fields, field{name: p.intern(k.Value), pos: pos})
		p.convert(v, &out.fields[len(out.fields)-1].value, depth+1)
	}
	for _, m := range merges {
		p.merge(m, out, seen, depth+1)
	}
}

func (p *parser) merge(y *yaml.Node, out *node, seen *fieldSet, depth int) {
	pos := p.at(y.Line, y.Column)
	var from node
	p.convert(y, &from, depth)
	sources := []node{from}
	if from.kind == listNode {
		sources = from.items
	}
	for _, s := range sources {
		if s.kind != mapNode {
			p.fail(CodeSyntax, pos, "give << an alias of an object, or a list of them", "<< needs an object to merge, found %s", s.kind)
			continue
		}
		for _, f := range s.fields {
			if seen.find(out.fields, f.name) == nil {
				out.fields = append(out.fields, f)
			}
		}
	}
}

// fieldSet finds a member by name: by looking at each in the usual small map,
// by an index in a large one, so that no input costs quadratic time.
type fieldSet struct{ index map[string]int }

func (s *fieldSet) find(fields []field, name string) *field {
	if len(fields) <= 16 {
		for i := range fields {
			if fields[i].name == name {
				return &fields[i]
			}
		}
		return nil
	}
	if s.index == nil {
		s.index = make(map[string]int, 2*len(fields))
	}
	for i := len(s.index); i < len(fields); i++ {
		s.index[fields[i].name] = i
	}
	if at, ok := s.index[name]; ok {
		return &fields[at]
	}
	return nil
}

// scalar gives a scalar its JSON type and spelling.
func (p *parser) scalar(y *yaml.Node, out *node) {
	out.text = y.Value
	switch tag := y.ShortTag(); tag {
	case "!!str", "!!timestamp", "!!merge":
		out.kind = stringNode
		out.loose = tag == "!!str" && y.Style == 0 && isLooseBool(y.Value)
	case "!!null":
		out.kind, out.text = nullNode, "null"
	case "!!bool":
		out.kind, out.text = boolNode, strings.ToLower(y.Value)
		if out.text != "true" && out.text != "false" {
			p.fail(CodeSyntax, out.pos, "write true or false", "%q is not a boolean", y.Value)
		}
	case "!!int":
		out.kind = intNode
		if t, ok := canonicalInt(y.Value); ok {
			out.setText(t, y.Value)
		} else {
			p.float(y, out)
		}
	case "!!float":
		p.float(y, out)
	default:
		p.fail(CodeSyntax, out.pos, "remove the tag", "the tag %s is not supported", tag)
	}
}

func (p *parser) float(y *yaml.Node, out *node) {
	out.kind = floatNode
	f, err := strconv.ParseFloat(strings.ReplaceAll(y.Value, "_", ""), 64)
	if err != nil || math.IsInf(f, 0) || math.IsNaN(f) {
		p.fail(CodeSyntax, out.pos, "quote it if it is text", "%q is not a number that JSON can hold", y.Value)
		out.text = "0"
		return
	}
	out.setText(strconv.FormatFloat(f, 'g', -1, 64), y.Value)
}

func (n *node) setText(text, raw string) {
	n.text = text
	if raw != text {
		n.raw = raw
	}
}

// written is the scalar as it stands in the text.
func (n *node) written() string {
	if n.raw != "" {
		return n.raw
	}
	return n.text
}

// canonicalInt spells an integer in decimal; 0x10, 0o17, 017 and 1_000 are
// integers in YAML.
func canonicalInt(s string) (string, bool) {
	if len(s) > 0 && len(s) < 18 && s[0] >= '1' && s[0] <= '9' && !strings.ContainsAny(s, "_xobXOB") {
		return s, true
	}
	plain := strings.ReplaceAll(s, "_", "")
	if i, err := strconv.ParseInt(plain, 0, 64); err == nil {
		return strconv.FormatInt(i, 10), true
	}
	if u, err := strconv.ParseUint(strings.TrimPrefix(plain, "+"), 0, 64); err == nil {
		return strconv.FormatUint(u, 10), true
	}
	return "", false
}

// isLooseBool reports the words that YAML 1.1, which kubectl reads, takes for booleans.
func isLooseBool(s string) bool {
	switch strings.ToLower(s) {
	case "yes", "no", "on", "off":
		return true
	}
	return false
}
