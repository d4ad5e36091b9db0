package tlsconn

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Protocols that Istio's sidecars agree on by ALPN. The istio- ones tell that the
// connection comes from a sidecar, which then speaks the inner protocol.
const (
	ALPNPeerExchange = "istio-peer-exchange" // TCP with metadata exchange
	ALPNIstio        = "istio"
	ALPNIstioHTTP10  = "istio-http/1.0"
	ALPNIstioHTTP11  = "istio-http/1.1"
	ALPNIstioH2      = "istio-h2"
	ALPNH2           = "h2"
	ALPNHTTP11       = "http/1.1"
	ALPNHTTP10       = "http/1.0"
)

// Common is what both sides of TLS are configured by.
type Common struct {
	Certificates CertSource  // required for servers
	Trust        TrustSource // required unless Peer.Insecure, or no certificate is asked of the peer
	Peer         PeerRules
	ALPN         []string // offered or accepted, in order of preference

	MinVersion, MaxVersion uint16   // tls.VersionTLS12 ...; 0 means 1.2 and 1.3
	CipherSuites           []string // for TLS 1.2, by OpenSSL's names as Envoy takes them; empty means Go's choice
	Curves                 []string // X25519, P-256, P-384, P-521, X25519MLKEM768; empty means the first two
	Now                    func() time.Time
}

// ClientCert says whether a server asks for a certificate.
type ClientCert uint8

// Modes.
const (
	ClientCertNone     ClientCert = iota // not asked for
	ClientCertOptional                   // asked for; what is shown must be good
	ClientCertRequired
)

// ServerOptions describe the accepting side.
type ServerOptions struct {
	Common
	ClientCert ClientCert
}

// ClientOptions describe the connecting side.
type ClientOptions struct {
	Common
	ServerName string // SNI; empty sends none. It is not verified: Peer.HostName is
}

// ServerConfig is compiled from ServerOptions; immutable, for many connections.
type ServerConfig struct {
	tls   *tls.Config
	peers *verifier
}

// ClientConfig is compiled from ClientOptions; immutable, for many connections.
type ClientConfig struct {
	tls   *tls.Config
	peers *verifier

	mu    sync.Mutex
	names map[string]*tls.Config
}

// NewServerConfig compiles o. Errors name the field.
func NewServerConfig(o ServerOptions) (*ServerConfig, error) {
	if o.Certificates == nil {
		return nil, errors.New("server TLS: no certificate source given")
	}
	if o.ClientCert != ClientCertNone && o.Trust == nil && !o.Peer.Insecure {
		return nil, errors.New("server TLS: client certificates are asked for, but there are no roots to verify them by")
	}
	cfg, err := o.compile()
	if err != nil {
		return nil, fmt.Errorf("server TLS: %w", err)
	}
	v := newVerifier(&o.Common, x509.ExtKeyUsageClientAuth)
	// crypto/tls only demands a certificate; verifying it is ours, by the trust of
	// the moment.
	cfg.ClientAuth = [...]tls.ClientAuthType{tls.NoClientCert, tls.RequestClientCert, tls.RequireAnyClientCert}[o.ClientCert]
	cfg.VerifyConnection = v.verify
	certs := o.Certificates
	cfg.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		return chooseCertificate(certs.Certificates(), hello.SupportsCertificate)
	}
	// crypto/tls ends the handshake when no protocol is common. Envoy goes on
	// without one, and so do we: the filter chain decides.
	bare := cfg
	if len(cfg.NextProtos) > 0 {
		bare = cfg.Clone()
		bare.NextProtos = nil
	}
	cfg.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		c := cfg
		if !slices.ContainsFunc(hello.SupportedProtos, func(p string) bool { return slices.Contains(cfg.NextProtos, p) }) {
			c = bare
		}
		if p, ok := hello.Conn.(*pipe); ok {
			c = p.keys.wanted(c)
		}
		return c, nil
	}
	return &ServerConfig{tls: cfg, peers: v}, nil
}

// NewClientConfig compiles o. Errors name the field.
func NewClientConfig(o ClientOptions) (*ClientConfig, error) {
	if o.Trust == nil && !o.Peer.Insecure {
		return nil, errors.New("client TLS: no roots given to verify the server by")
	}
	cfg, err := o.compile()
	if err != nil {
		return nil, fmt.Errorf("client TLS: %w", err)
	}
	v := newVerifier(&o.Common, x509.ExtKeyUsageServerAuth)
	cfg.ServerName = o.ServerName
	// Ours replaces crypto/tls's verification, which knows host names only.
	cfg.InsecureSkipVerify = true //nolint:gosec // see VerifyConnection
	cfg.VerifyConnection = v.verify
	if certs := o.Certificates; certs != nil {
		cfg.GetClientCertificate = func(req *tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return chooseCertificate(certs.Certificates(), req.SupportsCertificate)
		}
	}
	return &ClientConfig{tls: cfg, peers: v, names: map[string]*tls.Config{}}, nil
}

func newVerifier(o *Common, usage x509.ExtKeyUsage) *verifier {
	v := &verifier{rules: o.Peer, trust: o.Trust, usage: usage, now: o.Now, known: map[[32]byte]*peer{}}
	if v.now == nil {
		v.now = time.Now
	}
	return v
}

func (o *Common) compile() (*tls.Config, error) {
	cfg := &tls.Config{
		MinVersion:                  o.MinVersion,
		MaxVersion:                  o.MaxVersion,
		NextProtos:                  slices.Clone(o.ALPN),
		Time:                        o.Now,
		SessionTicketsDisabled:      true,
		DynamicRecordSizingDisabled: true, // small first records cost more than they help within a mesh
	}
	if cfg.MinVersion == 0 {
		cfg.MinVersion = tls.VersionTLS12
	}
	if cfg.MaxVersion == 0 {
		cfg.MaxVersion = tls.VersionTLS13
	}
	if cfg.MinVersion > cfg.MaxVersion {
		return nil, fmt.Errorf("lowest version %s is above the highest, %s", versionName(cfg.MinVersion), versionName(cfg.MaxVersion))
	}
	var err error
	if cfg.CipherSuites, err = cipherSuites(o.CipherSuites); err != nil {
		return nil, err
	}
	if cfg.CurvePreferences, err = curves(o.Curves); err != nil {
		return nil, err
	}
	for i := range o.Peer.SANs {
		if err := o.Peer.SANs[i].check(); err != nil {
			return nil, fmt.Errorf("SAN matcher %d: %w", i, err)
		}
	}
	return cfg, nil
}

// check refuses matchers that would match nothing, or not what they seem to.
func (m *SANMatcher) check() error {
	set := 0
	for _, ok := range [...]bool{m.Exact != "", m.Prefix != "", m.Suffix != "", m.Contains != "", m.Regex != nil} {
		if ok {
			set++
		}
	}
	if set != 1 {
		return fmt.Errorf("has %d patterns, must have one", set)
	}
	if m.Kind > SANIP {
		return fmt.Errorf("name kind %d is not known", m.Kind)
	}
	return nil
}

// chooseCertificate picks the first that the peer can use.
func chooseCertificate(certs []*tls.Certificate, supports func(*tls.Certificate) error) (*tls.Certificate, error) {
	if len(certs) == 0 {
		return nil, fail(ReasonNoCertificate, nil)
	}
	if len(certs) > 1 {
		for _, c := range certs {
			if supports(c) == nil {
				return c, nil
			}
		}
	}
	return certs[0], nil
}

// maxNames bounds how many server names a client configuration keeps ready.
const maxNames = 64

// forName is the configuration for one SNI.
func (c *ClientConfig) forName(name string) *tls.Config {
	if name == "" || name == c.tls.ServerName {
		return c.tls
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if t := c.names[name]; t != nil {
		return t
	}
	t := c.tls.Clone()
	t.ServerName = name
	if len(c.names) < maxNames {
		c.names[name] = t
	}
	return t
}
