package snapshot

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// naive chooses a chain by narrowing the list level by level, as Envoy's
// documentation describes it.
func naive(chains []*Chain, f *ConnFacts) *Chain {
	level := func(score func(m *ChainMatch) int) {
		best := -1
		for _, c := range chains {
			best = max(best, score(&c.Match))
		}
		var out []*Chain
		for _, c := range chains {
			if s := score(&c.Match); s >= 0 && s == best {
				out = append(out, c)
			}
		}
		chains = out
	}
	prefix := func(l []netip.Prefix, a netip.Addr) int {
		if len(l) == 0 {
			return 0
		}
		best := -1
		for _, p := range l {
			if p.Contains(a) {
				best = max(best, 1+p.Bits())
			}
		}
		return best
	}
	// A prefix of a chain must not shadow another prefix of the same chain.
	level(func(m *ChainMatch) int {
		switch m.DestinationPort {
		case 0:
			return 0
		case f.Destination.Port():
			return 1
		default:
			return -1
		}
	})
	level(func(m *ChainMatch) int { return prefix(m.Destinations, f.Destination.Addr()) })
	level(func(m *ChainMatch) int {
		if len(m.ServerNames) == 0 {
			return 0
		}
		best := -1
		for _, n := range m.ServerNames {
			switch {
			case n == string(f.ServerName):
				best = 1000
			case strings.HasPrefix(n, "*.") && strings.HasSuffix(string(f.ServerName), n[1:]):
				best = max(best, len(n))
			}
		}
		return best
	})
	level(func(m *ChainMatch) int {
		switch m.Transport {
		case TransportAny:
			return 0
		case f.Transport:
			return 1
		default:
			return -1
		}
	})
	level(func(m *ChainMatch) int {
		if len(m.ApplicationProtocols) == 0 {
			return 0
		}
		for i, p := range f.ALPN {
			if slices.Contains(m.ApplicationProtocols, string(p)) {
				return 100 - i
			}
		}
		return -1
	})
	level(func(m *ChainMatch) int { return prefix(m.DirectSources, f.DirectSource) })
	level(func(m *ChainMatch) int {
		switch {
		case m.SourceType == SourceAny:
			return 0
		case (m.SourceType == SourceLocal) == f.IsLocal():
			return 1
		default:
			return -1
		}
	})
	level(func(m *ChainMatch) int { return prefix(m.Sources, f.Source.Addr()) })
	level(func(m *ChainMatch) int {
		switch {
		case len(m.SourcePorts) == 0:
			return 0
		case slices.Contains(m.SourcePorts, f.Source.Port()):
			return 1
		default:
			return -1
		}
	})
	if len(chains) == 0 {
		return nil
	}
	return chains[0]
}

var (
	testPrefixes = []string{"10.0.0.0/8", "10.1.0.0/16", "10.1.1.1/32", "0.0.0.0/0", "fd00::/8", "127.0.0.0/8"}
	testAddrs    = []string{"10.1.1.1", "10.1.2.3", "10.9.9.9", "192.168.0.1", "127.0.0.1", "fd00::1", "::1"}
	testNames    = []string{"a.com", "b.a.com", "*.a.com", "*.com", "*.b.a.com"}
	testProtos   = []string{"h2", "http/1.1", "istio", "h2c"}
)

func drawChain(t *rapid.T) *Chain {
	pick := func(name string, from []string, n int) []string {
		var out []string
		for _, i := range rapid.SliceOfNDistinct(rapid.IntRange(0, len(from)-1), 0, n, rapid.ID[int]).Draw(t, name) {
			out = append(out, from[i])
		}
		return out
	}
	prefixes := func(name string) []netip.Prefix {
		var out []netip.Prefix
		for _, s := range pick(name, testPrefixes, 2) {
			out = append(out, netip.MustParsePrefix(s))
		}
		return out
	}
	return &Chain{Match: ChainMatch{
		DestinationPort: uint16(rapid.IntRange(0, 2).Draw(t, "port")), Destinations: prefixes("dst"), ServerNames: pick("names", testNames, 2),
		Transport: TransportProtocol(rapid.IntRange(0, 2).Draw(t, "transport")), ApplicationProtocols: pick("alpn", testProtos, 2),
		DirectSources: prefixes("direct"), SourceType: SourceType(rapid.IntRange(0, 2).Draw(t, "type")), Sources: prefixes("src"),
		SourcePorts: slices.Compact([]uint16{uint16(rapid.IntRange(1, 3).Draw(t, "sport"))})[:rapid.IntRange(0, 1).Draw(t, "sports")],
	}}
}

func drawFacts(t *rapid.T) *ConnFacts {
	addr := func(name string) netip.Addr { return netip.MustParseAddr(rapid.SampledFrom(testAddrs).Draw(t, name)) }
	f := &ConnFacts{
		Destination:  netip.AddrPortFrom(addr("dst"), uint16(rapid.IntRange(1, 3).Draw(t, "dport"))),
		Source:       netip.AddrPortFrom(addr("src"), uint16(rapid.IntRange(1, 4).Draw(t, "sport"))),
		DirectSource: addr("direct"), Transport: RawBuffer + TransportProtocol(rapid.IntRange(0, 1).Draw(t, "transport")),
		ServerName: []byte(rapid.SampledFrom([]string{"", "a.com", "b.a.com", "c.b.a.com", "x.com", "com", ".a.com"}).Draw(t, "sni")),
	}
	for _, p := range rapid.SliceOfN(rapid.SampledFrom(testProtos), 0, 3).Draw(t, "offered") {
		f.ALPN = append(f.ALPN, []byte(p))
	}
	return f
}

// TestCompiledChainMatchEqualsNaive is the property behind Listener.Match.
func TestCompiledChainMatchEqualsNaive(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		var chains []*Chain
		for range rapid.IntRange(0, 6).Draw(rt, "chains") {
			c := drawChain(rt)
			if _, err := IndexChains(append(slices.Clone(chains), c)); err == nil {
				chains = append(chains, c)
			}
		}
		x, err := IndexChains(chains)
		if err != nil {
			rt.Fatal(err)
		}
		l := &Listener{Chains: chains, Index: x, Default: &Chain{Name: "default"}}
		for range 8 {
			f := drawFacts(rt)
			want := naive(chains, f)
			if want == nil {
				want = l.Default
			}
			if got := l.Match(f); got != want {
				rt.Fatalf("facts %+v\ngot  %+v\nwant %+v", f, got, want)
			}
		}
	})
}

func TestChainMatchDoesNotAllocate(t *testing.T) {
	chains := []*Chain{
		{Name: "a", Match: ChainMatch{DestinationPort: 80, Transport: TLSTransport, ApplicationProtocols: []string{"istio"}, ServerNames: []string{"*.a.com"}}},
		{Name: "b", Match: ChainMatch{Destinations: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}},
	}
	x, err := IndexChains(chains)
	if err != nil {
		t.Fatal(err)
	}
	l := &Listener{Index: x}
	f := &ConnFacts{
		Destination: netip.MustParseAddrPort("10.0.0.1:80"), Source: netip.MustParseAddrPort("10.0.0.2:999"), DirectSource: netip.MustParseAddr("10.0.0.2"),
		ServerName: []byte("x.a.com"), Transport: TLSTransport, ALPN: [][]byte{[]byte("istio")},
	}
	if n := testing.AllocsPerRun(100, func() {
		if l.Match(f) != chains[0] {
			t.Fatal("wrong chain")
		}
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}
