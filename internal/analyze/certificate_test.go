package analyze_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/meshctl/meshctl/internal/diag"
)

// secretWith is a Secret with a certificate that ends at a time.
func secretWith(t *testing.T, name string, until time.Time) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: until.AddDate(-1, 0, 0), NotAfter: until, DNSNames: []string{"*.example.com"}}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, b []byte) string {
		text := string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}))
		return "    " + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n    ")
	}
	return fmt.Sprintf("---\napiVersion: v1\nkind: Secret\nmetadata: {name: %s, namespace: shop}\nstringData:\n  tls.crt: |\n%s\n  tls.key: |\n%s\n",
		name, block("CERTIFICATE", cert), block("PRIVATE KEY", der))
}

func gatewayWith(name, secret, host string) string {
	return fmt.Sprintf(`---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: %s, namespace: shop}
spec:
  selector: {istio: shop-gateway}
  servers:
  - port: {number: 443, name: https, protocol: HTTPS}
    hosts: [%s]
    tls: {mode: SIMPLE, credentialName: %s}
`, name, host, secret)
}

// TestCertificates: what is said of certificates by the time that they have left.
func TestCertificates(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		until    time.Time
		severity diag.Severity
		found    bool
	}{
		"valid for long": {now.AddDate(0, 6, 0), 0, false},
		"ends soon":      {now.AddDate(0, 0, 7), diag.Warning, true},
		"has ended":      {now.AddDate(0, 0, -1), diag.Error, true},
		"not valid yet":  {now.AddDate(1, 0, 1), diag.Error, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var found []diag.Diagnostic
			for _, d := range look(t, secretWith(t, "cert", c.until)+gatewayWith("front", "cert", "shop.example.com")) {
				if d.Severity != diag.Unknown {
					found = append(found, d)
				}
			}
			switch {
			case !c.found && len(found) == 0:
			case c.found && len(found) == 1 && found[0].Code == "MSH1110" && found[0].Severity == c.severity:
			default:
				t.Errorf("found %v", found)
			}
		})
	}
}

// TestSameCertificate: one certificate in two Secrets, for different hosts.
func TestSameCertificate(t *testing.T) {
	t.Parallel()
	one := secretWith(t, "first", now.AddDate(0, 6, 0))
	two := strings.Replace(one, "name: first", "name: second", 1)
	found := 0
	for _, d := range look(t, one+two+gatewayWith("a", "first", "a.example.com")+gatewayWith("b", "second", "b.example.com")) {
		if d.Code == "MSH1111" {
			found++
		}
	}
	if found != 1 {
		t.Errorf("found %d times", found)
	}
}
