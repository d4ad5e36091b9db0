package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/meshctl/meshctl/internal/proxy/tlsconn"
)

// pki is the paths of what mutual TLS needs: one authority, and one certificate
// (ECDSA P-256) for each of client, proxy and backend.
type pki struct{ Dir string }

func (p pki) ca() string              { return filepath.Join(p.Dir, "ca.pem") }
func (p pki) cert(name string) string { return filepath.Join(p.Dir, name+".pem") }
func (p pki) key(name string) string  { return filepath.Join(p.Dir, name+"-key.pem") }

// newPKI issues everything into dir.
func newPKI(dir string) (pki, error) {
	p := pki{Dir: dir}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return p, err
	}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return p, err
	}
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bench"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(48 * time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	if err != nil {
		return p, err
	}
	if err := writePEM(p.ca(), "CERTIFICATE", der); err != nil {
		return p, err
	}
	for i, name := range []string{"client", "proxy", "backend"} {
		if err := p.issue(name, int64(i+2), ca, caKey); err != nil {
			return p, fmt.Errorf("issue certificate of %s: %w", name, err)
		}
	}
	return p, nil
}

func (p pki) issue(name string, serial int64, ca *x509.Certificate, caKey *ecdsa.PrivateKey) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(serial), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true, DNSNames: []string{name},
		URIs: []*url.URL{{Scheme: "spiffe", Host: "cluster.local", Path: "/ns/bench/sa/" + name}},
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, ca, key.Public(), caKey)
	if err != nil {
		return err
	}
	k, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := writePEM(p.cert(name), "CERTIFICATE", der); err != nil {
		return err
	}
	return writePEM(p.key(name), "PRIVATE KEY", k)
}

func writePEM(path, kind string, der []byte) error {
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}

// common is TLS 1.3 with the certificate of name, for the generator and the backend.
func (p pki) common(name string, alpn ...string) (tlsconn.Common, error) {
	var c tlsconn.Common
	var text [3][]byte
	for i, path := range []string{p.cert(name), p.key(name), p.ca()} {
		b, err := os.ReadFile(path)
		if err != nil {
			return c, err
		}
		text[i] = b
	}
	pair, err := tlsconn.ParseKeyPair(text[0], text[1])
	if err != nil {
		return c, err
	}
	roots, err := tlsconn.ParseCertificates(text[2])
	if err != nil {
		return c, err
	}
	certs, trust := &tlsconn.CertStore{}, &tlsconn.TrustStore{}
	certs.Set(pair)
	trust.Set(tlsconn.NewTrust(roots))
	return tlsconn.Common{
		Certificates: certs, Trust: trust, Peer: tlsconn.PeerRules{SPIFFE: true}, ALPN: alpn,
		MinVersion: 0x0304, MaxVersion: 0x0304, Curves: []string{"X25519", "P-256"},
	}, nil
}
