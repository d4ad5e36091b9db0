package jwt

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"slices"

	"github.com/go-jose/go-jose/v4"
)

// algorithms are those that count: signatures that only the holder of a private
// key can make. None is not among them, and nor are shared secrets.
var algorithms = []jose.SignatureAlgorithm{
	jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA,
}

func supported(alg string) bool { return slices.Contains(algorithms, jose.SignatureAlgorithm(alg)) }

// Bounds of what one token may make us compute.
const (
	maxKeys    = 64 // that are tried; a token that names its key has one or two
	maxRSABits = 8192
)

// Keys is a key set (RFC 7517 §5). Read-only.
type Keys struct{ list []key }

type key struct {
	id, alg string // "": any
	public  any    // *rsa.PublicKey, *ecdsa.PublicKey, ed25519.PublicKey
}

// ParseKeys reads a key set; keys that cannot verify signatures of the supported
// algorithms are left out. A set that cannot be read has none.
func ParseKeys(data []byte) *Keys {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	out := &Keys{}
	if json.Unmarshal(data, &set) != nil {
		return out
	}
	for _, raw := range set.Keys {
		var k jose.JSONWebKey
		if k.UnmarshalJSON(raw) != nil || !k.Valid() || k.Use != "" && k.Use != "sig" {
			continue
		}
		switch p := k.Public().Key.(type) {
		case *rsa.PublicKey:
			if p.N.BitLen() > maxRSABits {
				continue
			}
		case *ecdsa.PublicKey, ed25519.PublicKey:
		default:
			continue
		}
		out.list = append(out.list, key{k.KeyID, k.Algorithm, k.Public().Key})
	}
	return out
}

// Len is how many keys there are.
func (k *Keys) Len() int { return len(k.list) }

// Verify checks the signature of a token. A key counts when its id and algorithm,
// as far as they are said, are those of the token.
func (k *Keys) Verify(t *Token) Status {
	if k.Len() == 0 {
		return NoKeys
	}
	var signed *jose.JSONWebSignature
	status, tried := NoFittingKey, 0
	for i := range k.list {
		c := &k.list[i]
		if t.kid != "" && c.id != "" && t.kid != c.id || c.alg != "" && c.alg != t.alg {
			continue
		}
		status = VerificationFails
		if !fits(c.public, t.alg) {
			continue
		}
		if signed == nil {
			var err error
			if signed, err = jose.ParseSignedCompact(t.raw, algorithms); err != nil {
				return VerificationFails
			}
		}
		if _, err := signed.Verify(c.public); err == nil {
			return OK
		}
		if tried++; tried >= maxKeys {
			break
		}
	}
	return status
}

// fits reports whether signatures of an algorithm are made by keys of this type.
func fits(public any, alg string) bool {
	switch p := public.(type) {
	case *rsa.PublicKey:
		return alg[0] == 'R' || alg[0] == 'P'
	case *ecdsa.PublicKey:
		size := p.Curve.Params().BitSize
		return alg == "ES256" && size == 256 || alg == "ES384" && size == 384 || alg == "ES512" && size == 521
	case ed25519.PublicKey:
		return alg == string(jose.EdDSA)
	default:
		return false
	}
}
