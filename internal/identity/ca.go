package identity

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"time"
)

// Lifetimes (docs of Istio: leaf 24 h, at most 90 days; self-signed root 10 years).
const (
	DefaultCertTTL = 24 * time.Hour
	MaxCertTTL     = 90 * 24 * time.Hour
	RootTTL        = 10 * 365 * 24 * time.Hour
	// clockSkew is how far a new certificate reaches into the past.
	clockSkew = 2 * time.Minute
)

// CA signs workload certificates. Safe for concurrent use; immutable once made.
type CA struct {
	cert  *x509.Certificate
	key   crypto.Signer
	chain []byte // PEM of the CA certificate and intermediates, without the root
	roots []byte // PEM of all trusted roots
	now   func() time.Time
}

// CAOptions configure a self-signed CA.
type CAOptions struct {
	Organization string           // default "cluster.local"
	TTL          time.Duration    // default RootTTL
	Now          func() time.Time // default time.Now
}

// NewSelfSignedCA makes a CA with a fresh P-256 key and a self-signed root.
func NewSelfSignedCA(o CAOptions) (*CA, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.TTL <= 0 {
		o.TTL = RootTTL
	}
	if o.Organization == "" {
		o.Organization = "cluster.local"
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generate CA key: %w", err)
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	tmpl := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{Organization: []string{o.Organization}, CommonName: "meshctl root"},
		NotBefore:             o.Now().Add(-clockSkew),
		NotAfter:              o.Now().Add(o.TTL),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("sign CA certificate: %w", err)
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("read back CA certificate: %w", err)
	}
	return &CA{cert: cert, key: key, roots: certPEM, now: o.Now}, nil
}

// CAFiles are the PEM contents of a given CA, named as in Istio's cacerts secret.
type CAFiles struct {
	Cert  []byte // ca-cert.pem: the signing certificate
	Key   []byte // ca-key.pem
	Chain []byte // cert-chain.pem: signing certificate and intermediates; may be empty
	Roots []byte // root-cert.pem; empty: Cert is the root
}

// LoadCA builds a CA from given files and checks that they fit together.
func LoadCA(f CAFiles) (*CA, error) {
	certs, err := parseCerts(f.Cert)
	if err != nil {
		return nil, fmt.Errorf("ca-cert.pem: %w", err)
	}
	cert := certs[0]
	if !cert.IsCA || cert.KeyUsage&x509.KeyUsageCertSign == 0 {
		return nil, errors.New("ca-cert.pem: the certificate may not sign certificates (CA:TRUE and keyCertSign are needed)")
	}
	key, err := parseKey(f.Key)
	if err != nil {
		return nil, fmt.Errorf("ca-key.pem: %w", err)
	}
	if !samePublicKey(key.Public(), cert.PublicKey) {
		return nil, errors.New("ca-key.pem: the key does not belong to ca-cert.pem")
	}
	if now := time.Now(); now.After(cert.NotAfter) {
		return nil, fmt.Errorf("ca-cert.pem: expired at %s", cert.NotAfter.Format(time.RFC3339))
	}
	ca := &CA{cert: cert, key: key, roots: f.Roots, now: time.Now}
	if len(f.Roots) == 0 {
		ca.roots = f.Cert
		return ca, nil
	}
	roots, err := parseCerts(f.Roots)
	if err != nil {
		return nil, fmt.Errorf("root-cert.pem: %w", err)
	}
	pool, inter := x509.NewCertPool(), x509.NewCertPool()
	selfSigned := false
	for _, r := range roots {
		pool.AddCert(r)
		selfSigned = selfSigned || r.Equal(cert)
	}
	if !selfSigned {
		ca.chain = f.Chain
		if len(ca.chain) == 0 {
			ca.chain = f.Cert
		}
		chain, err := parseCerts(ca.chain)
		if err != nil {
			return nil, fmt.Errorf("cert-chain.pem: %w", err)
		}
		for _, c := range chain {
			inter.AddCert(c)
		}
	}
	if _, err := cert.Verify(x509.VerifyOptions{Roots: pool, Intermediates: inter, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil {
		return nil, fmt.Errorf("ca-cert.pem does not lead to root-cert.pem: %w", err)
	}
	return ca, nil
}

// LoadOrCreateCA reads a CA from dir, or makes a self-signed one and keeps it
// there (key mode 0600).
func LoadOrCreateCA(dir string, o CAOptions) (*CA, error) {
	read := func(name string) []byte {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return nil
		}
		return b
	}
	if cert := read("ca-cert.pem"); cert != nil {
		return LoadCA(CAFiles{Cert: cert, Key: read("ca-key.pem"), Chain: read("cert-chain.pem"), Roots: read("root-cert.pem")})
	}
	ca, err := NewSelfSignedCA(o)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("keep CA: %w", err)
	}
	files, err := ca.Files()
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "ca-key.pem"), files.Key, 0o600); err != nil {
		return nil, fmt.Errorf("keep CA key: %w", err)
	}
	for _, name := range []string{"root-cert.pem", "ca-cert.pem"} {
		if err := os.WriteFile(filepath.Join(dir, name), files.Roots, 0o600); err != nil {
			return nil, fmt.Errorf("keep CA certificate: %w", err)
		}
	}
	return ca, nil
}

// Files are the CA's certificates and key, for keeping it. LoadCA takes them.
func (c *CA) Files() (CAFiles, error) {
	key, err := x509.MarshalPKCS8PrivateKey(c.key)
	if err != nil {
		return CAFiles{}, fmt.Errorf("encode CA key: %w", err)
	}
	return CAFiles{
		Cert:  pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.cert.Raw}),
		Key:   pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}),
		Chain: bytes.Clone(c.chain), Roots: bytes.Clone(c.roots),
	}, nil
}

// Roots is the PEM bundle that peers must trust.
func (c *CA) Roots() []byte { return bytes.Clone(c.roots) }

// NotAfter is when the signing certificate ends.
func (c *CA) NotAfter() time.Time { return c.cert.NotAfter }

// SignRequest says what to sign.
type SignRequest struct {
	PublicKey crypto.PublicKey
	URIs      []*url.URL
	DNSNames  []string // servers of the control plane only
	TTL       time.Duration
}

// Sign issues a certificate valid for TTL (default DefaultCertTTL, at most
// MaxCertTTL and never longer than the CA's own) and returns PEM certificates:
// leaf, intermediates, then the roots, as the istio.v1.auth contract has it.
func (c *CA) Sign(r SignRequest) ([][]byte, error) {
	ttl := r.TTL
	switch {
	case ttl <= 0:
		ttl = DefaultCertTTL
	case ttl > MaxCertTTL:
		return nil, fmt.Errorf("certificate lifetime %s is longer than the allowed %s", ttl, MaxCertTTL)
	}
	if len(r.URIs) == 0 && len(r.DNSNames) == 0 {
		return nil, errors.New("certificate without any name refused")
	}
	if err := checkPublicKey(r.PublicKey); err != nil {
		return nil, err
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	now := c.now()
	end := now.Add(ttl)
	if end.After(c.cert.NotAfter) {
		end = c.cert.NotAfter
	}
	tmpl := &x509.Certificate{
		SerialNumber:          serial,
		NotBefore:             now.Add(-clockSkew),
		NotAfter:              end,
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
		URIs:                  r.URIs,
		DNSNames:              r.DNSNames,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, c.cert, r.PublicKey, c.key)
	if err != nil {
		return nil, fmt.Errorf("sign certificate: %w", err)
	}
	out := [][]byte{pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
	if len(c.chain) > 0 {
		out = append(out, bytes.Clone(c.chain))
	}
	return append(out, bytes.Clone(c.roots)), nil
}

func newSerial() (*big.Int, error) {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("choose serial number: %w", err)
	}
	return n, nil
}

// checkPublicKey refuses keys too weak to identify anyone.
func checkPublicKey(k crypto.PublicKey) error {
	switch k := k.(type) {
	case *rsa.PublicKey:
		if bits := k.N.BitLen(); bits < 2048 || bits > 8192 {
			return fmt.Errorf("RSA key of %d bits refused: 2048 to 8192 are accepted", bits)
		}
		return nil
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() && k.Curve != elliptic.P384() {
			return fmt.Errorf("elliptic curve %s refused: P-256 and P-384 are accepted", k.Curve.Params().Name)
		}
		return nil
	default:
		return fmt.Errorf("public key of type %T refused: RSA and ECDSA are accepted", k)
	}
}

func samePublicKey(a, b crypto.PublicKey) bool {
	e, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && e.Equal(b)
}

// parseCerts reads all certificates of a PEM bundle; none is an error.
func parseCerts(data []byte) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	for len(bytes.TrimSpace(data)) > 0 {
		var b *pem.Block
		if b, data = pem.Decode(data); b == nil {
			return nil, errors.New("not PEM")
		}
		if b.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("PEM block %q where a CERTIFICATE was expected", b.Type)
		}
		c, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", len(out)+1, err)
		}
		out = append(out, c)
	}
	if len(out) == 0 {
		return nil, errors.New("no certificate in it")
	}
	return out, nil
}

// parseKey reads a PKCS#8, PKCS#1 or SEC 1 private key.
func parseKey(data []byte) (crypto.Signer, error) {
	b, _ := pem.Decode(data)
	if b == nil {
		return nil, errors.New("no PEM private key in it")
	}
	if k, err := x509.ParseECPrivateKey(b.Bytes); err == nil {
		return k, nil
	}
	if k, err := x509.ParsePKCS1PrivateKey(b.Bytes); err == nil {
		return k, nil
	}
	k, err := x509.ParsePKCS8PrivateKey(b.Bytes)
	if err != nil {
		return nil, errors.New("the private key cannot be read (PKCS#8, PKCS#1 and SEC 1 are understood)")
	}
	s, ok := k.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("a %T cannot sign", k)
	}
	return s, nil
}
