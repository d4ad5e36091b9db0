package identity

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// TokenAudience is the audience of tokens presented to the CSR service and xDS.
const TokenAudience = "istio-ca"

// maxTokenBytes bounds a token before it is parsed.
const maxTokenBytes = 8 << 10

// TokenIssuer makes and checks the workload tokens of the local home: JWTs
// (RFC 7519) signed with Ed25519 (RFC 8037), with the claims a Kubernetes bound
// service-account token has. The key lives and dies with the process.
type TokenIssuer struct {
	key ed25519.PrivateKey
	now func() time.Time
}

// NewTokenIssuer makes an issuer with a fresh key.
func NewTokenIssuer(now func() time.Time) (*TokenIssuer, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generate token key: %w", err)
	}
	if now == nil {
		now = time.Now
	}
	return &TokenIssuer{key: key, now: now}, nil
}

type tokenHeader struct {
	Alg string `json:"alg"`
	Typ string `json:"typ"`
}

type nameClaim struct {
	Name string `json:"name"`
}

type kubeClaims struct {
	Namespace      string    `json:"namespace"`
	Pod            nameClaim `json:"pod"`
	ServiceAccount nameClaim `json:"serviceaccount"`
}

type tokenClaims struct {
	Issuer   string     `json:"iss"`
	Subject  string     `json:"sub"`
	Audience []string   `json:"aud"`
	IssuedAt int64      `json:"iat"`
	Expires  int64      `json:"exp"`
	Kube     kubeClaims `json:"kubernetes.io"`
}

const tokenIssuerName = "https://local.meshctl.dev"

// Issue makes a token for a pod's service account, valid for ttl.
func (t *TokenIssuer) Issue(namespace, serviceAccount, pod string, ttl time.Duration) (string, error) {
	now := t.now()
	h, err := json.Marshal(tokenHeader{Alg: "EdDSA", Typ: "JWT"})
	if err != nil {
		return "", fmt.Errorf("encode token header: %w", err)
	}
	c, err := json.Marshal(tokenClaims{
		Issuer: tokenIssuerName, Subject: "system:serviceaccount:" + namespace + ":" + serviceAccount,
		Audience: []string{TokenAudience}, IssuedAt: now.Unix(), Expires: now.Add(ttl).Unix(),
		Kube: kubeClaims{Namespace: namespace, Pod: nameClaim{pod}, ServiceAccount: nameClaim{serviceAccount}},
	})
	if err != nil {
		return "", fmt.Errorf("encode token claims: %w", err)
	}
	enc := base64.RawURLEncoding
	signed := enc.EncodeToString(h) + "." + enc.EncodeToString(c)
	return signed + "." + enc.EncodeToString(ed25519.Sign(t.key, []byte(signed))), nil
}

// Verify checks signature, algorithm, audience and time, and returns whose token it is.
func (t *TokenIssuer) Verify(token string) (namespace, serviceAccount, pod string, err error) {
	if len(token) > maxTokenBytes {
		return "", "", "", errors.New("token too long")
	}
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return "", "", "", errors.New("token is not a JWT")
	}
	enc := base64.RawURLEncoding
	sig, err := enc.DecodeString(parts[2])
	if err != nil || !ed25519.Verify(t.key.Public().(ed25519.PublicKey), []byte(parts[0]+"."+parts[1]), sig) {
		return "", "", "", errors.New("token signature does not verify")
	}
	var h tokenHeader
	var c tokenClaims
	if err := decodeSegment(parts[0], &h); err != nil {
		return "", "", "", fmt.Errorf("token header: %w", err)
	}
	if h.Alg != "EdDSA" {
		return "", "", "", fmt.Errorf("token algorithm %q refused", h.Alg)
	}
	if err := decodeSegment(parts[1], &c); err != nil {
		return "", "", "", fmt.Errorf("token claims: %w", err)
	}
	switch {
	case c.Issuer != tokenIssuerName:
		return "", "", "", errors.New("token of another issuer")
	case !slices.Contains(c.Audience, TokenAudience):
		return "", "", "", errors.New("token for another audience")
	case t.now().Unix() >= c.Expires:
		return "", "", "", errors.New("token expired")
	}
	return c.Kube.Namespace, c.Kube.ServiceAccount.Name, c.Kube.Pod.Name, nil
}

func decodeSegment(s string, into any) error {
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, into)
}
