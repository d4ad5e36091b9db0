package mesh_test

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/meshctl/meshctl/internal/mesh"
)

func TestQualifyHost(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ host, want string }{
		{"reviews", "reviews.default.svc.cluster.local"},
		{"Reviews", "reviews.default.svc.cluster.local"},
		{"reviews.prod", "reviews.prod"}, // as Istio: a dot makes it a full name
		{"reviews.default.svc.cluster.local.", "reviews.default.svc.cluster.local"},
		{"api.example.com", "api.example.com"},
		{"*.example.com", "*.example.com"},
		{"*", "*"},
		{"", ""},
		{"2001:db8::1", "2001:db8::1"},
		{"[::1]", "[::1]"},
	} {
		if got := mesh.QualifyHost(c.host, "default", "cluster.local"); got != c.want {
			t.Errorf("QualifyHost(%q) = %q, want %q", c.host, got, c.want)
		}
	}
}

func TestHostMatches(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		pattern, host string
		want          bool
	}{
		{"a.com", "a.com", true},
		{"a.com", "b.a.com", false},
		{"*", "a.com", true},
		{"*", "*", true},
		{"*", "*.com", true},
		{"*.com", "a.com", true},
		{"*.com", "b.a.com", true},
		{"*.com", "com", false},
		{"*.com", "*.com", true},
		{"*.com", "*.a.com", true},
		{"*.a.com", "*.com", false},
		{"*.com", "*", false},
		{"*-x.com", "a-x.com", true},
		{"*-x.com", "a.com", false},
		{"a.com", "*.com", false},
	} {
		if got := mesh.HostMatches(c.pattern, c.host); got != c.want {
			t.Errorf("HostMatches(%q, %q) = %v, want %v", c.pattern, c.host, got, c.want)
		}
	}
}

// hosts draws names and wildcards over few labels, so that they often cover each other.
func hosts() *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		labels := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "com"}), 1, 4).Draw(t, "labels")
		host := strings.Join(labels, ".")
		if rapid.Bool().Draw(t, "wildcard") {
			host = "*." + host
		}
		if rapid.IntRange(0, 20).Draw(t, "all") == 0 {
			host = "*"
		}
		return host
	})
}

// Every pattern that covers a host is among the keys of HostPatterns, and they
// come in the order of MoreSpecificHost.
func TestHostPatternsFindEveryCover(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		pattern, host := hosts().Draw(t, "pattern"), hosts().Draw(t, "host")
		keys := mesh.HostPatterns(host)
		if got, want := slices.Contains(keys, pattern), mesh.HostMatches(pattern, host); got != want {
			t.Fatalf("HostPatterns(%q) = %q: contains %q is %v, HostMatches says %v", host, keys, pattern, got, want)
		}
		if !slices.IsSortedFunc(keys, mesh.MoreSpecificHost) {
			t.Fatalf("HostPatterns(%q) = %q is not in order", host, keys)
		}
	})
}

// The most specific pattern is itself covered by every other pattern that covers the host.
func TestMostSpecificIsCoveredByTheOthers(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		ps := rapid.SliceOfN(hosts(), 1, 8).Draw(t, "patterns")
		host := hosts().Draw(t, "host")
		best, ok := mesh.MostSpecific(ps, host)
		for _, p := range ps {
			if !mesh.HostMatches(p, host) {
				continue
			}
			if !ok || !mesh.HostMatches(p, best) {
				t.Fatalf("MostSpecific(%q, %q) = %q, %v; but %q covers the host too", ps, host, best, ok, p)
			}
		}
	})
}

func TestChooseProtocol(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		number   uint32
		name, ap string
		udp      bool
		want     mesh.Protocol
	}{
		{80, "http", "", false, mesh.ProtocolHTTP},
		{80, "http-web", "", false, mesh.ProtocolHTTP},
		{80, "HTTP2-x", "", false, mesh.ProtocolHTTP2},
		{80, "httpx", "", false, mesh.ProtocolAuto},
		{80, "grpc", "", false, mesh.ProtocolGRPC},
		{80, "grpc-web", "", false, mesh.ProtocolGRPCWeb},
		{80, "grpc-web-x", "", false, mesh.ProtocolGRPCWeb},
		{80, "grpc-x", "", false, mesh.ProtocolGRPC},
		{80, "tcp-http", "", false, mesh.ProtocolTCP},
		{443, "https", "", false, mesh.ProtocolHTTPS},
		{443, "tls", "", false, mesh.ProtocolTLS},
		{80, "", "", false, mesh.ProtocolAuto},
		{80, "web", "", false, mesh.ProtocolAuto},
		{3306, "", "", false, mesh.ProtocolTCP},
		{3306, "http", "", false, mesh.ProtocolHTTP},
		{27017, "db", "", false, mesh.ProtocolTCP},
		{80, "tcp", "http", false, mesh.ProtocolHTTP},
		{80, "tcp", "kubernetes.io/h2c", false, mesh.ProtocolHTTP2},
		{80, "tcp", "kubernetes.io/ws", false, mesh.ProtocolHTTP},
		{80, "tcp", "kubernetes.io/wss", false, mesh.ProtocolHTTPS},
		{80, "tcp", "example.com/own", false, mesh.ProtocolTCP},
		{53, "http", "", true, mesh.ProtocolUDP},
	} {
		if got := mesh.ChooseProtocol(c.number, c.name, c.ap, c.udp); got != c.want {
			t.Errorf("ChooseProtocol(%d, %q, %q, %v) = %s, want %s", c.number, c.name, c.ap, c.udp, got, c.want)
		}
	}
}

func TestVisibility(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name          string
		exportTo, def []string
		own, other    bool
	}{
		{"nothing said", nil, nil, true, true},
		{"default of the mesh", nil, []string{"."}, true, false},
		{"own", []string{"."}, []string{"*"}, true, false},
		{"all", []string{"*"}, []string{"."}, true, true},
		{"none", []string{"~"}, nil, false, false},
		{"named", []string{"other"}, nil, false, true},
		{"several", []string{".", "other"}, nil, true, true},
	} {
		v := mesh.NewVisibility(c.exportTo, "own", c.def)
		if v.To("own") != c.own || v.To("other") != c.other {
			t.Errorf("%s: to own %v, to other %v; want %v, %v", c.name, v.To("own"), v.To("other"), c.own, c.other)
		}
	}
}

func TestAllocateAddresses(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		hosts := rapid.SliceOfN(rapid.StringMatching(`[a-z]{1,3}\.com`), 0, 60).Draw(t, "hosts")
		got := mesh.AllocateAddresses(hosts)
		seen := map[string]string{}
		for h, ip := range got {
			if other, ok := seen[ip]; ok {
				t.Fatalf("%s and %s both have %s", h, other, ip)
			}
			seen[ip] = h
			if !strings.HasPrefix(ip, "240.240.") || strings.HasSuffix(ip, ".0") || strings.HasSuffix(ip, ".255") {
				t.Fatalf("%s has %s", h, ip)
			}
		}
		for _, h := range hosts {
			if got[h] == "" {
				t.Fatalf("%s has no address", h)
			}
		}
		slices.Reverse(hosts)
		for h, ip := range mesh.AllocateAddresses(hosts) {
			if got[h] != ip {
				t.Fatalf("the order of hosts changes the address of %s", h)
			}
		}
	})
	if got := mesh.AllocateAddresses([]string{"*.a.com"}); len(got) != 0 {
		t.Errorf("a wildcard got an address: %v", got)
	}
}
