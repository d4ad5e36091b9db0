package snapshot

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// exprRoots are the attributes an expression may begin with.
func exprRoots() []string {
	return []string{
		"request", "response", "source", "destination", "connection", "upstream", "metadata",
		"filter_state", "upstream_filter_state", "xds", "node", "downstream_peer", "upstream_peer",
		"listener_direction", "listener_metadata", "cluster_name", "cluster_metadata", "route_name", "route_metadata",
		"upstream_host_metadata", "plugin_name", "plugin_root_id",
	}
}

const (
	maxExprBytes = 16 << 10
	maxExprDepth = 64
)

// ParseExpr compiles an expression. What CEL has and we have not is an error
// that names it.
func ParseExpr(text string) (*Expr, error) {
	if len(text) > maxExprBytes {
		return nil, fmt.Errorf("expression of %d bytes, at most %d", len(text), maxExprBytes)
	}
	p := &exprParser{src: text}
	p.next()
	n, err := p.ternary()
	if err == nil && p.kind != tokEnd {
		err = p.unexpected()
	}
	if err != nil {
		return nil, fmt.Errorf("expression at offset %d: %w", p.start, err)
	}
	return &Expr{Source: text, root: n}, nil
}

type tokKind uint8

const (
	tokEnd tokKind = iota
	tokIdent
	tokString
	tokNumber
	tokOp
	tokBad
)

type exprParser struct {
	src        string
	pos, start int
	depth      int
	kind       tokKind
	text       string // of the token; decoded for strings
}

func (p *exprParser) unexpected() error {
	if p.kind == tokEnd {
		return errors.New("unexpected end")
	}
	return fmt.Errorf("unexpected %q", p.text)
}

func (p *exprParser) next() {
	for p.pos < len(p.src) && strings.IndexByte(" \t\r\n", p.src[p.pos]) >= 0 {
		p.pos++
	}
	p.start = p.pos
	if p.pos >= len(p.src) {
		p.kind, p.text = tokEnd, ""
		return
	}
	c := p.src[p.pos]
	switch {
	case isIdent(c) && (c < '0' || c > '9'):
		p.run(tokIdent, isIdent)
	case c >= '0' && c <= '9':
		p.run(tokNumber, func(c byte) bool { return isIdent(c) || c == '.' })
	case c == '\'' || c == '"':
		p.str(c)
	default:
		p.kind = tokOp
		for _, op := range []string{"&&", "||", "==", "!=", "<=", ">="} {
			if strings.HasPrefix(p.src[p.pos:], op) {
				p.text = op
				p.pos += 2
				return
			}
		}
		p.text = p.src[p.pos : p.pos+1]
		p.pos++
	}
}

func (p *exprParser) run(kind tokKind, ok func(byte) bool) {
	p.kind = kind
	for p.pos < len(p.src) && ok(p.src[p.pos]) {
		p.pos++
	}
	p.text = p.src[p.start:p.pos]
}

func isIdent(c byte) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

func (p *exprParser) str(quote byte) {
	var b strings.Builder
	p.kind = tokString
	for i := p.pos + 1; i < len(p.src); i++ {
		switch c := p.src[i]; {
		case c == quote:
			p.text, p.pos = b.String(), i+1
			return
		case c != '\\':
			b.WriteByte(c)
		case i+1 < len(p.src) && strings.IndexByte(`\'"nrt`, p.src[i+1]) >= 0:
			i++
			b.WriteByte(strings.NewReplacer("n", "\n", "r", "\r", "t", "\t").Replace(p.src[i : i+1])[0])
		default:
			p.kind, p.text, p.pos = tokBad, p.src[i:min(i+2, len(p.src))], len(p.src)
			return
		}
	}
	p.kind, p.text, p.pos = tokBad, "string without end", len(p.src)
}

func (p *exprParser) take(op string) bool {
	if p.kind != tokOp || p.text != op {
		return false
	}
	p.next()
	return true
}

func (p *exprParser) want(op string) error {
	if !p.take(op) {
		return p.unexpected()
	}
	return nil
}

func (p *exprParser) ternary() (*exprNode, error) {
	if p.depth++; p.depth > maxExprDepth {
		return nil, fmt.Errorf("nested more than %d levels deep", maxExprDepth)
	}
	defer func() { p.depth-- }()
	c, err := p.binary(0)
	if err != nil || !p.take("?") {
		return c, err
	}
	a, err := p.ternary()
	if err != nil {
		return nil, err
	}
	if err := p.want(":"); err != nil {
		return nil, err
	}
	b, err := p.ternary()
	return &exprNode{op: exprCond, subs: []*exprNode{c, a, b}}, err
}

// level gives the binding strength of a binary operator, -1 for none.
func (p *exprParser) level() (op exprOp, level int) {
	if p.kind == tokIdent && p.text == "in" {
		return exprIn, 2
	}
	if p.kind != tokOp {
		return 0, -1
	}
	switch p.text {
	case "||":
		return exprOr, 0
	case "&&":
		return exprAnd, 1
	case "==":
		return exprEq, 2
	case "!=":
		return exprNe, 2
	case "<":
		return exprLt, 2
	case "<=":
		return exprLe, 2
	case ">":
		return exprGt, 2
	case ">=":
		return exprGe, 2
	case "+":
		return exprAdd, 3
	default:
		return 0, -1
	}
}

func (p *exprParser) binary(minLevel int) (*exprNode, error) {
	a, err := p.unary()
	for err == nil {
		op, l := p.level()
		if l < minLevel {
			return a, nil
		}
		p.next()
		var b *exprNode
		if b, err = p.binary(l + 1); err == nil {
			a = &exprNode{op: op, subs: []*exprNode{a, b}}
		}
	}
	return nil, err
}

func (p *exprParser) unary() (*exprNode, error) {
	if p.depth++; p.depth > maxExprDepth {
		return nil, fmt.Errorf("nested more than %d levels deep", maxExprDepth)
	}
	defer func() { p.depth-- }()
	op := exprNot
	switch {
	case p.take("!"):
	case p.take("-"):
		op = exprNeg
	default:
		return p.postfix()
	}
	n, err := p.unary()
	return &exprNode{op: op, subs: []*exprNode{n}}, err
}

func (p *exprParser) postfix() (*exprNode, error) {
	n, err := p.primary()
	for err == nil {
		switch {
		case p.take("."):
			n, err = p.member(n)
		case p.take("["):
			var k *exprNode
			if k, err = p.ternary(); err != nil {
				return nil, err
			}
			if err = p.want("]"); err != nil {
				return nil, err
			}
			if s, ok := k.value.(string); ok && k.op == exprConst && n.op == exprAttr {
				n = &exprNode{op: exprAttr, path: append(slices.Clip(n.path), s)}
			} else {
				n = &exprNode{op: exprIndex, subs: []*exprNode{n, k}}
			}
		default:
			return n, nil
		}
	}
	return nil, err
}

func (p *exprParser) member(n *exprNode) (*exprNode, error) {
	if p.kind != tokIdent {
		return nil, p.unexpected()
	}
	name := p.text
	p.next()
	if p.take("(") {
		args, err := p.list(")")
		if err != nil {
			return nil, err
		}
		return call(name, append([]*exprNode{n}, args...), true)
	}
	if n.op == exprAttr {
		return &exprNode{op: exprAttr, path: append(slices.Clip(n.path), name)}, nil
	}
	return &exprNode{op: exprIndex, subs: []*exprNode{n, {op: exprConst, value: name}}}, nil
}

func (p *exprParser) list(end string) (out []*exprNode, err error) {
	if p.take(end) {
		return nil, nil
	}
	for {
		n, err := p.ternary()
		if err != nil {
			return nil, err
		}
		out = append(out, n)
		if p.take(end) {
			return out, nil
		}
		if err := p.want(","); err != nil {
			return nil, err
		}
	}
}

func (p *exprParser) primary() (*exprNode, error) {
	text := p.text
	switch p.kind {
	case tokString:
		p.next()
		return &exprNode{value: text}, nil
	case tokNumber:
		p.next()
		if i, err := strconv.ParseInt(strings.TrimSuffix(text, "u"), 10, 64); err == nil {
			return &exprNode{value: i}, nil
		}
		f, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return nil, fmt.Errorf("%q is not a number", text)
		}
		return &exprNode{value: f}, nil
	case tokIdent:
		p.next()
		return p.ident(text)
	case tokOp:
		if p.take("(") {
			n, err := p.ternary()
			if err != nil {
				return nil, err
			}
			return n, p.want(")")
		}
		if p.take("[") {
			l, err := p.list("]")
			return &exprNode{op: exprList, subs: l}, err
		}
	default:
	}
	return nil, p.unexpected()
}

func (p *exprParser) ident(name string) (*exprNode, error) {
	switch name {
	case "true", "false":
		return &exprNode{value: name == "true"}, nil
	case "null":
		return &exprNode{}, nil
	}
	if p.take("(") {
		args, err := p.list(")")
		if err != nil {
			return nil, err
		}
		return call(name, args, false)
	}
	if !slices.Contains(exprRoots(), name) {
		return nil, fmt.Errorf("unknown attribute %q", name)
	}
	return &exprNode{op: exprAttr, path: []string{name}}, nil
}

// call makes the node of a function or, with the object first, a method.
func call(name string, args []*exprNode, method bool) (*exprNode, error) {
	type fn struct {
		op   exprOp
		args int
	}
	functions := map[string]fn{"has": {exprHas, 1}, "size": {exprSize, 1}, "string": {exprToString, 1}, "int": {exprToInt, 1}}
	if method {
		functions = map[string]fn{
			"startsWith": {exprStartsWith, 2}, "endsWith": {exprEndsWith, 2}, "contains": {exprContains, 2},
			"matches": {exprMatches, 2}, "lowerAscii": {exprLower, 1}, "upperAscii": {exprUpper, 1}, "size": {exprSize, 1},
		}
	}
	f, ok := functions[name]
	if !ok {
		return nil, fmt.Errorf("unsupported function %q", name)
	}
	if len(args) != f.args {
		return nil, fmt.Errorf("%s: wrong number of arguments", name)
	}
	n := &exprNode{op: f.op, subs: args}
	if f.op == exprMatches {
		pattern, ok := args[1].value.(string)
		if !ok || args[1].op != exprConst {
			return nil, errors.New("matches: the pattern must be a literal")
		}
		re, err := regexp.Compile(pattern)
		if err != nil {
			return nil, fmt.Errorf("matches: %w", err)
		}
		n.re = re
	}
	return n, nil
}
