package jwt

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/meshctl/meshctl/internal/proxy/header"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// issuer signs tokens.
type issuer struct {
	key *rsa.PrivateKey
	set []byte
}

func newIssuer(t testing.TB) *issuer {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: k.Public(), KeyID: "k"}}})
	if err != nil {
		t.Fatal(err)
	}
	return &issuer{k, set}
}

func (i *issuer) sign(t testing.TB, claims map[string]any) string {
	t.Helper()
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: i.key}, (&jose.SignerOptions{}).WithHeader("kid", "k"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(claims)
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

func request(fields ...string) *header.List {
	h := &header.List{}
	h.AddIDString(header.Path, "/")
	for i := 0; i < len(fields); i += 2 {
		h.AddName(fields[i], []byte(fields[i+1]))
	}
	return h
}

// optional is the requirement that a RequestAuthentication becomes.
func optional(providers ...string) *snapshot.JWTRequirement {
	out := &snapshot.JWTRequirement{Kind: snapshot.JWTAny}
	for _, p := range providers {
		out.Subs = append(out.Subs, &snapshot.JWTRequirement{Provider: p})
	}
	out.Subs = append(out.Subs, &snapshot.JWTRequirement{Kind: snapshot.JWTAllowMissing})
	return out
}

var now = time.Unix(1_800_000_000, 0)

// A token that is known is still looked at: it expires, and is that of one issuer.
func TestKnownTokens(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	c := New(&snapshot.JWT{Providers: []snapshot.JWTProvider{{Name: "a", Issuer: "a", JWKS: i.set, ClockSkew: time.Minute, PayloadMetadata: "payload"}}})
	verified := 0
	c.Signed = func(t *Token, k *Keys) Status { verified++; return k.Verify(t) }
	raw := i.sign(t, map[string]any{"iss": "a", "sub": "x", "exp": now.Unix() + 10})
	for at, want := range map[time.Duration]Status{0: OK, 69 * time.Second: OK, 71 * time.Second: Expired} {
		for range 3 {
			if r := c.Check(optional("a"), request("authorization", "Bearer "+raw), now.Add(at)); r.Status != want {
				t.Errorf("after %s: %v, want %v", at, r.Status, want)
			}
		}
	}
	if verified != 1 {
		t.Errorf("the signature was verified %d times", verified)
	}
	// Another set of keys is another checker, which knows nothing.
	if r := New(&snapshot.JWT{Providers: []snapshot.JWTProvider{{Name: "a", Issuer: "a", JWKS: newIssuer(t).set}}}).Check(optional("a"), request("authorization", "Bearer "+raw), now); r.Status != VerificationFails {
		t.Errorf("with other keys: %v", r.Status)
	}
}

// The cache is bounded, and forgets what is not used.
func TestTheCacheIsBounded(t *testing.T) {
	t.Parallel()
	var c cache
	v := &verified{}
	c.put("used", v)
	for i := range 10 * cacheHalf {
		c.put(string(rune(i)), v)
		if c.get("used") == nil {
			t.Fatalf("what is used was forgotten after %d", i)
		}
		if n := len(c.young) + len(c.old); n > 2*cacheHalf {
			t.Fatalf("there are %d tokens", n)
		}
	}
	if c.get(string(rune(1))) != nil {
		t.Error("what is not used was kept")
	}
	if c.put(strings.Repeat("x", maxCached+1), v); c.get(strings.Repeat("x", maxCached+1)) != nil {
		t.Error("a large token was kept")
	}
}

// A good token of one issuer does not make up for a bad one in the same place, and
// the requirement of Istio's shape tells issuers in one place apart.
func TestSeveralIssuers(t *testing.T) {
	t.Parallel()
	a, b := newIssuer(t), newIssuer(t)
	c := New(&snapshot.JWT{Providers: []snapshot.JWTProvider{
		{Name: "a", Issuer: "a", JWKS: a.set, PayloadMetadata: "payload"}, {Name: "b", Issuer: "b", JWKS: b.set, PayloadMetadata: "payload"},
	}})
	all := &snapshot.JWTRequirement{Kind: snapshot.JWTAll, Subs: []*snapshot.JWTRequirement{optional("a"), optional("b")}}
	require := &snapshot.JWTRequirement{Kind: snapshot.JWTAny, Subs: []*snapshot.JWTRequirement{{Provider: "a"}, {Provider: "b"}, all}}
	good, other := "Bearer "+a.sign(t, map[string]any{"iss": "a", "sub": "x"}), "Bearer "+b.sign(t, map[string]any{"iss": "b", "sub": "y"})
	forged := "Bearer " + b.sign(t, map[string]any{"iss": "a", "sub": "x"})
	for _, x := range []struct {
		name   string
		tokens []string
		want   Status
		sub    string
	}{
		{"none", nil, OK, ""},
		{"a's", []string{good}, OK, "x"},
		{"b's", []string{other}, OK, "y"},
		{"forged", []string{forged}, VerificationFails, ""},
		{"a good one and a forged one", []string{good, forged}, VerificationFails, ""},
		{"a good one of each in one place", []string{good, other}, UnknownIssuer, ""},
	} {
		var fields []string
		for _, raw := range x.tokens {
			fields = append(fields, "authorization", raw)
		}
		r := c.Check(require, request(fields...), now)
		sub := ""
		if m, ok := r.Metadata["payload"].(map[string]any); ok {
			sub, _ = m["sub"].(string)
		}
		if r.Status != x.want || sub != x.sub {
			t.Errorf("%s: %v, sub %q", x.name, r.Status, sub)
		}
	}
}

// Bad tokens that are allowed are worth nothing.
func TestFailedTokensAreWorthNothing(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	c := New(&snapshot.JWT{Providers: []snapshot.JWTProvider{{Name: "a", Issuer: "a", JWKS: i.set, PayloadMetadata: "payload", ForwardPayload: "x-payload"}}})
	h := request("authorization", "Bearer "+newIssuer(t).sign(t, map[string]any{"iss": "a", "sub": "x"}), "x-payload", "forged")
	c.Sanitize(h)
	r := c.Check(&snapshot.JWTRequirement{Kind: snapshot.JWTAllowMissingOrFailed}, h, now)
	r.Apply(h)
	if r.Status != OK || r.Metadata != nil || h.GetName("x-payload") != nil || h.Get(header.Authorization) == nil {
		t.Errorf("%v %v %q", r.Status, r.Metadata, h.GetName("x-payload"))
	}
}

// What a claim says must not become two headers.
func TestClaimsAreNoHeaders(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	c := New(&snapshot.JWT{Providers: []snapshot.JWTProvider{{Name: "a", Issuer: "a", JWKS: i.set, ClaimHeaders: []snapshot.JWTClaimHeader{{Header: "x-sub", Claim: "sub"}}}}})
	for _, sub := range []string{"x\r\nx-admin: 1", "x\ny", "x\x00", "x\x7f"} {
		h := request("authorization", "Bearer "+i.sign(t, map[string]any{"iss": "a", "sub": sub}))
		r := c.Check(optional("a"), h, now)
		r.Apply(h)
		if r.Status != OK || h.GetName("x-sub") != nil {
			t.Errorf("%q: %v %q", sub, r.Status, h.GetName("x-sub"))
		}
	}
}

func TestLargeTokensAreNotRead(t *testing.T) {
	t.Parallel()
	if _, s := Parse(strings.Repeat("a", maxToken) + ".b.c"); s != TooLarge {
		t.Error(s)
	}
}

// FuzzParse: whatever is sent, a token is read or refused, and its claims are those
// of its second part.
func FuzzParse(f *testing.F) {
	f.Add("eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJhIn0.eA")
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	f.Add("..")
	f.Add("e30.e30.e30")
	f.Fuzz(func(t *testing.T, raw string) {
		p, s := Parse(raw)
		if (p == nil) == (s == OK) || s.String() == "" {
			t.Fatalf("%v %v", p, s)
		}
		if p == nil {
			return
		}
		if !supported(p.alg) || strings.Count(raw, ".") != 2 {
			t.Fatalf("algorithm %q of %q", p.alg, raw)
		}
		part, err := base64.RawURLEncoding.DecodeString(strings.Split(raw, ".")[1])
		if err != nil || !json.Valid(part) {
			t.Fatalf("payload %q: %v", part, err)
		}
	})
}

// FuzzFind: tokens are found in any request, and taken away.
func FuzzFind(f *testing.F) {
	f.Add("Bearer a.b.c", "/?token=a.b.c&x", "session=\"a.b.c\"; x")
	f.Add("bearer", "/?token", "session")
	f.Add("", "/?%zz=1&&token=%41+", "=;;session=")
	at := places(&snapshot.JWTProvider{FromHeaders: []snapshot.JWTHeader{{Name: "authorization", Prefix: "Bearer "}}, FromParams: []string{"token"}, FromCookies: []string{"session"}})
	f.Fuzz(func(t *testing.T, authorization, path, cookie string) {
		h := &header.List{}
		h.AddIDString(header.Path, path)
		h.AddName("authorization", []byte(authorization))
		h.AddName("cookie", []byte(cookie))
		for _, x := range find(at, h) {
			x.at.remove(h)
		}
		for _, x := range find(at, h) {
			if x.at.cookie == "" {
				t.Fatalf("%q is still at %+v", x.raw, *x.at)
			}
		}
	})
}

func BenchmarkCheck(b *testing.B) {
	i := newIssuer(b)
	raw := i.sign(b, map[string]any{"iss": "a", "sub": "x", "groups": []string{"a", "b"}, "exp": now.Unix() + 1000})
	c := New(&snapshot.JWT{Providers: []snapshot.JWTProvider{{Name: "a", Issuer: "a", JWKS: i.set, PayloadMetadata: "payload"}}})
	h := request("authorization", "Bearer "+raw)
	require := optional("a")
	b.Run("known", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if r := c.Check(require, h, now); r.Status != OK {
				b.Fatal(r.Status)
			}
		}
	})
	b.Run("new", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			c.providers["a"].cache = cache{}
			if r := c.Check(require, h, now); r.Status != OK {
				b.Fatal(r.Status)
			}
		}
	})
}
