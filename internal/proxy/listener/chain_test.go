package listener

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/meshctl/meshctl/internal/proxy/flow"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
	"github.com/meshctl/meshctl/internal/proxy/tlsconn/tlstest"
)

func virtual(name, addr string, chains ...*snapshot.Chain) *snapshot.Listener {
	return &snapshot.Listener{Name: name, Addrs: []netip.AddrPort{netip.MustParseAddrPort(addr)}, Chains: chains}
}

// A redirected connection goes to the listener of where it was meant to go.
func TestVirtualListeners(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	for _, n := range []string{"exact", "wildcard", "passthrough"} {
		r.cluster(n, true)
	}
	out := listener("virtualOutbound", tcpChain("pass", "passthrough", snapshot.ChainMatch{}))
	out.UseOriginalDst = true
	r.apply(out,
		virtual("exact", "10.0.0.1:80", tcpChain("exact", "exact", snapshot.ChainMatch{})),
		virtual("wildcard", "0.0.0.0:80", tcpChain("wildcard", "wildcard", snapshot.ChainMatch{})),
	)
	for dst, want := range map[string]string{
		"10.0.0.1:80": "exact", "10.0.0.2:80": "wildcard", "[::ffff:10.0.0.1]:80": "exact", "10.0.0.1:81": "passthrough",
	} {
		r.redirect(dst)
		c := r.dial("virtualOutbound")
		expect(t, c, want+";")
		c.Close()
		rec := r.out.next(t)
		name := want
		if want == "passthrough" {
			name = "virtualOutbound"
		}
		if to := netip.MustParseAddrPort(dst); rec.Conn.Listener.Name != name || rec.Conn.Local != netip.AddrPortFrom(to.Addr().Unmap(), to.Port()) {
			t.Errorf("%s: listener %q, destination %v", dst, rec.Conn.Listener.Name, rec.Conn.Local)
		}
		if s := r.status(name).Stats; s.Total == 0 {
			t.Errorf("%s: %+v", name, s)
		}
	}
}

// A connection made straight to the redirecting listener would be sent back to it.
func TestLoop(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.cluster("a", true)
	l := listener("virtualInbound", tcpChain("a", "a", snapshot.ChainMatch{}))
	l.OriginalDst = true
	r.apply(l)
	expectEnd(t, r.dial("virtualInbound"))
	if rec := r.out.next(t); rec.Details != "original_destination_is_listener" || rec.Conn.Chain != nil {
		t.Errorf("record %+v", rec)
	}
}

func TestNoChain(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	l := listener("in", tcpChain("other", "x", snapshot.ChainMatch{DestinationPort: 9}), &snapshot.Chain{Name: "empty", Match: snapshot.ChainMatch{DestinationPort: 10}})
	l.OriginalDst = true
	r.apply(l)
	for port, want := range map[string]flow.Flags{"8": flow.FlagNoRoute, "10": 0} {
		r.redirect("10.0.0.1:" + port)
		expectEnd(t, r.dial("in"))
		rec := r.out.next(t)
		if rec.Flags != want || rec.Conn.Listener != l || rec.Details == "" || (rec.Conn.Chain == nil) != (want != 0) {
			t.Errorf("port %s: flags %v, details %q", port, rec.Flags, rec.Details)
		}
	}
	if s := r.status("in").Stats; s.NoChain != 1 || s.Total != 2 {
		t.Errorf("stats %+v", s)
	}
}

func TestDirectResponse(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.apply(listener("in", &snapshot.Chain{Name: "d", Direct: &snapshot.DirectResponse{Body: []byte("sorry")}}))
	c := r.dial("in")
	expect(t, c, "sorry")
	expectEnd(t, c)
}

// secured is a listener with TLS on all connections.
func secured(r *rig, change func(*snapshot.ServerTLS)) *tlstest.CA {
	r.t.Helper()
	ca := tlstest.New(r.t)
	r.binder.SetWorkload(ca.Issue(r.t, tlstest.Leaf{URIs: []string{"spiffe://td/ns/a/sa/server"}, DNS: []string{"app.example"}}), []*x509.Certificate{ca.Cert})
	s := mutual()
	if change != nil {
		change(s)
	}
	web := httpChain("web", snapshot.ChainMatch{})
	web.TLS = s
	r.apply(listener("in", web))
	return ca
}

func TestTLS(t *testing.T) {
	t.Parallel()
	t.Run("client certificate", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, nil)
		ca := secured(r, nil)
		c := tls.Client(r.dial("in"), clientTLS(t, ca, "h2"))
		say(t, c, "hi")
		expect(t, c, "http web 2;")
		i := <-r.served
		if i.TLS == nil || i.TLS.ALPN != "h2" || i.ServerName != "app.example" || string(i.Facts.ServerName) != "app.example" ||
			!i.Mutual() || i.Principal() != "spiffe://td/ns/a/sa/client" {
			t.Errorf("%+v", i)
		}
	})
	t.Run("no client certificate", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, nil)
		ca := secured(r, nil)
		cfg := clientTLS(t, ca)
		cfg.Certificates = nil
		c := tls.Client(r.dial("in"), cfg)
		_ = c.Handshake()
		if _, err := io.ReadAll(c); err == nil {
			t.Error("accepted")
		}
		rec := r.out.next(t)
		if !strings.HasPrefix(rec.ConnEnd, "TLS_error:") || rec.Conn.Mutual() || r.status("in").Stats.TLSFailed != 1 {
			t.Errorf("end %q", rec.ConnEnd)
		}
	})
	t.Run("foreign client certificate", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, nil)
		secured(r, nil)
		c := tls.Client(r.dial("in"), clientTLS(t, tlstest.New(t)))
		_ = c.Handshake()
		if _, err := io.ReadAll(c); err == nil {
			t.Error("accepted")
		}
		if rec := r.out.next(t); !strings.Contains(rec.ConnEnd, "unknown_authority") {
			t.Errorf("end %q", rec.ConnEnd)
		}
	})
	t.Run("simple", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, nil)
		ca := secured(r, func(s *snapshot.ServerTLS) { s.RequireClientCert, s.Validation = false, "" })
		c := tls.Client(r.dial("in"), &tls.Config{RootCAs: ca.Pool(), ServerName: "app.example"})
		say(t, c, "hi")
		expect(t, c, "http web 2;")
		if i := <-r.served; i.Principal() != "" || i.Mutual() || i.Facts.Peer == nil || i.Facts.Peer.Verified {
			t.Errorf("peer %+v", i.Facts.Peer)
		}
	})
	t.Run("any certificate is not verified", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, nil)
		secured(r, func(s *snapshot.ServerTLS) { s.AllowUntrusted = true })
		c := tls.Client(r.dial("in"), clientTLS(t, tlstest.New(t)))
		say(t, c, "hi")
		expect(t, c, "http web 2;")
		if i := <-r.served; i.Principal() != "" || i.Facts.Peer == nil || !i.Facts.Peer.Presented || i.Facts.Peer.Verified {
			t.Errorf("peer %+v", i.Facts.Peer)
		}
	})
	t.Run("not TLS", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, nil)
		secured(r, nil)
		c := r.dial("in")
		say(t, c, request)
		if all, _ := io.ReadAll(c); strings.Contains(string(all), "http web") {
			t.Errorf("served %q", all)
		}
		r.out.next(t)
	})
	t.Run("handshake that does not come", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, func(o *Options) { o.HandshakeTimeout = 10 * time.Millisecond })
		secured(r, nil)
		expectEnd(t, r.dial("in"))
		if rec := r.out.next(t); !strings.Contains(rec.ConnEnd, "timeout") {
			t.Errorf("end %q", rec.ConnEnd)
		}
	})
	t.Run("server name required", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, nil)
		ca := secured(r, func(s *snapshot.ServerTLS) { s.RequireSNI = true })
		cfg := clientTLS(t, ca)
		cfg.ServerName = ""
		c := tls.Client(r.dial("in"), cfg)
		_ = c.Handshake()
		_, _ = io.ReadAll(c)
		if rec := r.out.next(t); rec.ConnEnd != "TLS_error:server_name_missing" {
			t.Errorf("end %q", rec.ConnEnd)
		}
	})
	t.Run("settings that cannot be kept", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, nil)
		secured(r, func(s *snapshot.ServerTLS) { s.MaxDepth = 3 })
		expectEnd(t, r.dial("in"))
		if rec := r.out.next(t); !strings.HasPrefix(rec.ConnEnd, "TLS_error:") {
			t.Errorf("end %q", rec.ConnEnd)
		}
	})
}

func policies(action snapshot.PolicyAction, principal string) *snapshot.Policies {
	return &snapshot.Policies{Action: action, Policies: []snapshot.Policy{{
		Name: "ns[a]-policy[p]-rule[0]", Permissions: []snapshot.Rule{{Op: snapshot.RuleAny}},
		Principals: []snapshot.Rule{{Op: snapshot.RuleAuthenticated, Str: &snapshot.StringMatch{Kind: snapshot.StringExact, Value: principal}}},
	}}}
}

func TestRBAC(t *testing.T) {
	t.Parallel()
	const client, stranger = "spiffe://td/ns/a/sa/client", "spiffe://td/ns/a/sa/stranger"
	for name, tc := range map[string]struct {
		rbac *snapshot.RBAC
		end  string // "": let through
	}{
		"allowed":         {&snapshot.RBAC{Rules: policies(snapshot.ActionAllow, client)}, ""},
		"not allowed":     {&snapshot.RBAC{Rules: policies(snapshot.ActionAllow, stranger)}, "rbac_access_denied_matched_policy[none]"},
		"denied":          {&snapshot.RBAC{Rules: policies(snapshot.ActionDeny, client)}, "rbac_access_denied_matched_policy[ns[a]-policy[p]-rule[0]]"},
		"not denied":      {&snapshot.RBAC{Rules: policies(snapshot.ActionDeny, stranger)}, ""},
		"only tried":      {&snapshot.RBAC{Shadow: policies(snapshot.ActionDeny, client)}, ""},
		"denied, delayed": {&snapshot.RBAC{Rules: policies(snapshot.ActionDeny, client), DelayDeny: 20}, "rbac_access_denied_matched_policy[ns[a]-policy[p]-rule[0]]"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, nil)
			ca := tlstest.New(t)
			r.binder.SetWorkload(ca.Issue(t, tlstest.Leaf{}), []*x509.Certificate{ca.Cert})
			r.cluster("app", true)
			chain := tcpChain("app", "app", snapshot.ChainMatch{})
			chain.TLS, chain.Network = mutual(), []snapshot.NetworkFilter{{Config: &snapshot.IstioStats{}}, {Config: tc.rbac}}
			r.apply(listener("in", chain))
			c := tls.Client(r.dial("in"), clientTLS(t, ca, "istio"))
			if err := c.Handshake(); err != nil {
				t.Fatal(err)
			}
			if tc.end == "" {
				expect(t, c, "app;")
				return
			}
			if b, _ := io.ReadAll(c); len(b) > 0 {
				t.Errorf("served %q", b)
			}
			rec := r.out.next(t)
			if rec.ConnEnd != tc.end || rec.Upstream.IsValid() || rec.Conn.Principal() != client || rec.End < time.Duration(tc.rbac.DelayDeny)*time.Millisecond {
				t.Errorf("end %q, upstream %v", rec.ConnEnd, rec.Upstream)
			}
			if s := r.status("in").Stats; s.Refused != 1 {
				t.Errorf("stats %+v", s)
			}
		})
	}
}

// What is not known, or cannot be done, closes the connection.
func TestFiltersFailClosed(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]any{
		"unknown type":    &struct{}{},
		"nil":             nil,
		"server name":     &snapshot.SetFilterState{OnConnection: []snapshot.FilterStateValue{{Key: snapshot.KeyUpstreamServerName, Value: &snapshot.Format{}}}},
		"without a value": &snapshot.SetFilterState{OnConnection: []snapshot.FilterStateValue{{Key: "k"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, nil)
			r.cluster("app", true)
			chain := tcpChain("app", "app", snapshot.ChainMatch{})
			chain.Network = []snapshot.NetworkFilter{{Name: "f", Config: f}}
			r.apply(listener("in", chain))
			expectEnd(t, r.dial("in"))
			if rec := r.out.next(t); rec.ConnEnd != "network_filter_not_supported[f]" {
				t.Errorf("end %q", rec.ConnEnd)
			}
		})
	}
}

// Filter state that a filter sets is seen by the next ones and by the TCP proxy.
func TestFilterState(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.cluster("chosen", true)
	set := &snapshot.SetFilterState{OnConnection: []snapshot.FilterStateValue{
		{Key: snapshot.KeyTCPCluster, Value: &snapshot.Format{Source: "chosen"}, ReadOnly: true},
		{Key: snapshot.KeyTCPCluster, Value: &snapshot.Format{Source: "other"}},
		{Key: "skipped", Value: &snapshot.Format{}, SkipEmpty: true},
	}}
	rule := snapshot.Rule{Op: snapshot.RuleFilterState, Key: snapshot.KeyTCPCluster, Str: &snapshot.StringMatch{Kind: snapshot.StringExact, Value: "chosen"}}
	allow := &snapshot.RBAC{Rules: &snapshot.Policies{Policies: []snapshot.Policy{{
		Permissions: []snapshot.Rule{{Op: snapshot.RuleAny}}, Principals: []snapshot.Rule{rule},
	}}}}
	chain := tcpChain("app", "nowhere", snapshot.ChainMatch{})
	chain.Network = []snapshot.NetworkFilter{{Config: set}, {Config: allow}}
	r.apply(listener("in", chain))
	expect(t, r.dial("in"), "chosen;")
}

func TestConnectionLimit(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.cluster("app", true)
	chain := tcpChain("app", "app", snapshot.ChainMatch{})
	chain.Network = []snapshot.NetworkFilter{{Config: &snapshot.ConnectionLimit{Max: 1}}}
	r.apply(listener("in", chain))
	first := r.dial("in")
	expect(t, first, "app;")
	expectEnd(t, r.dial("in"))
	if rec := r.out.next(t); rec.ConnEnd != "connection_limit" {
		t.Errorf("end %q", rec.ConnEnd)
	}
	first.Close()
	r.out.next(t)
	expect(t, r.dial("in"), "app;")
}

func TestRateLimit(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.cluster("app", true)
	chain := tcpChain("app", "app", snapshot.ChainMatch{})
	chain.Network = []snapshot.NetworkFilter{{Config: &snapshot.LocalRateLimit{
		Enabled: million, Enforced: million, Bucket: &snapshot.TokenBucket{Max: 2, Fill: 1, Interval: time.Hour},
	}}}
	r.apply(listener("in", chain))
	for range 2 {
		expect(t, r.dial("in"), "app;")
	}
	expectEnd(t, r.dial("in"))
	if rec := r.out.next(t); rec.Flags != flow.FlagRateLimited {
		t.Errorf("flags %v", rec.Flags)
	}
}

func TestWorkerLimit(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(o *Options) { o.MaxConns = 1 })
	r.cluster("app", true)
	r.apply(listener("in", tcpChain("app", "app", snapshot.ChainMatch{})))
	for range 2 { // one for each worker
		expect(t, r.dial("in"), "app;")
	}
	expectEnd(t, r.dial("in"))
	if s := r.status("in").Stats; s.Overflow != 1 || s.Active != 2 {
		t.Errorf("stats %+v", s)
	}
	if n := r.m.Connections(); n != 2 {
		t.Errorf("%d connections", n)
	}
}
