package snapshot

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// ChainIndex finds the chain of a connection. Levels are tried in Envoy's order
// (config.listener.v3.FilterChainMatch): destination port, destination address,
// server name, transport protocol, application protocols, direct source
// address, source type, source address, source port. The most specific value
// wins at each level and there is no way back: a chain that fits better at an
// early level and fails at a later one means no chain.
type ChainIndex struct {
	ports   map[uint16]*dstLevel
	anyPort *dstLevel
}

type (
	dstLevel  = prefixMap[*nameLevel]
	nameLevel struct {
		exact    map[string]*transportLevel
		wildcard map[string]*transportLevel // key ".example.com"
		any      *transportLevel
	}
	transportLevel struct{ any, raw, tls *alpnLevel }
	alpnLevel      struct {
		protocols map[string]*directLevel
		any       *directLevel
	}
	directLevel = prefixMap[*sourceTypeLevel]
	// sourceTypeLevel is indexed by SourceType.
	sourceTypeLevel [3]*sourceLevel
	sourceLevel     = prefixMap[*sourcePortLevel]
	sourcePortLevel struct {
		ports map[uint16]*Chain
		any   *Chain
	}
)

// prefixMap finds the longest prefix that contains an address.
type prefixMap[T any] struct {
	v4, v6 []int // lengths in use, longest first
	m      map[netip.Prefix]T
	any    T
	hasAny bool
}

func (p *prefixMap[T]) find(a netip.Addr) (v T, ok bool) {
	lens := p.v6
	if a.Is4() {
		lens = p.v4
	}
	for _, n := range lens {
		q, err := a.Prefix(n)
		if err != nil {
			continue
		}
		if v, ok = p.m[q]; ok {
			return v, true
		}
	}
	return p.any, p.hasAny
}

// get returns the value at prefix, made by mk when it is not there; an invalid
// prefix stands for every address.
func (p *prefixMap[T]) get(q netip.Prefix, mk func() T) T {
	if !q.IsValid() {
		if !p.hasAny {
			p.any, p.hasAny = mk(), true
		}
		return p.any
	}
	q = netip.PrefixFrom(q.Addr().Unmap(), q.Bits()).Masked()
	if v, ok := p.m[q]; ok {
		return v
	}
	if p.m == nil {
		p.m = map[netip.Prefix]T{}
	}
	lens := &p.v6
	if q.Addr().Is4() {
		lens = &p.v4
	}
	if !slices.Contains(*lens, q.Bits()) {
		*lens = append(*lens, q.Bits())
		slices.SortFunc(*lens, func(a, b int) int { return b - a })
	}
	v := mk()
	p.m[q] = v
	return v
}

// maxChainKeys bounds the combinations of criteria of one chain.
const maxChainKeys = 1 << 16

// IndexChains compiles the matches of chains. Two chains with the same criteria
// are an error that names both; so is a server name with an inner wildcard.
func IndexChains(chains []*Chain) (*ChainIndex, error) {
	x := &ChainIndex{}
	for _, c := range chains {
		if err := x.add(c); err != nil {
			return nil, fmt.Errorf("filter chain %q: %w", c.Name, err)
		}
	}
	return x, nil
}

func (x *ChainIndex) add(c *Chain) error {
	m := &c.Match
	keys := 1
	for _, n := range []int{len(m.Destinations), len(m.ServerNames), len(m.ApplicationProtocols), len(m.DirectSources), len(m.Sources), len(m.SourcePorts)} {
		keys *= max(n, 1)
		if keys > maxChainKeys {
			return fmt.Errorf("more than %d combinations of criteria", maxChainKeys)
		}
	}
	for _, leaf := range x.leaves(m) {
		for _, port := range orZero(m.SourcePorts) {
			have := &leaf.any
			if port != 0 {
				if leaf.ports == nil {
					leaf.ports = map[uint16]*Chain{}
				}
				if o := leaf.ports[port]; o != nil {
					return fmt.Errorf("same criteria as filter chain %q", o.Name)
				}
				leaf.ports[port] = c
				continue
			}
			if *have != nil {
				return fmt.Errorf("same criteria as filter chain %q", (*have).Name)
			}
			*have = c
		}
	}
	return nil
}

// leaves makes the path of every combination of criteria but the source port.
func (x *ChainIndex) leaves(m *ChainMatch) []*sourcePortLevel {
	dst := x.anyPort
	if m.DestinationPort != 0 {
		dst = x.ports[m.DestinationPort]
	}
	if dst == nil {
		dst = &dstLevel{}
		if m.DestinationPort == 0 {
			x.anyPort = dst
		} else {
			if x.ports == nil {
				x.ports = map[uint16]*dstLevel{}
			}
			x.ports[m.DestinationPort] = dst
		}
	}
	var out []*sourcePortLevel
	for _, d := range orZero(m.Destinations) {
		names := dst.get(d, newOf[nameLevel])
		for _, n := range orZero(m.ServerNames) {
			alpn := names.get(n).get(m.Transport)
			for _, p := range orZero(m.ApplicationProtocols) {
				direct := alpn.get(p)
				for _, ds := range orZero(m.DirectSources) {
					types := direct.get(ds, newOf[sourceTypeLevel])
					if types[m.SourceType] == nil {
						types[m.SourceType] = &sourceLevel{}
					}
					for _, s := range orZero(m.Sources) {
						out = append(out, types[m.SourceType].get(s, newOf[sourcePortLevel]))
					}
				}
			}
		}
	}
	return out
}

func newOf[T any]() *T { return new(T) }

// orZero gives a list with the zero value for an empty one.
func orZero[T any](l []T) []T {
	if len(l) == 0 {
		return make([]T, 1)
	}
	return l
}

func (l *nameLevel) get(name string) *transportLevel {
	switch {
	case name == "" || name == "*":
		if l.any == nil {
			l.any = &transportLevel{}
		}
		return l.any
	case strings.HasPrefix(name, "*."):
		return getIn(&l.wildcard, name[1:])
	default:
		return getIn(&l.exact, name)
	}
}

func (l *transportLevel) get(t TransportProtocol) *alpnLevel {
	p := &l.any
	switch t {
	case RawBuffer:
		p = &l.raw
	case TLSTransport:
		p = &l.tls
	case TransportAny:
	}
	if *p == nil {
		*p = &alpnLevel{}
	}
	return *p
}

func (l *alpnLevel) get(proto string) *directLevel {
	if proto == "" {
		if l.any == nil {
			l.any = &directLevel{}
		}
		return l.any
	}
	return getIn(&l.protocols, proto)
}

func getIn[T any](m *map[string]*T, key string) *T {
	if v := (*m)[key]; v != nil {
		return v
	}
	if *m == nil {
		*m = map[string]*T{}
	}
	v := new(T)
	(*m)[key] = v
	return v
}

func (x *ChainIndex) find(f *ConnFacts) *Chain {
	dst, ok := x.ports[f.Destination.Port()]
	if !ok {
		dst = x.anyPort
	}
	if dst == nil {
		return nil
	}
	names, ok := dst.find(f.Destination.Addr())
	if !ok {
		return nil
	}
	transports := names.find(f.ServerName)
	if transports == nil {
		return nil
	}
	alpn := transports.find(f.Transport)
	if alpn == nil {
		return nil
	}
	direct := alpn.find(f.ALPN)
	if direct == nil {
		return nil
	}
	types, ok := direct.find(f.DirectSource)
	if !ok {
		return nil
	}
	sources := types.find(f)
	if sources == nil {
		return nil
	}
	ports, ok := sources.find(f.Source.Addr())
	if !ok {
		return nil
	}
	if c := ports.ports[f.Source.Port()]; c != nil {
		return c
	}
	return ports.any
}

func (l *nameLevel) find(name []byte) *transportLevel {
	if len(name) > 0 {
		if t := l.exact[string(name)]; t != nil {
			return t
		}
		for i := bytes.IndexByte(name, '.'); l.wildcard != nil && i >= 0 && i < len(name); {
			if t := l.wildcard[string(name[i:])]; t != nil {
				return t
			}
			j := bytes.IndexByte(name[i+1:], '.')
			if j < 0 {
				break
			}
			i += 1 + j
		}
	}
	return l.any
}

func (l *transportLevel) find(t TransportProtocol) *alpnLevel {
	if t == TLSTransport && l.tls != nil {
		return l.tls
	}
	if t != TLSTransport && l.raw != nil {
		return l.raw
	}
	return l.any
}

func (l *alpnLevel) find(offered [][]byte) *directLevel {
	if l.protocols != nil {
		for _, p := range offered {
			if d := l.protocols[string(p)]; d != nil {
				return d
			}
		}
	}
	return l.any
}

func (l *sourceTypeLevel) find(f *ConnFacts) *sourceLevel {
	if l[SourceLocal] != nil || l[SourceExternal] != nil {
		t := SourceExternal
		if f.IsLocal() {
			t = SourceLocal
		}
		if l[t] != nil {
			return l[t]
		}
	}
	return l[SourceAny]
}
