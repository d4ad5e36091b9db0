package tlsconn

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
)

// Info describes an established session. It is read-only.
type Info struct {
	ALPN    string // "" if none was agreed
	SNI     string // what the client asked for
	Version string // as Envoy logs it: TLSv1.2, TLSv1.3
	Cipher  string // as Envoy logs it: OpenSSL's name for TLS 1.2

	// The peer's certificate; zero values without one.
	PeerCertificatePresented bool
	PeerURISANs              []string
	PeerDNSSANs              []string
	Subject                  string // RFC 2253
	Issuer                   string // RFC 2253
	Serial                   string // lower-case hex
	SHA256                   string // of the certificate, lower-case hex
	PeerCertificate          *x509.Certificate
}

// peer is what a certificate says about who presented it. It has been verified,
// unless the configuration says not to. It is shared by the peer's connections.
type peer struct {
	cert                          *x509.Certificate
	uris                          []string
	subject, issuer, serial, hash string
}

func newInfo(cs tls.ConnectionState, p *peer) *Info {
	i := &Info{
		ALPN: cs.NegotiatedProtocol, SNI: cs.ServerName,
		Version: versionName(cs.Version), Cipher: cipherName(cs.CipherSuite),
	}
	if p != nil {
		i.PeerCertificatePresented, i.PeerCertificate = true, p.cert
		i.PeerURISANs, i.PeerDNSSANs = p.uris, p.cert.DNSNames
		i.Subject, i.Issuer, i.Serial, i.SHA256 = p.subject, p.issuer, p.serial, p.hash
	}
	return i
}

func newPeer(c *x509.Certificate, sum [sha256.Size]byte) *peer {
	p := &peer{
		cert: c, subject: c.Subject.String(), issuer: c.Issuer.String(),
		serial: fmt.Sprintf("%x", c.SerialNumber), hash: hex.EncodeToString(sum[:]),
	}
	for _, u := range c.URIs {
		p.uris = append(p.uris, u.String())
	}
	return p
}

func versionName(v uint16) string {
	switch v {
	case tls.VersionTLS10:
		return "TLSv1"
	case tls.VersionTLS11:
		return "TLSv1.1"
	case tls.VersionTLS12:
		return "TLSv1.2"
	case tls.VersionTLS13:
		return "TLSv1.3"
	default:
		return fmt.Sprintf("0x%04x", v)
	}
}
