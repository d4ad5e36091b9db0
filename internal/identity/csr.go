package identity

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
)

// maxCSRBytes bounds a request before it is parsed.
const maxCSRBytes = 16 << 10

// ParseCSR reads a PEM certificate signing request (PKCS#10), checks its
// signature and returns the key to be certified. Names in it are ignored: they
// are the caller's wishes, not facts.
func ParseCSR(data []byte) (crypto.PublicKey, error) {
	if len(data) > maxCSRBytes {
		return nil, fmt.Errorf("certificate request of %d bytes is larger than %d", len(data), maxCSRBytes)
	}
	b, rest := pem.Decode(data)
	if b == nil || (b.Type != "CERTIFICATE REQUEST" && b.Type != "NEW CERTIFICATE REQUEST") {
		return nil, errors.New("not a PEM certificate request")
	}
	if next, _ := pem.Decode(rest); next != nil {
		return nil, errors.New("more than one PEM block in a certificate request")
	}
	csr, err := x509.ParseCertificateRequest(b.Bytes)
	if err != nil {
		return nil, fmt.Errorf("parse certificate request: %w", err)
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, fmt.Errorf("certificate request is not signed by its own key: %w", err)
	}
	if err := checkPublicKey(csr.PublicKey); err != nil {
		return nil, err
	}
	return csr.PublicKey, nil
}

// NewKeyAndCSR makes a P-256 key and a request for it, both PEM.
func NewKeyAndCSR(id ID) (key *ecdsa.PrivateKey, keyPEM, csrPEM []byte, err error) {
	key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("generate workload key: %w", err)
	}
	tmpl := &x509.CertificateRequest{}
	if id != (ID{}) {
		tmpl.URIs = append(tmpl.URIs, id.URL())
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, tmpl, key)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("make certificate request: %w", err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("encode workload key: %w", err)
	}
	return key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), nil
}
