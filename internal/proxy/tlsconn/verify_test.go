package tlsconn

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/meshctl/meshctl/internal/proxy/tlsconn/tlstest"
)

type x509Certificate = x509.Certificate

// reasonOf is the reason of an error, "" for none.
func reasonOf(err error) Reason {
	var e *Error
	if errors.As(err, &e) {
		return e.Reason
	}
	if err != nil {
		return Reason("no reason: " + err.Error())
	}
	return ""
}

// Each way in which a handshake can fail has its reason, on both sides.
func TestReasons(t *testing.T) {
	t.Parallel()
	p := newParties(t)
	other := tlstest.New(t)
	leaf := func(l tlstest.Leaf) *CertStore { return certs(p.ca.Issue(t, l)) }
	for _, c := range []struct {
		name           string
		set            func(s *ServerOptions, c *ClientOptions)
		server, client Reason
	}{
		{"good", func(*ServerOptions, *ClientOptions) {}, "", ""},
		{"server of another authority", func(s *ServerOptions, _ *ClientOptions) {
			s.Certificates = certs(other.Issue(t, tlstest.Leaf{URIs: []string{serverID}}))
		}, ReasonAlert, ReasonPeerUnknown},
		{"client of another authority", func(_ *ServerOptions, c *ClientOptions) {
			c.Certificates = certs(other.Issue(t, tlstest.Leaf{URIs: []string{clientID}}))
		}, ReasonPeerUnknown, ""},
		{"client expired", func(_ *ServerOptions, c *ClientOptions) {
			c.Certificates = leaf(tlstest.Leaf{URIs: []string{clientID}, Lifetime: -time.Minute})
		}, ReasonPeerExpired, ""},
		{"client without certificate", func(_ *ServerOptions, c *ClientOptions) { c.Certificates = nil }, ReasonPeerMissing, ""},
		{"client without SPIFFE ID", func(_ *ServerOptions, c *ClientOptions) {
			c.Certificates = leaf(tlstest.Leaf{DNS: []string{"a.b"}})
		}, ReasonPeerName, ""},
		{"client with two URIs", func(_ *ServerOptions, c *ClientOptions) {
			c.Certificates = leaf(tlstest.Leaf{URIs: []string{clientID, "spiffe://td/x"}})
		}, ReasonPeerName, ""},
		{"client is a CA", func(_ *ServerOptions, c *ClientOptions) {
			c.Certificates = leaf(tlstest.Leaf{URIs: []string{clientID}, IsCA: true})
		}, ReasonPeerName, ""},
		{"client of another trust domain", func(s *ServerOptions, _ *ClientOptions) {
			ts := &TrustStore{}
			ts.Set(NewDomainTrust(map[string][]*x509.Certificate{"elsewhere": {p.ca.Cert}}))
			s.Trust = ts
		}, ReasonPeerUnknown, ""},
		{"client of its trust domain", func(s *ServerOptions, _ *ClientOptions) {
			ts := &TrustStore{}
			ts.Set(NewDomainTrust(map[string][]*x509.Certificate{"td": {p.ca.Cert}}))
			s.Trust = ts
		}, "", ""},
		{"client name not expected", func(s *ServerOptions, _ *ClientOptions) {
			s.Peer.SANs = []SANMatcher{{Kind: SANURI, Prefix: "spiffe://td2/"}}
		}, ReasonPeerName, ""},
		{"server name not expected", func(_ *ServerOptions, c *ClientOptions) {
			c.Peer.SANs = []SANMatcher{{Kind: SANURI, Exact: serverID + "2"}}
		}, ReasonAlert, ReasonPeerName},
		{"server host name", func(_ *ServerOptions, c *ClientOptions) { c.Peer = PeerRules{HostName: "server.test"} }, "", ""},
		{"server host name not expected", func(_ *ServerOptions, c *ClientOptions) { c.Peer = PeerRules{HostName: "www.test"} }, ReasonAlert, ReasonPeerName},
		{"server pinned", func(_ *ServerOptions, c *ClientOptions) {
			spki, all := sha256.Sum256(p.server.Leaf.RawSubjectPublicKeyInfo), sha256.Sum256(p.server.Leaf.Raw)
			c.Peer.SPKI, c.Peer.Hashes = [][]byte{spki[:]}, [][]byte{all[:]}
		}, "", ""},
		{"server pinned otherwise", func(_ *ServerOptions, c *ClientOptions) { c.Peer.SPKI = [][]byte{make([]byte, 32)} }, ReasonAlert, ReasonPeerName},
		{"anyone but pinned", func(_ *ServerOptions, c *ClientOptions) {
			c.Peer = PeerRules{Insecure: true, Hashes: [][]byte{make([]byte, 32)}}
		}, ReasonAlert, ReasonPeerName},
		{"anyone", func(s *ServerOptions, c *ClientOptions) {
			c.Trust, c.Peer = nil, PeerRules{Insecure: true}
			s.Certificates = certs(other.Issue(t, tlstest.Leaf{Lifetime: -time.Minute}))
		}, "", ""},
		{"server has no certificate yet", func(s *ServerOptions, _ *ClientOptions) { s.Certificates = certs() }, ReasonNoCertificate, ReasonAlert},
		{"client has no certificate yet", func(_ *ServerOptions, c *ClientOptions) { c.Certificates = certs() }, ReasonClosed, ReasonNoCertificate},
		{"server has no roots yet", func(s *ServerOptions, _ *ClientOptions) { s.Trust = &TrustStore{} }, ReasonNoTrust, ""},
		{"client has no roots yet", func(_ *ServerOptions, c *ClientOptions) { c.Trust = &TrustStore{} }, ReasonAlert, ReasonNoTrust},
		{"versions", func(s *ServerOptions, c *ClientOptions) {
			s.MinVersion, c.MaxVersion = tls.VersionTLS13, tls.VersionTLS12
		}, ReasonVersion, ReasonAlert},
		{"ciphers", func(s *ServerOptions, c *ClientOptions) {
			s.MaxVersion = tls.VersionTLS12
			s.CipherSuites, c.CipherSuites = []string{"ECDHE-ECDSA-AES128-GCM-SHA256"}, []string{"ECDHE-ECDSA-AES256-GCM-SHA384"}
		}, ReasonCipher, ReasonAlert},
		{"no common ALPN goes on without", func(_ *ServerOptions, c *ClientOptions) { c.ALPN = []string{"other"} }, "", ""},
		{"optional client certificate, none", func(s *ServerOptions, c *ClientOptions) {
			s.ClientCert, c.Certificates = ClientCertOptional, nil
		}, "", ""},
		{"optional client certificate, bad", func(s *ServerOptions, c *ClientOptions) {
			s.ClientCert, c.Certificates = ClientCertOptional, certs(other.Issue(t, tlstest.Leaf{URIs: []string{clientID}}))
		}, ReasonPeerUnknown, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			so, co := p.serverOptions(), p.clientOptions()
			c.set(&so, &co)
			a, b := &side{s: NewServer(mustServer(t, so))}, &side{s: NewClient(mustClient(t, co), "")}
			aerr, berr := handshake(a, b, nil)
			if reasonOf(aerr) != c.server || reasonOf(berr) != c.client {
				t.Errorf("server %v, client %v; want %q, %q", aerr, berr, c.server, c.client)
			}
			// With TLS 1.3 the client is done before the server has looked at its
			// certificate, and hears of the refusal by an alert.
			if c.server != "" && c.client == "" && reasonOf(b.readTo) != ReasonAlert {
				t.Errorf("the client's stream ended with %v", b.readTo)
			}
		})
	}
}

// What cannot work is refused when it is configured.
func TestConfigErrors(t *testing.T) {
	t.Parallel()
	p := newParties(t)
	for want, set := range map[string]func(s *ServerOptions){
		"no certificate source":         func(s *ServerOptions) { s.Certificates = nil },
		"no roots":                      func(s *ServerOptions) { s.Trust = nil },
		`cipher suite "RC4" is not`:     func(s *ServerOptions) { s.CipherSuites = []string{"RC4"} },
		`curve "P-1" is not`:            func(s *ServerOptions) { s.Curves = []string{"P-1"} },
		"TLSv1.3 is above":              func(s *ServerOptions) { s.MinVersion, s.MaxVersion = tls.VersionTLS13, tls.VersionTLS12 },
		"SAN matcher 0: has 0 patterns": func(s *ServerOptions) { s.Peer.SANs = []SANMatcher{{}} },
	} {
		o := p.serverOptions()
		set(&o)
		if _, err := NewServerConfig(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	o := p.clientOptions()
	o.Trust = nil
	if _, err := NewClientConfig(o); err == nil {
		t.Error("a client without roots")
	}
}

func TestSANMatcher(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		m    SANMatcher
		name string
		want bool
	}{
		{SANMatcher{Exact: "spiffe://a/b"}, "spiffe://a/b", true},
		{SANMatcher{Exact: "spiffe://a/b"}, "spiffe://a/B", false},
		{SANMatcher{Exact: "A.b", IgnoreCase: true}, "a.B", true},
		{SANMatcher{Prefix: "spiffe://a/"}, "spiffe://a/b", true},
		{SANMatcher{Prefix: "spiffe://a/"}, "spiffe://ab", false},
		{SANMatcher{Suffix: ".com"}, "a.com", true},
		{SANMatcher{Contains: "/sa/"}, "spiffe://a/ns/x/sa/y", true},
		{SANMatcher{Regex: regexp.MustCompile("^a+$")}, "aaa", true},
		{SANMatcher{Regex: regexp.MustCompile("^a+$")}, "ab", false},
		{SANMatcher{Kind: SANDNS, Exact: "x.example.com"}, "*.example.com", true},
		{SANMatcher{Kind: SANDNS, Exact: "x.y.example.com"}, "*.example.com", false},
		{SANMatcher{Kind: SANURI, Exact: "x.example.com"}, "*.example.com", false},
		{SANMatcher{}, "", false},
	} {
		if got := c.m.match(c.name); got != c.want {
			t.Errorf("%+v on %q: %v", c.m, c.name, got)
		}
	}
}

// A verified leaf is not verified again, until its chain expires or the trust changes.
func TestTrustMemory(t *testing.T) {
	t.Parallel()
	ca := tlstest.New(t)
	leaf := ca.Issue(t, tlstest.Leaf{URIs: []string{clientID}, Lifetime: time.Hour}).Leaf
	sum := sha256.Sum256(leaf.Raw)
	trust := NewTrust([]*x509.Certificate{ca.Cert})
	verify := func(tr *Trust, at time.Time) Reason {
		return reasonOf(tr.verify([]*x509.Certificate{leaf}, sum, "td", x509.ExtKeyUsageClientAuth, at))
	}
	if r := verify(trust, time.Now()); r != "" || len(trust.verified) != 1 {
		t.Fatalf("%q, %d remembered", r, len(trust.verified))
	}
	trust.roots = x509.NewCertPool() // what is remembered does not ask for it
	if r := verify(trust, time.Now()); r != "" {
		t.Errorf("remembered: %q", r)
	}
	if r := verify(trust, time.Now().Add(2*time.Hour)); r == "" {
		t.Error("good after its expiry")
	}
	if r := verify(trust, time.Now().Add(-3*time.Hour)); r == "" {
		t.Error("good before its time")
	}
	if r := verify(NewTrust([]*x509.Certificate{tlstest.New(t).Cert}), time.Now()); r != ReasonPeerUnknown {
		t.Errorf("after the trust changed: %q", r)
	}
}
