package effect

import (
	"net/netip"
	"strings"

	"github.com/meshctl/meshctl/internal/whatif"
)

// mark is what a request may have besides method and path that a policy looks at: a
// header, a host, an address, a token.
type mark struct {
	kind, text string // text for people: "with x-user: jason"
	put        func(*whatif.Arrival)
}

const tokenMark = "token"

// apply adds it to a request; a nil mark adds nothing.
func (m *mark) apply(a *whatif.Arrival) {
	if m != nil {
		m.put(a)
	}
}

func markHeader(name, value string) *mark {
	return &mark{"header", "with " + name + ": " + value, func(a *whatif.Arrival) { a.Headers = []whatif.Header{{Name: name, Value: value}} }}
}

func markHost(host string) *mark {
	host = strings.TrimSuffix(host, ":") // where a port may follow
	if host == "" {
		return nil
	}
	return &mark{"host", "for host " + host, func(a *whatif.Arrival) { a.Authority = host }}
}

func markAddress(p netip.Prefix) *mark {
	if !p.IsValid() || p.Contains(somewhere) {
		return nil
	}
	text := p.String()
	if p.IsSingleIP() {
		text = p.Addr().String()
	}
	return &mark{"address", "from " + text, func(a *whatif.Arrival) { a.Source = p.Addr() }}
}

func markToken(text string, claims map[string]any) *mark {
	return &mark{tokenMark, text, func(a *whatif.Arrival) { a.Token = &whatif.Token{Claims: claims} }}
}

// learnTokens adds the tokens that the policies tell apart.
func (v *vocabulary) learnTokens(was, is *whatif.Inbound) {
	for _, x := range whatif.TokenExamples(was, is) {
		text := "with a token of " + x.Issuer
		if x.About != "" {
			text += " with " + x.About
		}
		v.mark(markToken(text, x.Claims))
	}
}
