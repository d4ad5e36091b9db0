package proxyconfig

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"testing"
	"time"

	"github.com/meshctl/meshctl/internal/cli/proxyconfig/dump"
)

// authority signs certificates of proxies.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

var now = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func newAuthority(t *testing.T) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a := authority{key: key}
	a.cert = sign(t, &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, nil, key)
	return a
}

// sign makes a certificate; of itself without an issuer.
func sign(t *testing.T, c *x509.Certificate, issuer *authority, key *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	c.SerialNumber, c.NotBefore, c.NotAfter = big.NewInt(now.UnixNano()), now.Add(-time.Hour), now.Add(time.Hour)
	parent, with := c, key
	if issuer != nil {
		parent, with = issuer.cert, issuer.key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, with)
	if err != nil {
		t.Fatal(err)
	}
	out, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// proxyOf is one whose certificate is of an authority, and that trusts others.
func proxyOf(t *testing.T, name string, of authority, trusted ...authority) subject {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	leaf := sign(t, &x509.Certificate{}, &of, key)
	text := func(certs ...*x509.Certificate) map[string]any {
		var b []byte
		for _, c := range certs {
			b = append(b, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
		}
		return map[string]any{"inline_bytes": b}
	}
	var roots []*x509.Certificate
	for _, r := range trusted {
		roots = append(roots, r.cert)
	}
	raw, err := json.Marshal(map[string]any{"configs": []any{map[string]any{
		"@type": "type.googleapis.com/envoy.admin.v3.SecretsConfigDump",
		"dynamic_active_secrets": []any{
			map[string]any{"secret": map[string]any{"name": ownSecret, "tls_certificate": map[string]any{"certificate_chain": text(leaf)}}},
			map[string]any{"secret": map[string]any{"name": rootSecret, "validation_context": map[string]any{"trusted_ca": text(roots...)}}},
		},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	d, err := dump.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return subject{Name: name, Dump: d}
}

// TestTrust: what counts is whether each takes the other's certificate, not whether
// they hold the same roots: while a root is changed, they do not.
func TestTrust(t *testing.T) {
	t.Parallel()
	old, next := newAuthority(t), newAuthority(t)
	for _, c := range []struct {
		name             string
		a, b             subject
		same             bool
		aTrusts, bTrusts bool
	}{
		{"the same root", proxyOf(t, "a", old, old), proxyOf(t, "b", old, old), true, true, true},
		{"in the middle of a change", proxyOf(t, "a", old, old, next), proxyOf(t, "b", next, next, old), true, true, true},
		{"one has the new root already", proxyOf(t, "a", old, old, next), proxyOf(t, "b", old, old), false, true, true},
		{"one does not know the new root", proxyOf(t, "a", old, old), proxyOf(t, "b", next, next, old), false, false, true},
		{"nothing in common", proxyOf(t, "a", old, old), proxyOf(t, "b", next, next), false, false, false},
	} {
		if got := trusts(c.a, c.b, now) == nil; got != c.aTrusts {
			t.Errorf("%s: a trusts b: %v", c.name, got)
		}
		if got := trusts(c.b, c.a, now) == nil; got != c.bTrusts {
			t.Errorf("%s: b trusts a: %v", c.name, got)
		}
		if got := sameRoots(c.a, c.b); got != c.same {
			t.Errorf("%s: the same roots: %v", c.name, got)
		}
	}
	if trusts(proxyOf(t, "a", old, old), proxyOf(t, "b", old, old), now.Add(48*time.Hour)) == nil {
		t.Error("a certificate that has ended is trusted")
	}
}
