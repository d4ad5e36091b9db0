package whatif_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/meshctl/meshctl/internal/controlplane/derive"
	"github.com/meshctl/meshctl/internal/proxy/jwt"
)

// Which keys of a set count is decided twice, on either side of xDS: by the control
// plane, for proxies of any kind, and by the native proxy, for whoever sends it keys.
// What the first lets through the second has to read whole.
func TestKeysThatAreSentAreRead(t *testing.T) {
	t.Parallel()
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	private := []any{r, ed, []byte("a shared secret of some length")}
	for _, c := range []elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()} {
		k, err := ecdsa.GenerateKey(c, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		private = append(private, k)
	}
	var raw []json.RawMessage
	for _, k := range private {
		for _, alg := range []string{"", "RS256", "PS512", "ES256", "ES384", "ES512", "EdDSA", "HS256", "none", "RSA-OAEP"} {
			for _, use := range []string{"", "sig", "enc"} {
				b, err := (&jose.JSONWebKey{Key: k, KeyID: "k", Algorithm: alg, Use: use}).MarshalJSON()
				if err != nil {
					t.Fatal(err)
				}
				raw = append(raw, b)
			}
		}
	}
	raw = append(raw, json.RawMessage(`{"kty":"RSA"}`), json.RawMessage(`{"kty":"new"}`), json.RawMessage(`7`))
	sent := 0
	for _, k := range raw {
		one, err := json.Marshal(map[string]any{"keys": []json.RawMessage{k}})
		if err != nil {
			t.Fatal(err)
		}
		usable := derive.UsableKeys(string(one))
		n := jwt.ParseKeys([]byte(usable)).Len()
		if usable == "" {
			continue
		}
		sent++
		if n != 1 {
			t.Errorf("the control plane sends %s, and the proxy does not read it", k)
		}
		if jwt.ParseKeys(one).Len() != 1 {
			t.Errorf("the control plane uses %s, and the proxy by itself would not", k)
		}
	}
	if sent == 0 || sent == len(raw) {
		t.Errorf("%d of %d keys are sent", sent, len(raw))
	}
}
