package tlsconn

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"sync/atomic"
)

// CertSource gives the certificates to present now, best first. It is asked
// anew for each handshake, from any goroutine. None means not available yet.
type CertSource interface {
	Certificates() []*tls.Certificate
}

// TrustSource gives the roots to verify peers by now; nil means not available yet.
type TrustSource interface {
	Trust() *Trust
}

// CertStore is a CertSource that can be changed at any time. The zero value has none.
type CertStore struct {
	p atomic.Pointer[[]*tls.Certificate]
}

// Certificates implements CertSource.
func (s *CertStore) Certificates() []*tls.Certificate {
	if l := s.p.Load(); l != nil {
		return *l
	}
	return nil
}

// Set replaces the certificates; handshakes that begin from now on use them.
func (s *CertStore) Set(certs ...*tls.Certificate) { s.p.Store(&certs) }

// TrustStore is a TrustSource that can be changed at any time. The zero value has none.
type TrustStore struct{ p atomic.Pointer[Trust] }

// Trust implements TrustSource.
func (s *TrustStore) Trust() *Trust { return s.p.Load() }

// Set replaces the roots; what was verified by others is verified anew.
func (s *TrustStore) Set(t *Trust) { s.p.Store(t) }

// ParseKeyPair reads a PEM certificate chain, leaf first, and its key.
func ParseKeyPair(certPEM, keyPEM []byte) (*tls.Certificate, error) {
	c, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("parse certificate and key: %w", err)
	}
	return &c, nil
}

// ParseCertificates reads one or more PEM certificates.
func ParseCertificates(b []byte) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	for {
		var block *pem.Block
		if block, b = pem.Decode(b); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("parse certificate %d: %w", len(out)+1, err)
		}
		out = append(out, c)
	}
	if len(out) == 0 {
		return nil, errors.New("parse certificates: no PEM block of type CERTIFICATE found")
	}
	return out, nil
}
