package jwt

import (
	"encoding/base64"
	"encoding/json"
	"math"
	"strings"
)

// maxToken bounds what is parsed: a larger token is refused unread.
const maxToken = 16 << 10

// Token is what a token says. Nothing of it may be believed before its signature
// has been verified. Read-only.
type Token struct {
	// Claims is the payload: JSON-like values as in snapshot.Metadata.
	Claims map[string]any
	// Header is the first part.
	Header map[string]any

	raw      string
	payload  string // base64url, as it came
	alg, kid string

	issuer, subject string
	audiences       []string
	// Seconds since 1970; 0 when it does not say.
	notBefore, expires uint64
}

// Issuer is who made the token; "" when it does not say.
func (t *Token) Issuer() string { return t.issuer }

// Parse reads the compact form, header.payload.signature.
func Parse(raw string) (*Token, Status) {
	if len(raw) > maxToken {
		return nil, TooLarge
	}
	h, rest, ok := strings.Cut(raw, ".")
	p, s, ok2 := strings.Cut(rest, ".")
	if !ok || !ok2 || h == "" || p == "" || s == "" || strings.Contains(s, ".") {
		return nil, BadFormat
	}
	t := &Token{raw: raw, payload: p}
	if status := t.readHeader(h); status != OK {
		return nil, status
	}
	if status := t.readPayload(p); status != OK {
		return nil, status
	}
	if _, err := base64.RawURLEncoding.DecodeString(s); err != nil {
		return nil, BadSignatureBase64
	}
	return t, OK
}

func (t *Token) readHeader(part string) Status {
	raw, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		return BadHeaderBase64
	}
	if json.Unmarshal(raw, &t.Header) != nil || t.Header == nil {
		return BadHeaderJSON
	}
	if t.alg, _ = t.Header["alg"].(string); t.alg == "" {
		return BadAlgorithm
	}
	if !supported(t.alg) {
		return UnsupportedAlgorithm
	}
	if !text(t.Header, "kid", &t.kid) {
		return BadKeyID
	}
	if _, ok := t.Header["crit"]; ok { // RFC 7515 §4.1.11: who does not understand it must refuse
		return CriticalHeader
	}
	return OK
}

func (t *Token) readPayload(part string) Status {
	raw, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		return BadPayloadBase64
	}
	if json.Unmarshal(raw, &t.Claims) != nil || t.Claims == nil {
		return BadPayloadJSON
	}
	var id string
	var issued uint64
	for _, c := range []struct {
		ok     bool
		status Status
	}{
		{text(t.Claims, "iss", &t.issuer), BadIssuer},
		{text(t.Claims, "sub", &t.subject), BadSubject},
		{seconds(t.Claims, "iat", &issued), BadIssuedAt},
		{seconds(t.Claims, "nbf", &t.notBefore), BadNotBefore},
		{seconds(t.Claims, "exp", &t.expires), BadExpiration},
		{text(t.Claims, "jti", &id), BadID},
	} {
		if !c.ok {
			return c.status
		}
	}
	switch a := t.Claims["aud"].(type) {
	case string:
		t.audiences = []string{a}
	case []any:
		for _, v := range a {
			s, ok := v.(string)
			if !ok {
				return BadAudience
			}
			t.audiences = append(t.audiences, s)
		}
	default:
		if _, ok := t.Claims["aud"]; ok {
			return BadAudience
		}
	}
	return OK
}

// text reads a claim that must be a string if it is there.
func text(claims map[string]any, name string, into *string) bool {
	v, ok := claims[name]
	if !ok {
		return true
	}
	*into, ok = v.(string)
	return ok
}

// seconds reads a NumericDate (RFC 7519 §2); fractions are cut off.
func seconds(claims map[string]any, name string, into *uint64) bool {
	v, ok := claims[name]
	if !ok {
		return true
	}
	n, ok := v.(float64)
	if !ok || n < 0 || n >= math.MaxInt64 {
		return false
	}
	*into = uint64(n)
	return true
}
