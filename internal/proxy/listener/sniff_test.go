package listener

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meshctl/meshctl/internal/proxy/flow"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
	"github.com/meshctl/meshctl/internal/proxy/tlsbind"
	"github.com/meshctl/meshctl/internal/proxy/tlsconn/tlstest"
)

// auto is a port of unknown protocol in permissive mode.
func auto(r *rig, greet bool) *snapshot.Listener {
	r.cluster("plain", greet)
	r.cluster("foreign", false)
	l := listener("auto",
		httpChain("web", snapshot.ChainMatch{Transport: snapshot.RawBuffer, ApplicationProtocols: []string{"http/1.1", "h2c"}}),
		tcpChain("plain", "plain", snapshot.ChainMatch{Transport: snapshot.RawBuffer}),
		tcpChain("foreign", "foreign", snapshot.ChainMatch{Transport: snapshot.TLSTransport}),
		&snapshot.Chain{
			Name: "mesh", Match: snapshot.ChainMatch{Transport: snapshot.TLSTransport, ApplicationProtocols: []string{"istio"}},
			TLS: mutual(), TCP: &snapshot.TCPProxy{Cluster: "plain"},
		},
	)
	l.TLSInspector, l.HTTPInspector = &snapshot.Inspector{}, &snapshot.Inspector{}
	l.ContinueOnTimeout = true
	return l
}

func mutual() *snapshot.ServerTLS {
	return &snapshot.ServerTLS{RequireClientCert: true, TLSParams: &snapshot.TLSParams{
		Certificates: []string{tlsbind.WorkloadCert}, Validation: tlsbind.WorkloadRoot, ALPN: []string{"istio", "h2"},
	}}
}

const request = "GET / HTTP/1.1\r\nhost: a\r\n\r\n"

func TestSniffing(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.apply(auto(r, false))
	t.Run("HTTP/1.1", func(t *testing.T) {
		c := r.dial("auto")
		say(t, c, request)
		expect(t, c, "http web 27;")
	})
	t.Run("HTTP/2", func(t *testing.T) {
		c := r.dial("auto")
		say(t, c, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
		expect(t, c, "http web 24;")
	})
	t.Run("HTTP/1.0 has no chain of its own here", func(t *testing.T) {
		c := r.dial("auto")
		say(t, c, "GET / HTTP/1.0\r\n\r\n")
		expect(t, c, "plain;GET / HTTP/1.0\r\n\r\n")
	})
	t.Run("something else", func(t *testing.T) {
		c := r.dial("auto")
		say(t, c, "\x00\x01binary")
		expect(t, c, "plain;\x00\x01binary")
	})
	t.Run("a word and the end", func(t *testing.T) {
		c := r.dial("auto")
		say(t, c, "hello")
		if err := c.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		expect(t, c, "plain;hello")
		expectEnd(t, c)
	})
	t.Run("foreign TLS", func(t *testing.T) {
		h := hello(t, "a.example", "h2")
		c := r.dial("auto")
		say(t, c, string(h))
		expect(t, c, "foreign;"+string(h))
	})
}

// hello is a ClientHello of crypto/tls.
func hello(t testing.TB, name string, alpn ...string) []byte {
	t.Helper()
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	go func() {
		c := tls.Client(a, &tls.Config{ServerName: name, NextProtos: alpn, InsecureSkipVerify: true})
		_ = c.HandshakeContext(context.Background())
	}()
	head := make([]byte, 5)
	if _, err := io.ReadFull(b, head); err != nil {
		t.Fatal(err)
	}
	rest := make([]byte, binary.BigEndian.Uint16(head[3:]))
	if _, err := io.ReadFull(b, rest); err != nil {
		t.Fatal(err)
	}
	return slices.Concat(head, rest)
}

// Wherever the first bytes are split, the chain is the same and no byte is lost,
// also when the client dawdles until the endpoint has been dialed.
func TestSniffingSplit(t *testing.T) {
	t.Parallel()
	for name, wait := range map[string]time.Duration{"at once": time.Hour, "dawdling": time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, func(o *Options) { o.SilentWait = wait })
			r.apply(auto(r, false))
			for _, tc := range []struct{ in, out string }{
				{request, "http web 27;"},
				{"\x16\x03\x01zzzz not TLS", "plain;\x16\x03\x01zzzz not TLS"},
				{"hello there\r\n", "plain;hello there\r\n"},
			} {
				for i := 1; i < len(tc.in); i += 3 {
					c := r.dial("auto")
					say(t, c, tc.in[:i])
					say(t, c, tc.in[i:])
					got := readSome(t, c, tc.out)
					if !strings.HasPrefix(tc.out, "http") && got != tc.out || strings.HasPrefix(tc.out, "http") && !strings.HasPrefix(got, "http web") {
						t.Fatalf("split at %d: %q, want %q", i, got, tc.out)
					}
					c.Close()
				}
			}
		})
	}
}

// readSome reads as much as want is long, or for HTTP as much as says who answers.
func readSome(t testing.TB, c io.Reader, want string) string {
	t.Helper()
	if strings.HasPrefix(want, "http") {
		want = "http web"
	}
	b := make([]byte, len(want))
	if n, err := io.ReadFull(c, b); err != nil {
		t.Fatalf("%q %v", b[:n], err)
	}
	return string(b)
}

// A client that waits for the server gets what the server says, and one that was
// merely slow gets the chain it asks for.
func TestSilentClient(t *testing.T) {
	t.Parallel()
	t.Run("server first", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, nil)
		r.apply(auto(r, true))
		c := r.dial("auto")
		expect(t, c, "plain;")
		say(t, c, request)
		expect(t, c, request)
		c.Close()
		if rec := r.out.next(t); rec.Conn.Chain.Name != "plain" || rec.BytesReceived != uint64(len(request)) {
			t.Errorf("chain %q, %d bytes", rec.Conn.Chain.Name, rec.BytesReceived)
		}
	})
	t.Run("slow client", func(t *testing.T) {
		t.Parallel()
		ca := tlstest.New(t)
		r := newRig(t, nil)
		r.binder.SetWorkload(ca.Issue(t, tlstest.Leaf{URIs: []string{"spiffe://td/ns/a/sa/server"}}), []*x509.Certificate{ca.Cert})
		r.apply(auto(r, false))
		silent := func() *net.TCPConn {
			c := r.dial("auto")
			r.untilSpeculating()
			return c
		}
		c := silent()
		say(t, c, request)
		expect(t, c, "http web 27;")
		c.Close()

		c = silent()
		x := tls.Client(c, clientTLS(t, ca, "istio"))
		say(t, x, "hi")
		expect(t, x, "plain;hi")
		c.Close()
		if rec := r.out.next(t); rec.Conn.Chain.Name != "mesh" || rec.Conn.Principal() != "spiffe://td/ns/a/sa/client" {
			t.Errorf("chain %q, principal %q", rec.Conn.Chain.Name, rec.Conn.Principal())
		}

		c = silent()
		say(t, c, "\x00plain")
		expect(t, c, "plain;\x00plain")
		c.Close()
		if rec := r.out.next(t); rec.Conn.Chain.Name != "plain" || rec.Attempts != 1 {
			t.Errorf("chain %q, %d attempts", rec.Conn.Chain.Name, rec.Attempts)
		}

		c = silent()
		_ = c.CloseWrite()
		expectEnd(t, c)
	})
	t.Run("endpoint refuses", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, nil)
		l := auto(r, false)
		r.clusters["plain"].Static.Localities[0].Endpoints[0].Addr = netip.MustParseAddrPort("127.0.0.1:1")
		r.apply(l)
		c := r.dial("auto")
		expectEnd(t, c)
		if rec := r.out.next(t); rec.Flags&flow.FlagUpstreamConnectionFailure == 0 {
			t.Errorf("flags %v", rec.Flags)
		}
	})
}

// What a client tells after its endpoint was dialed is judged all the same.
func TestSpeculationIsJudgedAgain(t *testing.T) {
	t.Parallel()
	deny := func(rule snapshot.Rule) []snapshot.NetworkFilter {
		return []snapshot.NetworkFilter{{Config: &snapshot.RBAC{Rules: &snapshot.Policies{Action: snapshot.ActionDeny, Policies: []snapshot.Policy{{
			Name: "p", Permissions: []snapshot.Rule{{Op: snapshot.RuleAny}}, Principals: []snapshot.Rule{rule},
		}}}}}}
	}
	t.Run("address", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, nil)
		l := auto(r, false)
		l.ProxyProtocol = &snapshot.ProxyProtocol{V1: true, Optional: true}
		l.Chains[1].Network = deny(snapshot.Rule{Op: snapshot.RuleRemoteIP, Prefix: netip.MustParsePrefix("192.0.2.0/24")})
		r.apply(l)
		c := r.dial("auto")
		r.untilSpeculating()
		say(t, c, "PROXY TCP4 192.0.2.7 10.0.0.1 4097 80\r\n\x00")
		expectEnd(t, c)
		if rec := r.out.next(t); rec.ConnEnd != "rbac_access_denied_matched_policy[p]" {
			t.Errorf("end %q", rec.ConnEnd)
		}
	})
	t.Run("server name", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, nil)
		r.cluster("plain", false)
		chain := tcpChain("plain", "plain", snapshot.ChainMatch{})
		chain.Network = deny(snapshot.Rule{Op: snapshot.RuleServerName, Str: &snapshot.StringMatch{Kind: snapshot.StringExact, Value: "a.example"}})
		l := listener("auto", chain)
		l.TLSInspector = &snapshot.Inspector{}
		r.apply(l)
		c := r.dial("auto")
		r.untilSpeculating()
		say(t, c, string(hello(t, "a.example")))
		expectEnd(t, c)
		if rec := r.out.next(t); rec.ConnEnd != "rbac_access_denied_matched_policy[p]" || rec.Conn.ServerName != "a.example" {
			t.Errorf("end %q", rec.ConnEnd)
		}
	})
}

// untilSpeculating waits until a silent client's endpoint is dialed.
func (r *rig) untilSpeculating() {
	r.t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		found := false
		for _, w := range r.m.workers {
			done := make(chan struct{})
			w.w.Post(func() {
				for a := range w.pending {
					found = found || a.cancel != nil
				}
				close(done)
			})
			<-done
		}
		if found {
			return
		}
	}
	r.t.Fatal("nothing is dialed for the silent client")
}

func clientTLS(t testing.TB, ca *tlstest.CA, alpn ...string) *tls.Config {
	t.Helper()
	leaf := ca.Issue(t, tlstest.Leaf{URIs: []string{"spiffe://td/ns/a/sa/client"}})
	return &tls.Config{Certificates: []tls.Certificate{*leaf}, InsecureSkipVerify: true, NextProtos: alpn, ServerName: "app.example"}
}

// Where the client must speak first, silence is waited out and not guessed about.
func TestSilenceIsNotAnAnswer(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(o *Options) { o.SilentWait = time.Millisecond })
	l := listener("web", httpChain("web", snapshot.ChainMatch{ServerNames: []string{"a.example"}}))
	l.TLSInspector, l.InspectTimeout = &snapshot.Inspector{}, 30*time.Millisecond
	r.apply(l)
	c := r.dial("web")
	expectEnd(t, c)
	if rec := r.out.next(t); rec.Details != "listener_filter_timeout" || rec.End < 30*time.Millisecond {
		t.Errorf("details %q after %v", rec.Details, rec.End)
	}
	if s := r.status("web").Stats; s.Timeout != 1 {
		t.Errorf("stats %+v", s)
	}
}

// Bytes are not waited for when no chain depends on them, or the port is exempt.
func TestInspectorsAreSkipped(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*snapshot.Listener){
		"no chain asks": func(l *snapshot.Listener) {
			l.Chains = []*snapshot.Chain{tcpChain("plain", "plain", snapshot.ChainMatch{})}
		},
		"disabled": func(l *snapshot.Listener) {
			off := &snapshot.PortPredicate{Op: snapshot.OpAny}
			l.TLSInspector.Disabled, l.HTTPInspector.Disabled = off, off
		},
		"not for this port": func(l *snapshot.Listener) {
			l.Chains = append(l.Chains, tcpChain("port", "plain", snapshot.ChainMatch{DestinationPort: 7777}))
			l.OriginalDst = true
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, func(o *Options) { o.SilentWait = time.Hour })
			l := auto(r, true)
			change(l)
			r.apply(l)
			if name == "not for this port" {
				r.redirect("10.1.1.1:7777")
			}
			expect(t, r.dial("auto"), "plain;")
		})
	}
}

func TestProxyProtocol(t *testing.T) {
	t.Parallel()
	v2 := append([]byte("\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c"), 192, 0, 2, 7, 10, 0, 0, 1, 0x10, 0x01, 0x00, 0x50)
	const v1 = "PROXY TCP4 192.0.2.7 10.0.0.1 4097 80\r\n"
	src, dst := netip.MustParseAddrPort("192.0.2.7:4097"), netip.MustParseAddrPort("10.0.0.1:80")
	newProxied := func(t *testing.T, p snapshot.ProxyProtocol) *rig {
		t.Helper()
		r := newRig(t, nil)
		l := listener("in", httpChain("web", snapshot.ChainMatch{}))
		l.ProxyProtocol = &p
		r.apply(l)
		return r
	}
	t.Run("accepted", func(t *testing.T) {
		t.Parallel()
		r := newProxied(t, snapshot.ProxyProtocol{V1: true, V2: true})
		for _, head := range []string{v1, string(v2)} {
			for i := 1; i <= len(head); i += 4 {
				c := r.dial("in")
				say(t, c, head[:i])
				say(t, c, head[i:]+"x")
				expect(t, c, "http web 1;")
				info := <-r.served
				if info.Remote != src || info.Local != dst || info.Facts.Source != src || info.Direct.String() != c.LocalAddr().String() {
					t.Fatalf("remote %v, local %v, direct %v", info.Remote, info.Local, info.Direct)
				}
				c.Close()
			}
		}
	})
	t.Run("refused", func(t *testing.T) {
		t.Parallel()
		for in, p := range map[string]snapshot.ProxyProtocol{
			"GET / HTTP/1.1\r\n":         {V1: true, V2: true},
			v1:                           {V2: true},
			string(v2):                   {V1: true},
			"PROXY TCP4 nonsense\r\n":    {V1: true, V2: true, Optional: true},
			strings.Repeat("PROXY ", 30): {V1: true, V2: true, Optional: true},
		} {
			r := newProxied(t, p)
			c := r.dial("in")
			say(t, c, in)
			expectEnd(t, c)
			if rec := r.out.next(t); rec.Details != "proxy_protocol_error" {
				t.Errorf("%q: %q", in, rec.Details)
			}
		}
	})
	t.Run("server first", func(t *testing.T) {
		t.Parallel()
		for _, optional := range []bool{false, true} {
			r := newRig(t, nil)
			l := auto(r, true)
			l.ProxyProtocol = &snapshot.ProxyProtocol{V1: true, Optional: optional}
			r.apply(l)
			c := r.dial("auto")
			say(t, c, v1[:9])
			say(t, c, v1[9:])
			expect(t, c, "plain;")
			c.Close()
			if rec := r.out.next(t); rec.Conn.Remote != src {
				t.Errorf("remote %v", rec.Conn.Remote)
			}
		}
	})
	t.Run("optional", func(t *testing.T) {
		t.Parallel()
		r := newProxied(t, snapshot.ProxyProtocol{V1: true, V2: true, Optional: true})
		c := r.dial("in")
		say(t, c, request)
		expect(t, c, "http web 27;")
	})
}

// A hello of several records, by single bytes, still finds its server name.
func TestPassThroughByName(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.cluster("outbound_.443_._.db.example", false)
	r.cluster("other", false)
	l := listener("sni",
		&snapshot.Chain{
			Name: "by name", Match: snapshot.ChainMatch{ServerNames: []string{"*.db.example", "outbound_.443_._.db.example"}},
			Network: []snapshot.NetworkFilter{{Config: &snapshot.SNICluster{}}}, TCP: &snapshot.TCPProxy{Cluster: "nowhere"},
		},
		tcpChain("other", "other", snapshot.ChainMatch{}),
	)
	l.TLSInspector = &snapshot.Inspector{}
	r.apply(l)
	h := hello(t, "outbound_.443_._.db.example")
	c := r.dial("sni")
	for i := range h {
		say(t, c, string(h[i:i+1]))
	}
	expect(t, c, "outbound_.443_._.db.example;"+string(h))
	c.Close()
	if rec := r.out.next(t); rec.Conn.ServerName != "outbound_.443_._.db.example" || !bytes.Equal(rec.Conn.Facts.ServerName, []byte(rec.Conn.ServerName)) {
		t.Errorf("server name %q", rec.Conn.ServerName)
	}
	h = hello(t, "else.example")
	c = r.dial("sni")
	say(t, c, string(h))
	expect(t, c, "other;")
}
