package compile

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"regexp"
	"regexp/syntax"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// million is the denominator of fractions in a snapshot.
const million = 1_000_000

// dur gives a duration, or def when it is not set.
func dur(d *durationpb.Duration, def time.Duration) (time.Duration, error) {
	if d == nil {
		return def, nil
	}
	if err := d.CheckValid(); err != nil {
		return 0, err
	}
	v := d.AsDuration()
	if v < 0 {
		return 0, fmt.Errorf("negative duration %v", v)
	}
	return v, nil
}

// durations reads several durations; the first error wins.
type durations struct{ err error }

func (r *durations) get(name string, d *durationpb.Duration, def time.Duration) time.Duration {
	v, err := dur(d, def)
	if err != nil && r.err == nil {
		r.err = in(name, err)
	}
	return v
}

func u32(v *wrapperspb.UInt32Value, def uint32) uint32 {
	if v == nil {
		return def
	}
	return v.Value
}

func boolean(v *wrapperspb.BoolValue, def bool) bool {
	if v == nil {
		return def
	}
	return v.Value
}

// fraction gives millionths of a fraction; def when f is nil.
func fraction(f *typev3.FractionalPercent, def int32) (int32, error) {
	if f == nil {
		return def, nil
	}
	var per uint64
	switch f.Denominator {
	case typev3.FractionalPercent_HUNDRED:
		per = 10_000
	case typev3.FractionalPercent_TEN_THOUSAND:
		per = 100
	case typev3.FractionalPercent_MILLION:
		per = 1
	default:
		return 0, fmt.Errorf("unknown denominator %v", f.Denominator)
	}
	return int32(min(uint64(f.Numerator)*per, million)), nil
}

// runtimeFraction is the default of a runtime fraction: there is no runtime here,
// so the default is always in force.
func runtimeFraction(f *corev3.RuntimeFractionalPercent, def int32) (int32, error) {
	if f == nil {
		return def, nil
	}
	if f.DefaultValue == nil {
		return 0, in("default_value", errors.New("missing"))
	}
	v, err := fraction(f.DefaultValue, def)
	return v, in("default_value", err)
}

// percent gives millionths of a percentage.
func percent(p *typev3.Percent, def uint32) (uint32, error) {
	if p == nil {
		return def, nil
	}
	if p.Value < 0 || p.Value > 100 || math.IsNaN(p.Value) {
		return 0, fmt.Errorf("%v is not a percentage", p.Value)
	}
	return uint32(math.Round(p.Value * 10_000)), nil
}

// regex compiles RE2 text that must match the whole value.
func (c *Compiler) regex(m *matcherv3.RegexMatcher) (*regexp.Regexp, error) {
	return c.regexText(m.GetRegex(), true)
}

// regexText compiles RE2 text, anchored at both ends or not.
func (c *Compiler) regexText(text string, whole bool) (*regexp.Regexp, error) {
	if len(text) > maxRegexBytes {
		return nil, fmt.Errorf("regular expression of %d bytes, at most %d", len(text), maxRegexBytes)
	}
	memo := "part:" + text
	if whole {
		memo = "whole:" + text
	}
	if re := c.regexes[memo]; re != nil {
		return re, nil
	}
	// Checked alone first: "a)(b" must not become valid by our parentheses.
	parsed, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return nil, fmt.Errorf("regular expression: %w", err)
	}
	prog, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return nil, fmt.Errorf("regular expression: %w", err)
	}
	if len(prog.Inst) > maxRegexOps {
		return nil, fmt.Errorf("regular expression needs %d instructions, at most %d", len(prog.Inst), maxRegexOps)
	}
	src := text
	if whole {
		src = `\A(?:` + text + `)\z`
	}
	re, err := regexp.Compile(src)
	if err != nil {
		return nil, fmt.Errorf("regular expression: %w", err)
	}
	if len(c.regexes) > maxMemo {
		clear(c.regexes)
	}
	c.regexes[memo] = re
	return re, nil
}

// substitution turns RE2's \1 into Go's ${1} and escapes $.
func substitution(s string, groups int) (string, error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '$':
			b.WriteString("$$")
		case s[i] != '\\':
			b.WriteByte(s[i])
		case i+1 < len(s) && s[i+1] == '\\':
			b.WriteByte('\\')
			i++
		case i+1 < len(s) && s[i+1] >= '0' && s[i+1] <= '9':
			n := int(s[i+1] - '0')
			if n > groups {
				return "", fmt.Errorf("substitution refers to group %d of %d", n, groups)
			}
			fmt.Fprintf(&b, "${%d}", n)
			i++
		default:
			return "", fmt.Errorf("substitution %q: stray backslash", s)
		}
	}
	return b.String(), nil
}

func (c *Compiler) regexRewrite(r *matcherv3.RegexMatchAndSubstitute) (*regexp.Regexp, string, error) {
	re, err := c.regexText(r.GetPattern().GetRegex(), false)
	if err != nil {
		return nil, "", in("pattern", err)
	}
	sub, err := substitution(r.Substitution, re.NumSubexp())
	return re, sub, in("substitution", err)
}

func (c *Compiler) stringMatch(m *matcherv3.StringMatcher) (snapshot.StringMatch, error) {
	out := snapshot.StringMatch{IgnoreCase: m.GetIgnoreCase()}
	switch p := m.GetMatchPattern().(type) {
	case *matcherv3.StringMatcher_Exact:
		out.Kind, out.Value = snapshot.StringExact, p.Exact
	case *matcherv3.StringMatcher_Prefix:
		out.Kind, out.Value = snapshot.StringPrefix, p.Prefix
	case *matcherv3.StringMatcher_Suffix:
		out.Kind, out.Value = snapshot.StringSuffix, p.Suffix
	case *matcherv3.StringMatcher_Contains:
		out.Kind, out.Value = snapshot.StringContains, p.Contains
	case *matcherv3.StringMatcher_SafeRegex:
		re, err := c.regex(p.SafeRegex)
		if err != nil {
			return out, in("safe_regex", err)
		}
		out.Kind, out.Regex, out.Value, out.IgnoreCase = snapshot.StringRegex, re, p.SafeRegex.Regex, false
	default:
		return out, errors.New("no match pattern")
	}
	if out.IgnoreCase {
		out.Value = lowerASCII(out.Value)
	}
	return out, nil
}

func (c *Compiler) stringMatches(field string, l []*matcherv3.StringMatcher) ([]snapshot.StringMatch, error) {
	out := make([]snapshot.StringMatch, len(l))
	for i, m := range l {
		v, err := c.stringMatch(m)
		if err != nil {
			return nil, at(field, i, err)
		}
		out[i] = v
	}
	return out, nil
}

func (c *Compiler) listMatches(field string, l *matcherv3.ListStringMatcher) ([]snapshot.StringMatch, error) {
	out, err := c.stringMatches("patterns", l.GetPatterns())
	return out, in(field, err)
}

func cidr(r *corev3.CidrRange) (netip.Prefix, error) {
	a, err := netip.ParseAddr(r.GetAddressPrefix())
	if err != nil {
		return netip.Prefix{}, in("address_prefix", err)
	}
	n := u32(r.PrefixLen, 0) // Envoy: not set means 0
	p, err := a.Unmap().WithZone("").Prefix(int(min(n, 1<<10)))
	if err != nil {
		return netip.Prefix{}, in("prefix_len", err)
	}
	return p, nil
}

func cidrs(field string, l []*corev3.CidrRange) ([]netip.Prefix, error) {
	if len(l) == 0 {
		return nil, nil
	}
	out := make([]netip.Prefix, len(l))
	for i, r := range l {
		p, err := cidr(r)
		if err != nil {
			return nil, at(field, i, err)
		}
		out[i] = p
	}
	return out, nil
}

// socketAddr reads an IP address and port.
func socketAddr(s *corev3.SocketAddress) (netip.AddrPort, error) {
	if s == nil {
		return netip.AddrPort{}, errors.New("only socket addresses are supported here")
	}
	a, err := netip.ParseAddr(s.Address)
	if err != nil {
		return netip.AddrPort{}, in("socket_address.address", err)
	}
	port, err := socketPort(s)
	if err != nil {
		return netip.AddrPort{}, err
	}
	return netip.AddrPortFrom(a.Unmap(), port), nil
}

func socketPort(s *corev3.SocketAddress) (uint16, error) {
	if s.Protocol != corev3.SocketAddress_TCP {
		return 0, in("socket_address.protocol", unsupported("protocol %v", s.Protocol))
	}
	p, ok := s.PortSpecifier.(*corev3.SocketAddress_PortValue)
	if !ok {
		if s.PortSpecifier == nil {
			return 0, nil
		}
		return 0, in("socket_address.named_port", unsupported("named port"))
	}
	if p.PortValue > math.MaxUint16 {
		return 0, in("socket_address.port_value", fmt.Errorf("%d is not a port", p.PortValue))
	}
	return uint16(p.PortValue), nil
}

// metadata turns static metadata into plain values; nil for none. Equal
// metadata, such as that of all routes of one virtual service, is kept once.
func (c *Compiler) metadata(m *corev3.Metadata) (*snapshot.Metadata, error) {
	if len(m.GetFilterMetadata()) == 0 {
		return nil, nil
	}
	k, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return nil, err
	}
	if v := c.metadatas[string(k)]; v != nil {
		return v, nil
	}
	v := &snapshot.Metadata{Filter: make(map[string]map[string]any, len(m.FilterMetadata))}
	for ns, s := range m.FilterMetadata {
		v.Filter[c.str(ns)] = s.AsMap()
	}
	if len(c.metadatas) > maxMemo {
		clear(c.metadatas)
	}
	c.metadatas[string(k)] = v
	return v, nil
}

func structString(s *structpb.Struct, k string) string { return s.GetFields()[k].GetStringValue() }

// istioConfig is the path of the mesh resource behind something.
func (c *Compiler) istioConfig(m *corev3.Metadata) string {
	return c.str(structString(m.GetFilterMetadata()["istio"], "config"))
}

// istioRule is the field of that object that holds the rule.
func (c *Compiler) istioRule(m *corev3.Metadata) string {
	return c.str(structString(m.GetFilterMetadata()["istio"], "rule"))
}

// criteria are the keys of a metadata namespace with scalar values, sorted.
func (c *Compiler) criteria(m *corev3.Metadata, ns string) []snapshot.MetadataCriterion {
	fields := m.GetFilterMetadata()[ns].GetFields()
	if len(fields) == 0 {
		return nil
	}
	out := make([]snapshot.MetadataCriterion, 0, len(fields))
	for _, k := range sortedKeys(fields) {
		out = append(out, snapshot.MetadataCriterion{
			Key: c.str(k), Value: c.str(string(snapshot.AppendValue(nil, fields[k].AsInterface()))),
		})
	}
	return out
}

// str gives one copy of equal strings.
func (c *Compiler) str(s string) string {
	if s == "" {
		return ""
	}
	if v, ok := c.strings[s]; ok {
		return v
	}
	if len(c.strings) > maxMemo {
		clear(c.strings)
	}
	s = strings.Clone(s)
	c.strings[s] = s
	return s
}

// lowerASCII lower-cases ASCII letters and leaves the rest alone: what matchers
// do. (strings.ToLower would turn the Kelvin sign into a k.)
func lowerASCII(s string) string {
	for i := range len(s) {
		if c := s[i]; c >= 'A' && c <= 'Z' {
			b := []byte(s)
			for ; i < len(b); i++ {
				if c := b[i]; c >= 'A' && c <= 'Z' {
					b[i] = c + 'a' - 'A'
				}
			}
			return string(b)
		}
	}
	return s
}
