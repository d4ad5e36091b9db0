package compile

import (
	"errors"
	"fmt"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/meshctl/meshctl/internal/proxy/header"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// headerName checks and lower-cases a name; Host is taken as :authority.
func (c *Compiler) headerName(name string) (snapshot.HeaderName, error) {
	n := lowerASCII(name)
	if n == "" {
		return snapshot.HeaderName{}, errors.New("empty header name")
	}
	for i := range len(n) {
		b := n[i]
		if b <= ' ' || b >= 0x7f || strings.IndexByte("\"(),/;<=>?@[\\]{}", b) >= 0 || b == ':' && i > 0 {
			return snapshot.HeaderName{}, fmt.Errorf("%q is not a header name", name)
		}
	}
	if n == "host" {
		n = ":authority"
	}
	return snapshot.HeaderName{Name: c.str(n), ID: header.LookupString(n)}, nil
}

func headerValueOK(v string) error {
	for i := range len(v) {
		if b := v[i]; b == '\r' || b == '\n' || b == 0 {
			return fmt.Errorf("header value has a control character (byte %d)", i)
		}
	}
	return nil
}

// headerOp compiles an addition. Pseudo-header fields and the host cannot be
// changed this way, as in Envoy; header mutation filters may (pseudo).
func (c *Compiler) headerOp(o *corev3.HeaderValueOption, pseudo bool) (op snapshot.HeaderOp, err error) {
	h := o.GetHeader()
	if op.HeaderName, err = c.headerName(h.GetKey()); err != nil {
		return op, in("header.key", err)
	}
	if !pseudo && op.Name[0] == ':' {
		return op, in("header.key", fmt.Errorf("%s cannot be changed by a header addition", h.GetKey()))
	}
	value := h.GetValue()
	if len(h.GetRawValue()) > 0 {
		value = string(h.GetRawValue())
	}
	if err := headerValueOK(value); err != nil {
		return op, in("header.value", err)
	}
	if op.Action, err = headerAction(o); err != nil {
		return op, err
	}
	op.KeepEmpty = o.KeepEmptyValue
	f, err := c.format(value, true)
	if err != nil {
		return op, in("header.value", err)
	}
	if text, ok := f.Constant(); ok {
		op.Value = c.str(text)
	} else {
		op.Format = f
	}
	return op, nil
}

func headerAction(o *corev3.HeaderValueOption) (snapshot.HeaderAction, error) {
	if o.Append != nil { //nolint:staticcheck // still sent by control planes
		if o.Append.Value { //nolint:staticcheck // as above
			return snapshot.HeaderAppend, nil
		}
		return snapshot.HeaderOverwrite, nil
	}
	switch o.AppendAction {
	case corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD:
		return snapshot.HeaderAppend, nil
	case corev3.HeaderValueOption_ADD_IF_ABSENT:
		return snapshot.HeaderAddIfAbsent, nil
	case corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD:
		return snapshot.HeaderOverwrite, nil
	case corev3.HeaderValueOption_OVERWRITE_IF_EXISTS:
		return snapshot.HeaderOverwriteExist, nil
	default:
		return 0, in("append_action", unsupported("value %v", o.AppendAction))
	}
}

func (c *Compiler) headerOpList(field string, l []*corev3.HeaderValueOption) ([]snapshot.HeaderOp, error) {
	if len(l) == 0 {
		return nil, nil
	}
	out := make([]snapshot.HeaderOp, len(l))
	for i, o := range l {
		op, err := c.headerOp(o, false)
		if err != nil {
			return nil, at(field, i, err)
		}
		out[i] = op
	}
	return out, nil
}

func (c *Compiler) headerNames(field string, l []string) ([]snapshot.HeaderName, error) {
	if len(l) == 0 {
		return nil, nil
	}
	out := make([]snapshot.HeaderName, len(l))
	for i, n := range l {
		prefix := strings.HasSuffix(n, "*") && len(n) > 1
		h, err := c.headerName(strings.TrimSuffix(n, "*"))
		if err != nil {
			return nil, at(field, i, err)
		}
		if h.Name[0] == ':' {
			return nil, at(field, i, fmt.Errorf("%s cannot be removed", n))
		}
		h.Prefix = prefix
		out[i] = h
	}
	return out, nil
}

// headerChanges are the four lists that tables, hosts, routes and targets have.
type headerChanges interface {
	GetRequestHeadersToAdd() []*corev3.HeaderValueOption
	GetRequestHeadersToRemove() []string
	GetResponseHeadersToAdd() []*corev3.HeaderValueOption
	GetResponseHeadersToRemove() []string
}

// headerOps compiles the four lists; nil when all are empty.
func (c *Compiler) headerOps(m headerChanges) (*snapshot.HeaderOps, error) {
	if len(m.GetRequestHeadersToAdd())+len(m.GetRequestHeadersToRemove())+
		len(m.GetResponseHeadersToAdd())+len(m.GetResponseHeadersToRemove()) == 0 {
		return nil, nil
	}
	var h snapshot.HeaderOps
	var err error
	if h.Request, err = c.headerOpList("request_headers_to_add", m.GetRequestHeadersToAdd()); err != nil {
		return nil, err
	}
	if h.Response, err = c.headerOpList("response_headers_to_add", m.GetResponseHeadersToAdd()); err != nil {
		return nil, err
	}
	if h.RequestRemove, err = c.headerNames("request_headers_to_remove", m.GetRequestHeadersToRemove()); err != nil {
		return nil, err
	}
	h.ResponseRemove, err = c.headerNames("response_headers_to_remove", m.GetResponseHeadersToRemove())
	return &h, err
}

// headerMatch compiles a condition on a header.
func (c *Compiler) headerMatch(m *routev3.HeaderMatcher) (out snapshot.HeaderMatch, err error) {
	n, err := c.headerName(m.GetName())
	if err != nil {
		return out, in("name", err)
	}
	out.Name, out.ID = n.Name, n.ID
	out.Invert, out.MissingAsEmpty = m.InvertMatch, m.TreatMissingHeaderAsEmpty
	out.Kind = snapshot.HeaderString
	text := func(kind snapshot.StringKind, v string) {
		out.Value = snapshot.StringMatch{Kind: kind, Value: v}
	}
	switch s := m.HeaderMatchSpecifier.(type) {
	case nil: // present
		out.Kind = snapshot.HeaderPresent
	case *routev3.HeaderMatcher_PresentMatch:
		out.Kind, out.Absent = snapshot.HeaderPresent, !s.PresentMatch
	case *routev3.HeaderMatcher_RangeMatch:
		out.Kind, out.From, out.To = snapshot.HeaderRange, s.RangeMatch.GetStart(), s.RangeMatch.GetEnd()
	case *routev3.HeaderMatcher_StringMatch:
		out.Value, err = c.stringMatch(s.StringMatch)
		err = in("string_match", err)
	case *routev3.HeaderMatcher_ExactMatch: //nolint:staticcheck // deprecated forms are still sent
		text(snapshot.StringExact, s.ExactMatch)
	case *routev3.HeaderMatcher_PrefixMatch:
		text(snapshot.StringPrefix, s.PrefixMatch)
	case *routev3.HeaderMatcher_SuffixMatch:
		text(snapshot.StringSuffix, s.SuffixMatch)
	case *routev3.HeaderMatcher_ContainsMatch:
		text(snapshot.StringContains, s.ContainsMatch)
	case *routev3.HeaderMatcher_SafeRegexMatch:
		out.Value, err = c.stringMatch(&matcherv3.StringMatcher{
			MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: s.SafeRegexMatch},
		})
	default:
		err = unsupported("match %T", s)
	}
	return out, err
}

func (c *Compiler) headerMatches(field string, l []*routev3.HeaderMatcher) ([]snapshot.HeaderMatch, error) {
	if len(l) == 0 {
		return nil, nil
	}
	out := make([]snapshot.HeaderMatch, len(l))
	for i, m := range l {
		h, err := c.headerMatch(m)
		if err != nil {
			return nil, at(field, i, err)
		}
		out[i] = h
	}
	return out, nil
}
