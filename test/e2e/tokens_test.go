//go:build e2e

package e2e

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

const tokenFolder = "../../samples/jwt/"

// sampleToken is a token of the test issuer.
func sampleToken(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(tokenFolder + name)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// The sample: no token is refused by the policy, a bad one by the proxy, a good one
// passes; and route test says the same.
func testTokens(t *testing.T, m *mesh) {
	m.apply(t, "jwt-productpage")
	m.inForce(t, func() error { return denied(m.get(t, "/productpage")) })
	good := sampleToken(t, "demo.jwt")
	forged := good[:len(good)-8] + "AAAAAAAA"
	for _, c := range []struct {
		token string
		code  int
		body  string
	}{
		{good, 200, "<title>"},
		{forged, 401, "Jwt verification fails"},
		{"abc", 401, "Jwt is not in the form of Header.Payload.Signature"},
		{sampleToken(t, "admin.jwt"), 200, "<title>"},
	} {
		m.inForce(t, func() error {
			a := m.get(t, "/productpage", "Authorization", "Bearer "+c.token)
			if a.code != c.code || !strings.Contains(a.body, c.body) {
				return fmt.Errorf("with %.20s…: %s, want %d %s", c.token, a, c.code, c.body)
			}
			if challenge := a.header.Get("Www-Authenticate"); (a.code == 401) != strings.Contains(challenge, "invalid_token") {
				return fmt.Errorf("with %.20s…: %d and the challenge %q", c.token, a.code, challenge)
			}
			return nil
		})
	}
	if m.envoy {
		return
	}
	out := m.run(t, "route", "test", "--from", "details-v1", "http://productpage:9080/productpage", "--token", tokenFolder+"demo.jwt")
	if !strings.Contains(out, "verified: testing@meshctl/demo") || !strings.Contains(out, "productpage-v1.default answers") {
		t.Errorf("route test says:\n%s", out)
	}
}

// outward is an address of this machine that others could reach.
func outward(t *testing.T) string {
	t.Helper()
	all, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && n.IP.IsGlobalUnicast() {
			return n.IP.String()
		}
	}
	t.Skip("this machine has no address but loopback")
	return ""
}

// keyServer publishes keys that can be changed.
type keyServer struct {
	set atomic.Pointer[string]
}

func (s *keyServer) publish(t *testing.T, keys ...crypto.Signer) {
	t.Helper()
	var set jose.JSONWebKeySet
	for _, k := range keys {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: k.Public(), Algorithm: "RS256"})
	}
	b, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	s.set.Store(&text)
}

// Keys that an issuer changes are in force a moment later: what a new one has signed
// is accepted, what a withdrawn one has is not.
func testKeyRotation(t *testing.T, m *mesh) {
	s := &keyServer{}
	// What listens on loopback alone is out of the mesh's reach.
	l, err := net.Listen("tcp4", net.JoinHostPort(outward(t), "0"))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if p := s.set.Load(); p != nil {
			_, _ = w.Write([]byte(*p))
			return
		}
		http.Error(w, "not yet", http.StatusServiceUnavailable)
	}))
	_ = server.Listener.Close()
	server.Listener = l
	server.Start()
	t.Cleanup(server.Close)
	var keys [2]*rsa.PrivateKey
	var tokens [2]string
	for i := range keys {
		if keys[i], err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
			t.Fatal(err)
		}
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: keys[i]}, nil)
		if err != nil {
			t.Fatal(err)
		}
		signed, err := signer.Sign([]byte(`{"iss":"https://rotating.example","sub":"me"}`))
		if err != nil {
			t.Fatal(err)
		}
		if tokens[i], err = signed.CompactSerialize(); err != nil {
			t.Fatal(err)
		}
	}
	m.applyText(t, fmt.Sprintf(`apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: rotating}
spec:
  selector: {matchLabels: {app: productpage}}
  jwtRules: [{issuer: "https://rotating.example", jwksUri: %q}]
`, server.URL))
	answers := func(first, second int) {
		t.Helper()
		eventually(t, fmt.Sprintf("the first token to get %d, the second %d", first, second), func() error {
			a := m.get(t, "/productpage", "Authorization", "Bearer "+tokens[0])
			b := m.get(t, "/productpage", "Authorization", "Bearer "+tokens[1])
			if a.code != first || b.code != second {
				return fmt.Errorf("the first gets %d, the second %d", a.code, b.code)
			}
			return nil
		})
	}
	answers(401, 401) // without keys nothing is good
	eventually(t, "the finding", func() error {
		if out, _, _ := m.try(t, "status"); !strings.Contains(out, "MSH0211") {
			return fmt.Errorf("status says:\n%s", out)
		}
		return nil
	})
	s.publish(t, keys[0])
	answers(200, 401)
	s.publish(t, keys[0], keys[1])
	answers(200, 200)
	s.publish(t, keys[1])
	answers(401, 200)
}
