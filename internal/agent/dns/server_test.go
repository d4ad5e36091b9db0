package dns

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/miekg/dns"
	"go.uber.org/goleak"

	"github.com/meshctl/meshctl/internal/nametable"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var mesh = map[string]nametable.Table{
	"reviews": {"reviews.default.svc.cluster.local": {IPs: []string{"10.96.0.1"}, Registry: "Kubernetes", Shortname: "reviews", Namespace: "default"}},
	"db":      {"db.data.svc.cluster.local": {IPs: []string{"10.244.0.2", "10.244.0.3", "fd00::2"}, Registry: "Kubernetes", Shortname: "db", Namespace: "data"}},
	"ext":     {"books.example.com": {IPs: []string{"240.240.0.1"}, Registry: "External"}, "*.wild.example.com": {IPs: []string{"240.240.0.2"}, Registry: "External"}},
}

// start runs a server whose upstream is another real server that knows only upstream.test.
func start(t *testing.T, withTable bool) netip.AddrPort {
	t.Helper()
	return startFor(t, withTable, Options{IPv6: true})
}

// startFor is start for a program that can use the addresses that o says.
func startFor(t *testing.T, withTable bool, o Options) netip.AddrPort {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	up := &dns.Server{PacketConn: pc, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		if q.Question[0].Name == "upstream.test." {
			m.Answer = []dns.RR{&dns.A{Hdr: rrHeader("upstream.test.", dns.TypeA), A: net.IPv4(192, 0, 2, 7)}}
		} else {
			m.Rcode = dns.RcodeNameError
		}
		_ = w.WriteMsg(m)
	})}
	upStarted := make(chan struct{})
	up.NotifyStartedFunc = func() { close(upStarted) }
	upDone := make(chan struct{})
	go func() { defer close(upDone); _ = up.ActivateAndServe() }()
	<-upStarted

	o.Addr, o.Domain = netip.MustParseAddrPort("127.0.0.1:0"), "default.svc.cluster.local"
	o.Upstreams, o.Logger = []string{pc.LocalAddr().String()}, slog.New(slog.DiscardHandler)
	s := New(o)
	at, err := s.Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if withTable {
		s.Update(mesh, nil)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Serve = %v", err)
		}
		_ = up.Shutdown()
		<-upDone
	})
	return at
}

func ask(t *testing.T, at netip.AddrPort, network, name string, typ uint16) *dns.Msg {
	t.Helper()
	m := new(dns.Msg).SetQuestion(dns.Fqdn(name), typ)
	r, _, err := (&dns.Client{Net: network}).Exchange(m, at.String())
	if err != nil {
		t.Fatalf("%s %s: %v", network, name, err)
	}
	return r
}

func addrs(m *dns.Msg) (out []string) {
	for _, rr := range m.Answer {
		switch rr := rr.(type) {
		case *dns.A:
			out = append(out, rr.A.String())
		case *dns.AAAA:
			out = append(out, rr.AAAA.String())
		case *dns.CNAME:
			out = append(out, "="+rr.Target)
		}
	}
	slices.Sort(out)
	return out
}

func TestNamesOfTheMesh(t *testing.T) {
	t.Parallel()
	at := start(t, true)
	for _, c := range []struct {
		name  string
		typ   uint16
		want  []string
		rcode int
		aa    bool
	}{
		{"reviews", dns.TypeA, []string{"10.96.0.1"}, dns.RcodeSuccess, true},
		{"REVIEWS.default", dns.TypeA, []string{"10.96.0.1"}, dns.RcodeSuccess, true},
		{"reviews.default.svc", dns.TypeA, []string{"10.96.0.1"}, dns.RcodeSuccess, true},
		{"reviews.default.svc.cluster.local", dns.TypeA, []string{"10.96.0.1"}, dns.RcodeSuccess, true},
		{"reviews.default.svc.cluster.local", dns.TypeAAAA, nil, dns.RcodeSuccess, true},
		{"db.data", dns.TypeA, []string{"10.244.0.2", "10.244.0.3"}, dns.RcodeSuccess, true},
		{"db.data", dns.TypeAAAA, []string{"fd00::2"}, dns.RcodeSuccess, true},
		{"db", dns.TypeA, nil, dns.RcodeNameError, false}, // another namespace's short name
		{"books.example.com", dns.TypeA, []string{"240.240.0.1"}, dns.RcodeSuccess, true},
		{"books.example.com.default.svc.cluster.local", dns.TypeA, []string{"240.240.0.1", "=books.example.com."}, dns.RcodeSuccess, true},
		{"a.b.wild.example.com", dns.TypeA, []string{"240.240.0.2"}, dns.RcodeSuccess, true},
		{"wild.example.com", dns.TypeA, nil, dns.RcodeNameError, false},
		{"upstream.test", dns.TypeA, []string{"192.0.2.7"}, dns.RcodeSuccess, false},
		{"nowhere.test", dns.TypeA, nil, dns.RcodeNameError, false},
	} {
		m := ask(t, at, "udp", c.name, c.typ)
		if !slices.Equal(addrs(m), c.want) || m.Rcode != c.rcode || m.Authoritative != c.aa {
			t.Errorf("%s %s: %v %s aa=%v, want %v %s aa=%v", c.name, dns.TypeToString[c.typ],
				addrs(m), dns.RcodeToString[m.Rcode], m.Authoritative, c.want, dns.RcodeToString[c.rcode], c.aa)
		}
	}
	if m := ask(t, at, "tcp", "reviews", dns.TypeA); !slices.Equal(addrs(m), []string{"10.96.0.1"}) {
		t.Errorf("over TCP: %v", addrs(m))
	}
}

// A program that is told of addresses it cannot reach tries them, and may go no further.
func TestOnlyAddressesOfUseAreAnswered(t *testing.T) {
	t.Parallel()
	four, six := []string{"10.244.0.2", "10.244.0.3"}, []string{"fd00::2"}
	for name, c := range map[string]struct {
		o       Options
		a, aaaa []string
	}{
		"IPv4": {Options{}, four, nil}, "IPv6": {Options{IPv6: true, NoIPv4: true}, nil, six}, "both": {Options{IPv6: true}, four, six},
	} {
		at := startFor(t, true, c.o)
		for typ, want := range map[uint16][]string{dns.TypeA: c.a, dns.TypeAAAA: c.aaaa} {
			if m := ask(t, at, "udp", "db.data", typ); !slices.Equal(addrs(m), want) || m.Rcode != dns.RcodeSuccess {
				t.Errorf("%s: %s: %v %s, want %v", name, dns.TypeToString[typ], addrs(m), dns.RcodeToString[m.Rcode], want)
			}
		}
	}
}

// Questions that are redirected on their way over IPv6 arrive at ::1.
func TestQuestionsOverIPv6(t *testing.T) {
	t.Parallel()
	if ln, err := net.Listen("tcp", "[::1]:0"); err != nil {
		t.Skipf("loopback has no IPv6 here: %v", err)
	} else {
		_ = ln.Close()
	}
	at := netip.AddrPortFrom(netip.IPv6Loopback(), start(t, true).Port())
	for _, network := range []string{"udp", "tcp"} {
		if m := ask(t, at, network, "db.data", dns.TypeAAAA); !slices.Equal(addrs(m), []string{"fd00::2"}) {
			t.Errorf("%s: %v", network, addrs(m))
		}
	}
}

func TestAddressesTakeTurns(t *testing.T) {
	t.Parallel()
	at := start(t, true)
	first := map[string]bool{}
	for range 4 {
		first[ask(t, at, "udp", "db.data", dns.TypeA).Answer[0].(*dns.A).A.String()] = true
	}
	if len(first) != 2 {
		t.Errorf("first addresses seen: %v", first)
	}
}

func TestBeforeTheTableComesQueriesFailSoftly(t *testing.T) {
	t.Parallel()
	if m := ask(t, start(t, false), "udp", "reviews", dns.TypeA); m.Rcode != dns.RcodeServerFailure {
		t.Errorf("rcode %s", dns.RcodeToString[m.Rcode])
	}
}
