package snapshot

import (
	"math"
	"regexp"
	"strconv"
	"strings"
)

// Expr is a compiled expression in the part of CEL that meshes use: literals,
// attributes, indexing by constant keys, ! - && || ?: == != < <= > >= + in,
// lists, has(), size(), string(), int(), and the methods startsWith, endsWith,
// contains, matches, lowerAscii, upperAscii, size. Make it by ParseExpr.
type Expr struct {
	Source string
	root   *exprNode
}

// ExprSource gives values to attributes.
type ExprSource interface {
	// Attribute finds a value by its path, e.g. request, headers, x-foo. Values
	// are nil, bool, int64, float64, string, []any, map[string]any. ok is false
	// when there is none.
	Attribute(path []string) (v any, ok bool)
}

// exprOp is the kind of a node.
type exprOp uint8

const (
	exprConst exprOp = iota
	exprAttr
	exprIndex // subs: object, key
	exprNot
	exprNeg
	exprAnd
	exprOr
	exprCond
	exprEq
	exprNe
	exprLt
	exprLe
	exprGt
	exprGe
	exprAdd
	exprIn
	exprList
	exprHas
	exprSize
	exprToString
	exprToInt
	exprStartsWith
	exprEndsWith
	exprContains
	exprMatches
	exprLower
	exprUpper
)

type exprNode struct {
	op    exprOp
	value any
	path  []string
	re    *regexp.Regexp
	subs  []*exprNode
}

// Eval computes the value; ok is false when it has none (an attribute is
// missing, types do not fit).
func (e *Expr) Eval(src ExprSource) (v any, ok bool) { return e.root.eval(src) }

// True reports whether the expression is true. No value counts as false.
func (e *Expr) True(src ExprSource) bool {
	v, ok := e.root.eval(src)
	b, isBool := v.(bool)
	return ok && isBool && b
}

// Append writes the value as text; ok is false when there is none.
func (e *Expr) Append(dst []byte, src ExprSource) (out []byte, ok bool) {
	v, ok := e.root.eval(src)
	if !ok || v == nil {
		return dst, false
	}
	if n, isInt := v.(int64); isInt {
		return strconv.AppendInt(dst, n, 10), true
	}
	return AppendValue(dst, v), true
}

func (n *exprNode) eval(src ExprSource) (any, bool) {
	switch n.op {
	case exprConst:
		return n.value, true
	case exprAttr:
		return src.Attribute(n.path)
	case exprAnd, exprOr:
		return n.logic(src)
	case exprCond:
		c, ok := n.subs[0].boolean(src)
		if !ok {
			return nil, false
		}
		if c {
			return n.subs[1].eval(src)
		}
		return n.subs[2].eval(src)
	case exprNot:
		b, ok := n.subs[0].boolean(src)
		return !b, ok
	case exprHas:
		_, ok := n.subs[0].eval(src)
		return ok, true
	case exprIn:
		return n.in(src)
	case exprList:
		out := make([]any, len(n.subs))
		for i, s := range n.subs {
			v, ok := s.eval(src)
			if !ok {
				return nil, false
			}
			out[i] = v
		}
		return out, true
	case exprIndex:
		o, ok := n.subs[0].eval(src)
		if !ok {
			return nil, false
		}
		k, ok := n.subs[1].eval(src)
		if !ok {
			return nil, false
		}
		return index(o, k)
	default:
		return n.operate(src)
	}
}

// logic is && and ||: an operand without value does not matter if the other decides.
func (n *exprNode) logic(src ExprSource) (any, bool) {
	decides := n.op == exprOr
	a, aok := n.subs[0].boolean(src)
	if aok && a == decides {
		return decides, true
	}
	b, bok := n.subs[1].boolean(src)
	if bok && b == decides {
		return decides, true
	}
	return !decides, aok && bok
}

func (n *exprNode) boolean(src ExprSource) (value, ok bool) {
	v, ok := n.eval(src)
	b, isBool := v.(bool)
	return b, ok && isBool
}

func (n *exprNode) in(src ExprSource) (any, bool) {
	k, ok := n.subs[0].eval(src)
	if !ok {
		return nil, false
	}
	if name, isStr := k.(string); isStr && n.subs[1].op == exprAttr {
		// Membership in a map of attributes asks for the member only.
		p := n.subs[1].path
		if _, ok := src.Attribute(append(p[:len(p):len(p)], name)); ok {
			return true, true
		}
	}
	o, ok := n.subs[1].eval(src)
	if !ok {
		return false, true
	}
	switch o := o.(type) {
	case map[string]any:
		name, isStr := k.(string)
		_, has := o[name]
		return isStr && has, true
	case []any:
		for _, e := range o {
			if c, ok := compare(k, e); ok && c == 0 {
				return true, true
			}
		}
	}
	return false, true
}

func (n *exprNode) operate(src ExprSource) (any, bool) {
	a, ok := n.subs[0].eval(src)
	if !ok {
		return nil, false
	}
	if len(n.subs) == 1 {
		return n.unary(a)
	}
	b, ok := n.subs[1].eval(src)
	if !ok {
		return nil, false
	}
	if n.op == exprAdd {
		return add(a, b)
	}
	if n.op >= exprStartsWith {
		return n.text(a, b)
	}
	c, ok := compare(a, b)
	switch n.op {
	case exprEq:
		return ok && c == 0, true
	case exprNe:
		return !ok || c != 0, true
	case exprLt:
		return c < 0, ok
	case exprLe:
		return c <= 0, ok
	case exprGt:
		return c > 0, ok
	default:
		return c >= 0, ok
	}
}

func (n *exprNode) unary(a any) (any, bool) {
	switch n.op {
	case exprNeg:
		switch v := a.(type) {
		case int64:
			return -v, true
		case float64:
			return -v, true
		}
	case exprSize:
		switch v := a.(type) {
		case string:
			return int64(len([]rune(v))), true
		case []any:
			return int64(len(v)), true
		case map[string]any:
			return int64(len(v)), true
		}
	case exprToString:
		if v, ok := a.(int64); ok {
			return strconv.FormatInt(v, 10), true
		}
		if a != nil {
			return string(AppendValue(nil, a)), true
		}
	case exprToInt:
		switch v := a.(type) {
		case int64:
			return v, true
		case float64:
			return int64(v), v >= math.MinInt64 && v <= math.MaxInt64
		case string:
			i, err := strconv.ParseInt(v, 10, 64)
			return i, err == nil
		}
	case exprLower, exprUpper:
		if v, ok := a.(string); ok {
			if n.op == exprLower {
				return strings.ToLower(v), true
			}
			return strings.ToUpper(v), true
		}
	default:
	}
	return nil, false
}

func (n *exprNode) text(a, b any) (any, bool) {
	s, ok1 := a.(string)
	t, ok2 := b.(string)
	if !ok1 || !ok2 {
		return nil, false
	}
	switch n.op {
	case exprStartsWith:
		return strings.HasPrefix(s, t), true
	case exprEndsWith:
		return strings.HasSuffix(s, t), true
	case exprContains:
		return strings.Contains(s, t), true
	default:
		return n.re.MatchString(s), true
	}
}

func index(o, k any) (any, bool) {
	switch o := o.(type) {
	case map[string]any:
		name, ok := k.(string)
		v, has := o[name]
		return v, ok && has
	case []any:
		i, ok := k.(int64)
		if !ok || i < 0 || i >= int64(len(o)) {
			return nil, false
		}
		return o[i], true
	default:
		return nil, false
	}
}

func add(a, b any) (any, bool) {
	switch x := a.(type) {
	case string:
		y, ok := b.(string)
		return x + y, ok
	case int64:
		y, ok := b.(int64)
		return x + y, ok
	case float64:
		y, ok := b.(float64)
		return x + y, ok
	default:
		return nil, false
	}
}

// compare orders two values of one type; numbers compare across types.
func compare(a, b any) (int, bool) {
	switch x := a.(type) {
	case nil:
		return 0, b == nil
	case string:
		y, ok := b.(string)
		return strings.Compare(x, y), ok
	case bool:
		y, ok := b.(bool)
		switch {
		case x == y:
			return 0, ok
		case y:
			return -1, ok
		default:
			return 1, ok
		}
	case int64:
		if y, ok := b.(int64); ok {
			switch {
			case x < y:
				return -1, true
			case x > y:
				return 1, true
			}
			return 0, true
		}
		return compareFloat(float64(x), b)
	case float64:
		return compareFloat(x, b)
	default:
		return 0, false
	}
}

func compareFloat(x float64, b any) (int, bool) {
	var y float64
	switch v := b.(type) {
	case float64:
		y = v
	case int64:
		y = float64(v)
	default:
		return 0, false
	}
	switch {
	case x < y:
		return -1, true
	case x > y:
		return 1, true
	}
	return 0, x == y
}
