package xdsgen

import (
	"net/netip"
	"regexp"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
	networking "istio.io/api/networking/v1alpha3"
)

func exactly(v string) *matcherv3.StringMatcher {
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: v}}
}

func prefixed(v string) *matcherv3.StringMatcher {
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: v}}
}

func suffixed(v string) *matcherv3.StringMatcher {
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Suffix{Suffix: v}}
}

func matching(re string) *matcherv3.StringMatcher {
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: regex(re)}}
}

func regex(re string) *matcherv3.RegexMatcher { return &matcherv3.RegexMatcher{Regex: re} }

// maxRegex bounds the text of a user's regular expression.
const maxRegex = 8 << 10

// validRegex reports whether a proxy will accept an expression: RE2 syntax, as Go's.
func validRegex(re string) bool {
	if re == "" || len(re) > maxRegex {
		return false
	}
	_, err := regexp.Compile(re)
	return err == nil
}

// matcher translates a StringMatch; nil when nothing is set in it, which in
// Istio's API asks for presence. ok is false for an expression that proxies refuse.
func matcher(m *networking.StringMatch) (out *matcherv3.StringMatcher, ok bool) {
	switch t := m.GetMatchType().(type) {
	case *networking.StringMatch_Exact:
		return exactly(t.Exact), true
	case *networking.StringMatch_Prefix:
		if t.Prefix == "" {
			return nil, true // everything begins with nothing
		}
		return prefixed(t.Prefix), true
	case *networking.StringMatch_Regex:
		return matching(t.Regex), validRegex(t.Regex)
	default:
		return nil, true
	}
}

// cidr reads an address or a prefix.
func cidr(s string) (*corev3.CidrRange, bool) {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		a, err := netip.ParseAddr(s)
		if err != nil || a.Zone() != "" {
			return nil, false
		}
		a = a.Unmap()
		p = netip.PrefixFrom(a, a.BitLen())
	}
	p = p.Masked()
	return &corev3.CidrRange{AddressPrefix: p.Addr().String(), PrefixLen: wrapperspb.UInt32(uint32(p.Bits()))}, true
}

// isAddress reports whether s is an IP address, not a prefix and not a name.
func isAddress(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil
}

// isPrefix reports whether s is a network of more than one address.
func isPrefix(s string) bool {
	p, err := netip.ParsePrefix(s)
	return err == nil && !p.IsSingleIP()
}

// sortedSet gives the distinct strings in order.
func sortedSet(l []string) []string {
	out := slices.Clone(l)
	slices.Sort(out)
	return slices.Compact(out)
}

// isHeaderName reports whether a name can be that of an HTTP header (RFC 9110
// section 5.1), or of a pseudo header.
func isHeaderName(s string) bool {
	s = strings.TrimPrefix(s, ":")
	if s == "" {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0 {
			continue
		}
		return false
	}
	return true
}
