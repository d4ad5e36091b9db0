// Package tlsbind joins the compiled TLS settings of a snapshot with the
// certificates and roots of the moment: settings are compiled once and shared by
// all connections, secrets are looked up at each handshake, so that a rotation
// touches new handshakes only. A secret that is not there fails the handshake:
// never is anything sent in plain text instead.
package tlsbind

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/meshctl/meshctl/internal/proxy/snapshot"
	"github.com/meshctl/meshctl/internal/proxy/tlsconn"
)

// Names of the secrets that the agent provides itself (SDS names of Istio).
const (
	WorkloadCert = "default"
	WorkloadRoot = "ROOTCA"
)

// Binder compiles and keeps TLS configurations. Safe for concurrent use.
type Binder struct {
	snap atomic.Pointer[snapshot.Snapshot]
	own  tlsconn.CertStore
	root tlsconn.TrustStore

	mu      sync.Mutex
	servers map[*snapshot.ServerTLS]server
	clients map[clientKey]client
	trusts  map[*snapshot.Validation]*tlsconn.Trust
	system  *tlsconn.Trust
}

type clientKey struct {
	t          *snapshot.ClientTLS
	name, alpn string
}

type server struct {
	cfg *tlsconn.ServerConfig
	err error
}

type client struct {
	cfg *tlsconn.ClientConfig
	err error
}

// New makes a Binder without any secrets.
func New() *Binder {
	return &Binder{servers: map[*snapshot.ServerTLS]server{}, clients: map[clientKey]client{}, trusts: map[*snapshot.Validation]*tlsconn.Trust{}}
}

// SetWorkload puts the workload's own certificate and the mesh's roots into force.
func (b *Binder) SetWorkload(cert *tls.Certificate, roots []*x509.Certificate) {
	b.own.Set(cert)
	b.root.Set(tlsconn.NewTrust(roots))
}

// Update takes up a new snapshot: its secrets count from now on, and what was
// compiled for settings that are gone is forgotten now and then.
func (b *Binder) Update(s *snapshot.Snapshot) {
	b.snap.Store(s)
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.servers)+len(b.clients) > maxKept {
		clear(b.servers)
		clear(b.clients)
	}
	if len(b.trusts) > maxKept {
		clear(b.trusts)
	}
}

// maxKept bounds the configurations kept; they are made again when needed.
const maxKept = 4096

// Server compiles the accepting side.
func (b *Binder) Server(t *snapshot.ServerTLS) (*tlsconn.ServerConfig, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s, ok := b.servers[t]
	if !ok {
		s.cfg, s.err = b.makeServer(t)
		b.servers[t] = s
	}
	return s.cfg, s.err
}

// Client compiles the connecting side. name is the host the certificate must
// name, "" if any name will do that the settings allow; alpn replaces the
// protocols offered unless nil.
func (b *Binder) Client(t *snapshot.ClientTLS, name string, alpn []string) (*tlsconn.ClientConfig, error) {
	key := clientKey{t, name, strings.Join(alpn, ",")}
	b.mu.Lock()
	defer b.mu.Unlock()
	c, ok := b.clients[key]
	if !ok {
		c.cfg, c.err = b.makeClient(t, name, alpn)
		b.clients[key] = c
	}
	return c.cfg, c.err
}

func (b *Binder) makeServer(t *snapshot.ServerTLS) (*tlsconn.ServerConfig, error) {
	common, err := b.common(t.TLSParams)
	if err != nil {
		return nil, err
	}
	o := tlsconn.ServerOptions{Common: common}
	switch {
	case t.RequireClientCert:
		o.ClientCert = tlsconn.ClientCertRequired
	case o.Trust != nil:
		o.ClientCert = tlsconn.ClientCertOptional
	}
	return tlsconn.NewServerConfig(o)
}

func (b *Binder) makeClient(t *snapshot.ClientTLS, name string, alpn []string) (*tlsconn.ClientConfig, error) {
	common, err := b.common(t.TLSParams)
	if err != nil {
		return nil, err
	}
	common.Peer.HostName = name
	if alpn != nil {
		common.ALPN = alpn
	}
	if t.Insecure {
		common.Peer.Insecure = true
	}
	return tlsconn.NewClientConfig(tlsconn.ClientOptions{Common: common, ServerName: t.SNI})
}

func (b *Binder) common(p *snapshot.TLSParams) (tlsconn.Common, error) {
	c := tlsconn.Common{ALPN: p.ALPN, MinVersion: p.MinVersion, MaxVersion: p.MaxVersion}
	if len(p.CRL) > 0 || p.AllowExpired || p.MaxDepth > 0 {
		return c, errors.New("revocation lists, expired certificates and chain depth are not supported")
	}
	if len(p.Certificates) > 0 {
		c.Certificates = certs{b, p.Certificates}
	}
	switch {
	case p.Validation == WorkloadRoot:
		c.Trust = &b.root
	case p.Validation != "":
		c.Trust = trust{b, p.Validation}
	case p.SystemRoots:
		t, err := b.systemTrust()
		if err != nil {
			return c, err
		}
		c.Trust = fixed{t}
	}
	c.Peer.Insecure = p.AllowUntrusted
	for i := range p.SANs {
		m, err := sanMatcher(&p.SANs[i])
		if err != nil {
			return c, err
		}
		c.Peer.SANs = append(c.Peer.SANs, m)
	}
	for i := range p.SPKI {
		c.Peer.SPKI = append(c.Peer.SPKI, p.SPKI[i][:])
	}
	for i := range p.Hashes {
		c.Peer.Hashes = append(c.Peer.Hashes, p.Hashes[i][:])
	}
	for _, id := range p.Ciphers {
		c.CipherSuites = append(c.CipherSuites, tlsconn.CipherName(id))
	}
	for _, id := range p.Curves {
		c.Curves = append(c.Curves, curveName(id))
	}
	return c, nil
}

func curveName(id tls.CurveID) string {
	switch id {
	case tls.X25519:
		return "X25519"
	case tls.CurveP256:
		return "P-256"
	case tls.CurveP384:
		return "P-384"
	case tls.CurveP521:
		return "P-521"
	case tls.X25519MLKEM768:
		return "X25519MLKEM768"
	default:
		return fmt.Sprintf("curve %d", id)
	}
}

func (b *Binder) systemTrust() (*tlsconn.Trust, error) {
	if b.system == nil {
		t, err := tlsconn.SystemTrust()
		if err != nil {
			return nil, err
		}
		b.system = t
	}
	return b.system, nil
}

func sanMatcher(m *snapshot.SANMatch) (tlsconn.SANMatcher, error) {
	out := tlsconn.SANMatcher{Kind: tlsconn.SANKind(m.Type), IgnoreCase: m.IgnoreCase}
	switch m.Kind {
	case snapshot.StringExact:
		out.Exact = m.Value
	case snapshot.StringPrefix:
		out.Prefix = m.Value
	case snapshot.StringSuffix:
		out.Suffix = m.Value
	case snapshot.StringContains:
		out.Contains = m.Value
	case snapshot.StringRegex:
		out.Regex = m.Regex
	default:
		return out, fmt.Errorf("kind %d of name matcher is not supported", m.Kind)
	}
	return out, nil
}

// certs finds certificates by secret name at each handshake.
type certs struct {
	b     *Binder
	names []string
}

// Certificates implements tlsconn.CertSource.
func (c certs) Certificates() []*tls.Certificate {
	if len(c.names) == 1 && c.names[0] == WorkloadCert {
		return c.b.own.Certificates()
	}
	var out []*tls.Certificate
	s := c.b.snap.Load()
	for _, n := range c.names {
		if n == WorkloadCert {
			out = append(out, c.b.own.Certificates()...)
			continue
		}
		if s == nil {
			continue
		}
		if sec := s.Secrets[n]; sec != nil && sec.Certificate != nil {
			out = append(out, sec.Certificate)
		}
	}
	return out
}

// trust finds a trust bundle by secret name at each handshake.
type trust struct {
	b    *Binder
	name string
}

// Trust implements tlsconn.TrustSource.
func (t trust) Trust() *tlsconn.Trust {
	s := t.b.snap.Load()
	if s == nil {
		return nil
	}
	sec := s.Secrets[t.name]
	if sec == nil || sec.Validation == nil {
		return nil
	}
	v := sec.Validation
	if len(v.SANs)+len(v.SPKI)+len(v.Hashes)+len(v.CRL)+len(v.TrustDomains) > 0 {
		return nil // conditions that come with a bundle cannot be kept here: refuse
	}
	t.b.mu.Lock()
	defer t.b.mu.Unlock()
	tr := t.b.trusts[v]
	if tr == nil {
		tr = tlsconn.NewTrust(v.CAs)
		t.b.trusts[v] = tr
	}
	return tr
}

type fixed struct{ t *tlsconn.Trust }

// Trust implements tlsconn.TrustSource.
func (f fixed) Trust() *tlsconn.Trust { return f.t }
