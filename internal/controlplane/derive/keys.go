package derive

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

// UsableKeys is the part of a key set (RFC 7517 §5) by which tokens can be verified,
// in a form that every proxy takes: an Envoy refuses a listener for one key that it
// cannot read. Shared secrets are left out: whoever can verify by one can also sign.
// "" when nothing is left.
func UsableKeys(text string) string {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if json.Unmarshal([]byte(text), &set) != nil {
		return ""
	}
	var out jose.JSONWebKeySet
	for _, raw := range set.Keys {
		var k jose.JSONWebKey
		if k.UnmarshalJSON(raw) != nil || !k.Valid() || k.Use != "" && k.Use != "sig" {
			continue
		}
		k = k.Public()
		if signs(k.Key, k.Algorithm) {
			out.Keys = append(out.Keys, jose.JSONWebKey{Key: k.Key, KeyID: k.KeyID, Algorithm: k.Algorithm})
		}
	}
	if len(out.Keys) == 0 {
		return ""
	}
	b, err := json.Marshal(out)
	if err != nil {
		return ""
	}
	return string(b)
}

// maxRSABits bounds what a proxy computes for each token.
const maxRSABits = 8192

// signs reports whether a key verifies signatures of an algorithm; "" is any that it can.
func signs(key any, alg string) bool {
	switch k := key.(type) {
	case *rsa.PublicKey:
		return k.N.BitLen() <= maxRSABits && (alg == "" || (strings.HasPrefix(alg, "RS") || strings.HasPrefix(alg, "PS")) && len(alg) == 5)
	case *ecdsa.PublicKey:
		want := map[int]string{256: "ES256", 384: "ES384", 521: "ES512"}[k.Curve.Params().BitSize]
		return alg == "" || alg == want
	case ed25519.PublicKey:
		return alg == "" || alg == string(jose.EdDSA)
	default:
		return false
	}
}
