package resource

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/meshctl/meshctl/internal/diag"
)

// Readers of scalars, shared by the protobuf and the Kubernetes decoder. Each
// reports what is wrong and returns false.

func (r *reporter) text(n *node) (string, bool) {
	if n.kind != stringNode {
		r.mistyped(n, "text")
		return "", false
	}
	if n.loose {
		r.add(diag.Diagnostic{
			Code: CodeSchemaWarning, Severity: diag.Warning,
			Message: fmt.Sprintf("%s without quotes is text here, but a boolean to kubectl, which refuses it", n.text),
			Fix:     "quote it: " + strconv.Quote(n.text),
		}, n.pos)
	}
	return n.text, true
}

func (r *reporter) boolean(n *node) (bool, bool) {
	switch {
	case n.kind == boolNode:
		return n.text == "true", true
	case n.loose:
		b := strings.EqualFold(n.text, "yes") || strings.EqualFold(n.text, "on")
		n.kind, n.text, n.loose = boolNode, strconv.FormatBool(b), false
		return b, true
	}
	r.mistyped(n, "true or false")
	return false, false
}

// integer reads a whole number in [low, high], also from text or with a zero fraction.
func (r *reporter) integer(n *node, low, high int64) (int64, bool) {
	if !isNumeric(n) {
		r.mistyped(n, "a whole number")
		return 0, false
	}
	i, err := strconv.ParseInt(n.text, 10, 64)
	if err != nil {
		f, ferr := strconv.ParseFloat(n.text, 64)
		switch {
		case ferr != nil || f != math.Trunc(f):
			r.mistyped(n, "a whole number")
			return 0, false
		case f < -(1<<63) || f >= 1<<63:
			r.errorf(n.pos, "", "%s is out of range: at least %d, at most %d", shorten(n.text), low, high)
			return 0, false
		}
		i = int64(f)
	}
	if i < low || i > high {
		r.errorf(n.pos, "", "%s is out of range: at least %d, at most %d", shorten(n.text), low, high)
		return 0, false
	}
	return i, true
}

func (r *reporter) unsigned(n *node, high uint64) (uint64, bool) {
	if !isNumeric(n) {
		r.mistyped(n, "a whole number")
		return 0, false
	}
	u, err := strconv.ParseUint(n.text, 10, 64)
	if err != nil {
		f, ferr := strconv.ParseFloat(n.text, 64)
		switch {
		case ferr != nil || f != math.Trunc(f):
			r.mistyped(n, "a whole number")
			return 0, false
		case f < 0:
			r.errorf(n.pos, "", "%s is negative: must be at least 0", shorten(n.text))
			return 0, false
		case f >= 1<<64:
			r.errorf(n.pos, "", "%s is out of range: at most %d", shorten(n.text), high)
			return 0, false
		}
		u = uint64(f)
	}
	if u > high {
		r.errorf(n.pos, "", "%s is out of range: at most %d", shorten(n.text), high)
		return 0, false
	}
	return u, true
}

func (r *reporter) float(n *node) (float64, bool) {
	if isNumeric(n) {
		if f, err := strconv.ParseFloat(n.text, 64); err == nil && !math.IsInf(f, 0) && !math.IsNaN(f) {
			return f, true
		}
	}
	r.mistyped(n, "a number")
	return 0, false
}

// isNumeric reports values that proto3's JSON accepts as numbers: numbers, and
// text without blanks that may spell one.
func isNumeric(n *node) bool {
	switch n.kind {
	case intNode, floatNode:
		return true
	case stringNode:
		return n.text != "" && strings.IndexFunc(n.text, func(c rune) bool { return !strings.ContainsRune("+-.0123456789eE", c) }) < 0
	default:
		return false
	}
}
