package interop

import (
	"cmp"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/testenv/stockenvoy"
	"github.com/meshctl/meshctl/internal/testenv/wait"
)

// issuers are the keys of the issuers in testdata/tokens.yaml, by name and key id.
type issuers struct {
	rsa, other *rsa.PrivateKey
	ec         map[jose.SignatureAlgorithm]*ecdsa.PrivateKey
	ed         ed25519.PrivateKey
}

func newIssuers(t *testing.T) *issuers {
	t.Helper()
	out := &issuers{ec: map[jose.SignatureAlgorithm]*ecdsa.PrivateKey{}}
	var err error
	keep := func(e error) {
		if err == nil {
			err = e
		}
	}
	var e error
	out.rsa, e = rsa.GenerateKey(rand.Reader, 2048)
	keep(e)
	out.other, e = rsa.GenerateKey(rand.Reader, 2048)
	keep(e)
	for alg, curve := range map[jose.SignatureAlgorithm]elliptic.Curve{jose.ES256: elliptic.P256(), jose.ES384: elliptic.P384(), jose.ES512: elliptic.P521()} {
		out.ec[alg], e = ecdsa.GenerateKey(curve, rand.Reader)
		keep(e)
	}
	_, out.ed, e = ed25519.GenerateKey(rand.Reader)
	keep(e)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// keySets are what the issuers publish.
func (s *issuers) keySets(t *testing.T) []string {
	t.Helper()
	one := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{
		{Key: s.rsa.Public(), KeyID: "r"},
		{Key: s.ed.Public(), KeyID: "ed", Algorithm: "EdDSA"},
		{Key: s.ec[jose.ES256].Public(), KeyID: "ES256", Algorithm: "ES256"},
		{Key: s.ec[jose.ES384].Public(), KeyID: "ES384"},
		{Key: s.ec[jose.ES512].Public(), KeyID: "ES512"},
	}}
	two := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: s.other.Public(), KeyID: "o", Algorithm: "RS256", Use: "sig"}}}
	var out []string
	for name, set := range map[string]jose.JSONWebKeySet{"KEYS-one": one, "KEYS-two": two} {
		b, err := json.Marshal(set)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, name, string(b))
	}
	return out
}

type claims = map[string]any

// sign makes a token; kid "-" leaves the key id out.
func sign(t *testing.T, key crypto.Signer, alg jose.SignatureAlgorithm, kid string, c claims) string {
	t.Helper()
	o := (&jose.SignerOptions{}).WithType("JWT")
	if kid != "-" {
		o = o.WithHeader("kid", kid)
	}
	return signed(t, jose.SigningKey{Algorithm: alg, Key: key}, o, c)
}

// signed is a token in the compact form.
func signed(t *testing.T, key jose.SigningKey, o *jose.SignerOptions, c claims) string {
	t.Helper()
	s, err := jose.NewSigner(key, o)
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	j, err := s.Sign(b)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := j.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// tokenCase is a request and what becomes of it.
type tokenCase struct {
	name, path string
	header     http.Header
	status     int
	body       string // of a refusal
	backend    string
	sees       map[string]string // headers that the backend sees; "" means none
	seesPath   string
	method     string
	// native says why Envoy decides otherwise.
	native string
	// envoy is what an Envoy answers in other words.
	envoy string
}

func bearer(token string) http.Header { return http.Header{"Authorization": {"Bearer " + token}} }

// tokenCases are the requests; each is sent through both data planes.
func (s *issuers) cases(t *testing.T) []tokenCase {
	t.Helper()
	now := time.Now().Unix()
	with := func(more ...claims) claims {
		out := claims{"iss": "https://one.example", "sub": "user"}
		for _, m := range more {
			maps.Copy(out, m)
		}
		return out
	}
	one := func(more ...claims) string { return sign(t, s.rsa, jose.RS256, "r", with(more...)) }
	two := func(more ...claims) string {
		return sign(t, s.other, jose.RS256, "o", with(append([]claims{{"iss": "https://two.example", "aud": "https://api.example"}}, more...)...))
	}
	good := one()
	parts := strings.Split(good, ".")
	forbidden, denied := "RBAC: access denied", 403
	out := []tokenCase{
		{name: "no token", path: "/open", backend: "one"},
		{name: "no token where one is asked for", path: "/any", status: denied, body: forbidden},
		{name: "a good token", path: "/any", header: bearer(good), backend: "one", sees: map[string]string{"Authorization": "", "X-Sub": "user", "X-Payload": parts[1]}},
		{name: "claims in headers", path: "/any", header: bearer(one(claims{"realm": claims{"role": "writer"}, "n": 42, "groups": []string{"a", "b"}})), backend: "one", sees: map[string]string{"X-Role": "writer", "X-N": "42"}},
		{name: "claims that are no headers", path: "/any", header: bearer(one(claims{"n": 1.5, "realm": claims{"role": true}})), backend: "one", sees: map[string]string{"X-N": "1.500000", "X-Role": "true"}},
		{name: "a header that only the proxy may set", path: "/any", header: http.Header{"Authorization": {"Bearer " + good}, "X-Role": {"forged"}, "X-Payload": {"forged"}}, backend: "one", sees: map[string]string{"X-Role": "", "X-Payload": parts[1]}},
		{name: "a header that only the proxy may set, without a token", path: "/open", header: http.Header{"X-Sub": {"forged"}}, backend: "one", sees: map[string]string{"X-Sub": ""}},
		{name: "another subject", path: "/user", header: bearer(one(claims{"sub": "else"})), status: denied, body: forbidden},
		{name: "the subject", path: "/user", header: bearer(good), backend: "one"},
		{name: "a subject that begins right", path: "/prefix", header: bearer(good), backend: "one"},
		{name: "a subject that begins wrong", path: "/prefix", header: bearer(one(claims{"sub": "xu"})), status: denied, body: forbidden},
		{name: "an issuer that begins right", path: "/issuer", header: bearer(good), backend: "one"},
		{name: "an issuer that begins wrong", path: "/issuer", header: bearer(two()), status: denied, body: forbidden},
		{name: "a subject of any issuer", path: "/suffix", header: bearer(two()), backend: "one"},
		{name: "a subject that hides another", path: "/suffix", header: bearer(one(claims{"sub": "x/user"})), status: denied, body: forbidden},
		{name: "nobody", path: "/nobody", backend: "one"},
		{name: "somebody", path: "/nobody", header: bearer(good), status: denied, body: forbidden},
		{name: "somebody else", path: "/others", header: bearer(two()), backend: "one"},
		{name: "no subject", path: "/any", header: bearer(sign(t, s.rsa, jose.RS256, "r", claims{"iss": "https://one.example"})), status: denied, body: forbidden},
		{name: "group in a list", path: "/groups", header: bearer(one(claims{"groups": []string{"dev", "admin"}})), backend: "one"},
		{name: "group alone", path: "/groups", header: bearer(one(claims{"groups": "admin"})), backend: "one"},
		{name: "other groups", path: "/groups", header: bearer(one(claims{"groups": []string{"dev"}})), status: denied, body: forbidden},
		{name: "nested claim", path: "/nested", header: bearer(one(claims{"realm": claims{"role": "writer"}})), backend: "one"},
		{name: "nested claim that is excluded", path: "/nested", header: bearer(one(claims{"realm": claims{"role": "writer-in-training"}})), status: denied, body: forbidden},
		{name: "scope", path: "/scope", header: bearer(one(claims{"scope": "write read"})), backend: "one"},
		{name: "scope that looks like it", path: "/scope", header: bearer(one(claims{"scope": "write readers"})), status: denied, body: forbidden},
		{name: "audience", path: "/audience", header: bearer(one(claims{"aud": []string{"x", "https://api.example"}})), backend: "one"},
		{name: "presenter", path: "/presenter", header: bearer(one(claims{"azp": "app"})), backend: "one"},
		{name: "principal as a condition", path: "/principal", header: bearer(good), backend: "one"},
		{name: "a flag is no text where it would let in", path: "/flag", header: bearer(one(claims{"flag": true})), status: denied, body: forbidden},
		{name: "a flag is one where it keeps out", path: "/open", header: bearer(one(claims{"suspended": true})), status: denied, body: forbidden},
		{name: "a number keeps out", path: "/open", header: bearer(one(claims{"suspended": 1})), status: denied, body: forbidden},
		{name: "another number", path: "/open", header: bearer(one(claims{"suspended": 2})), backend: "one"},
		{name: "a denied subject with a slash", path: "/open", header: bearer(one(claims{"sub": "group/mallory"})), status: denied, body: forbidden},

		{name: "expired", path: "/open", header: bearer(one(claims{"exp": now - 3600})), status: 401, body: "Jwt is expired"},
		{name: "expired within the skew", path: "/open", header: bearer(one(claims{"exp": now - 30})), backend: "one"},
		{name: "not yet valid", path: "/open", header: bearer(one(claims{"nbf": now + 3600})), status: 401, body: "Jwt not yet valid"},
		{name: "not yet valid within the skew", path: "/open", header: bearer(one(claims{"nbf": now + 30})), backend: "one"},
		{name: "a signature of another", path: "/open", header: bearer(sign(t, s.other, jose.RS256, "r", with())), status: 401, body: "Jwt verification fails"},
		{name: "a key that nobody knows", path: "/open", header: bearer(sign(t, s.rsa, jose.RS256, "x", with())), status: 401, body: "Jwks doesn't have key to match kid or alg from Jwt"},
		{name: "no key id", path: "/any", header: bearer(sign(t, s.rsa, jose.RS256, "-", with())), backend: "one"},
		{name: "an issuer that nobody knows", path: "/open", header: bearer(one(claims{"iss": "https://else.example"})), status: 401, body: "Jwt issuer is not configured"},
		{name: "an issuer without keys", path: "/open", header: bearer(one(claims{"iss": "https://none.example"})), status: 401, body: "Jwks doesn't have any valid public key", envoy: "Jwks remote fetch is failed"},
		{name: "a changed payload", path: "/open", header: bearer(parts[0] + "." + strings.Split(one(claims{"sub": "root"}), ".")[1] + "." + parts[2]), status: 401, body: "Jwt verification fails"},
		{name: "no algorithm", path: "/open", header: bearer("eyJhbGciOiJub25lIn0." + parts[1] + ".eA"), status: 401, body: "Jwt header [alg] is not supported"},
		{name: "an empty signature", path: "/open", header: bearer(parts[0] + "." + parts[1] + "."), status: 401, body: "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections"},
		{name: "no token at all", path: "/open", header: bearer("abc"), status: 401, body: "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections"},
		{name: "a header that is no JSON", path: "/open", header: bearer("eA.eA.eA"), status: 401, body: "Jwt header is an invalid JSON"},
		{name: "a header that is no base64", path: "/open", header: bearer("e.eA.eA"), status: 401, body: "Jwt header is an invalid Base64url encoded"},
		{name: "basic credentials", path: "/open", header: http.Header{"Authorization": {"Basic eDp5"}}, backend: "one", sees: map[string]string{"Authorization": "Basic eDp5"}},
		{name: "the wrong audience", path: "/open", header: bearer(two(claims{"aud": "https://else.example"})), status: 403, body: "Audiences in Jwt are not allowed"},
		{name: "no audience", path: "/open", header: bearer(sign(t, s.other, jose.RS256, "o", claims{"iss": "https://two.example"})), status: 403, body: "Audiences in Jwt are not allowed"},
		{name: "an audience that is the same", path: "/any", header: bearer(two(claims{"aud": "api.example/"})), backend: "one"},
		{name: "two tokens, both good", path: "/any", header: http.Header{"Authorization": {"Bearer " + good}, "X-Token": {"Token " + two()}}, backend: "one"},
		{name: "a token in a header of its own", path: "/any", header: http.Header{"X-Token": {"Token " + two()}}, backend: "one", sees: map[string]string{"X-Token": "Token " + two()}},
		{name: "a bad token in a header of its own", path: "/open", header: http.Header{"X-Token": {"Token " + good}}, status: 401, body: "Jwt issuer is not configured"},
		{name: "a token in a cookie", path: "/any", header: http.Header{"Cookie": {"a=b; session=" + two()}}, backend: "one"},
		{name: "a bad token in a cookie", path: "/open", header: http.Header{"Cookie": {"session=abc"}}, status: 401, body: "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections"},
		{name: "a token in a parameter", path: "/any?q=1&token=" + url.QueryEscape(two()) + "&r=2", backend: "one"},
		{name: "a token in the usual parameter", path: "/any?q=1&access_token=" + good + "&r=2", backend: "one", seesPath: "/any?q=1&r=2"},
		{name: "a preflight", method: http.MethodOptions, path: "/open", header: http.Header{"Origin": {"https://a.example"}, "Access-Control-Request-Method": {"PUT"}, "Authorization": {"Bearer abc"}}, backend: "one"},

		{name: "a route by a claim", path: "/route", header: bearer(one(claims{"groups": []string{"admin"}})), backend: "two"},
		{name: "a route by a nested claim", path: "/route", header: bearer(one(claims{"realm": claims{"dotted.name": "xyz"}})), backend: "two"},
		{name: "a route without the claim", path: "/route", header: bearer(good), backend: "one"},
		{name: "a route without a token", path: "/route", backend: "one"},
		{name: "a header cannot stand for a claim", path: "/route", header: http.Header{"Request.auth.claims.groups": {"admin"}}, backend: "one"},
		{name: "a route for those without a claim", path: "/without", header: bearer(good), backend: "two"},
		{name: "and not for those with it", path: "/without", header: bearer(one(claims{"groups": "admin"})), backend: "one"},

		{name: "a critical header", path: "/open", header: bearer(critical(t, s.rsa, with())), status: 401, body: "Jwt header [crit] is not supported", native: "Envoy does not look at crit"},
		{name: "the scheme in lower case", path: "/open", header: http.Header{"Authorization": {"bearer abc"}}, status: 401, body: "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections", native: "Envoy takes it for something else, and passes it on"},
	}
	for _, alg := range []jose.SignatureAlgorithm{jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512} {
		out = append(out, tokenCase{name: string(alg), path: "/any", header: bearer(sign(t, s.rsa, alg, "r", with())), backend: "one"})
	}
	for alg, key := range s.ec {
		out = append(out, tokenCase{name: string(alg), path: "/any", header: bearer(sign(t, key, alg, string(alg), with())), backend: "one"})
	}
	return append(out, tokenCase{name: "EdDSA", path: "/any", header: bearer(sign(t, s.ed, jose.EdDSA, "ed", with())), backend: "one"})
}

// critical is a token with a header that must be understood.
func critical(t *testing.T, key crypto.Signer, c claims) string {
	t.Helper()
	o := (&jose.SignerOptions{}).WithHeader("kid", "r").WithHeader("crit", []string{"x"}).WithHeader("x", 1)
	return signed(t, jose.SigningKey{Algorithm: jose.RS256, Key: key}, o, c)
}

// checkTokens sends every case, twice: a token that is known is treated as one that
// is not.
func (e *edge) checkTokens(t *testing.T, native bool, cases []tokenCase) {
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", e.port))
	}}}
	t.Cleanup(client.CloseIdleConnections)
	for _, c := range slices.Concat(cases, cases) {
		if c.native != "" && !native {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			rq, err := http.NewRequestWithContext(t.Context(), cmp.Or(c.method, http.MethodGet), "http://a.example"+c.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			maps.Copy(rq.Header, c.header)
			resp, err := client.Do(rq)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close() //nolint:errcheck // read to its end
			b, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			var seen echo
			_ = json.Unmarshal(b, &seen) // refusals are no JSON
			if resp.StatusCode != cmp.Or(c.status, 200) {
				t.Errorf("status %d: %s", resp.StatusCode, b)
			}
			if !native {
				c.body = cmp.Or(c.envoy, c.body)
			}
			if c.status != 0 && string(b) != c.body {
				t.Errorf("body %q, want %q", b, c.body)
			}
			challenge := ""
			if c.status == 401 || c.body == "Audiences in Jwt are not allowed" {
				path, _, _ := strings.Cut(c.path, "?")
				challenge = `Bearer realm="http://a.example` + path + `", error="invalid_token"`
			}
			if got := resp.Header.Get("Www-Authenticate"); got != challenge {
				t.Errorf("challenge %q, want %q", got, challenge)
			}
			if seen.Backend != c.backend {
				t.Errorf("answered by %q", seen.Backend)
			}
			for name, want := range c.sees {
				if got := seen.Headers.Get(name); got != want {
					t.Errorf("the backend sees %s: %s, want %q", name, got, want)
				}
			}
			if c.seesPath != "" && seen.Path != c.seesPath {
				t.Errorf("the backend sees path %s", seen.Path)
			}
		})
	}
	t.Run("log", func(t *testing.T) {
		for _, want := range []string{
			"401 - jwt_authn_access_denied{Jwt_is_expired} -", "403 - jwt_authn_access_denied{Audiences_in_Jwt_are_not_allowed} -", "200 - via_upstream user",
		} {
			wait.For(t, time.Minute, "the log line", func() error {
				b, err := os.ReadFile(e.log)
				if err != nil {
					return err
				}
				if !slices.Contains(strings.Split(string(b), "\n"), want) {
					return fmt.Errorf("no line %q in\n%s", want, b)
				}
				return nil
			})
		}
	})
}

func newTokenEdge(t *testing.T, d mesh.Dialect, s *issuers) *edge {
	t.Helper()
	return newEdge(t, d, "tokens.yaml", filepath.Join(t.TempDir(), "log"), s.keySets(t)...)
}

// Tokens, by real requests through the native proxy.
func TestTokensThroughNativeProxy(t *testing.T) {
	t.Parallel()
	s := newIssuers(t)
	e := newTokenEdge(t, mesh.DialectNative, s)
	e.runNative(t)
	e.checkTokens(t, true, s.cases(t))
}

// And through a stock Envoy: the same requests, the same answers.
func TestTokensThroughStockEnvoy(t *testing.T) {
	t.Parallel()
	stockenvoy.Find(t)
	s := newIssuers(t)
	e := newTokenEdge(t, mesh.DialectEnvoy, s)
	e.runEnvoy(t)
	e.checkTokens(t, false, s.cases(t))
}
