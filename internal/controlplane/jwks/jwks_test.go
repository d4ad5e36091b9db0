package jwks_test

import (
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/meshctl/meshctl/internal/collection"
	"github.com/meshctl/meshctl/internal/controlplane/jwks"
	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/testenv/wait"
)

// rig is a fetcher with the graph around it.
type rig struct {
	sources *collection.Input[*mesh.KeySource]
	sets    *collection.Input[*mesh.KeySet]
}

func start(t *testing.T, o jwks.Options, sources ...*mesh.KeySource) *rig {
	t.Helper()
	g := collection.NewGraph(collection.Options{})
	r := &rig{collection.NewInput[*mesh.KeySource](g, "sources"), collection.NewInput[*mesh.KeySet](g, "sets")}
	r.sources.Set(sources...)
	o.Retry = 5 * time.Millisecond
	f := jwks.New(o, r.sources, r.sets)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 2)
	go func() { done <- g.Run(ctx) }()
	go func() { done <- f.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
	return r
}

// until waits for what is known of a source.
func (r *rig) until(t *testing.T, source, what string, check func(*mesh.KeySet) bool) {
	t.Helper()
	wait.For(t, time.Minute, what, func() error {
		set, ok := r.sets.Get(source)
		if !ok {
			return errors.New("nothing is known")
		}
		if !check(set) {
			return fmt.Errorf("%+v", *set)
		}
		return nil
	})
}

// keySet is a set with one key, which id tells apart from others.
func keySet(id byte) string {
	k := ed25519.NewKeyFromSeed([]byte(strings.Repeat(string(rune('a'+id)), ed25519.SeedSize)))
	b, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: k.Public(), KeyID: string(rune('a' + id)), Algorithm: "EdDSA"}}})
	if err != nil {
		panic(err)
	}
	return string(b)
}

// issuer is a server whose answer can be changed.
type issuer struct {
	*httptest.Server
	answer atomic.Pointer[string] // "" is a failure
	asked  atomic.Int32
}

func newIssuer(t *testing.T, tls bool) *issuer {
	t.Helper()
	s := &issuer{}
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked.Add(1)
		switch r.URL.Path {
		case "/.well-known/openid-configuration":
			_, _ = fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q}`, s.URL, s.URL+"/keys")
		case "/else/.well-known/openid-configuration":
			_, _ = fmt.Fprintf(w, `{"issuer":"https://other.example","jwks_uri":%q}`, s.URL+"/keys")
		case "/moved":
			http.Redirect(w, r, "/keys", http.StatusFound)
		case "/around":
			http.Redirect(w, r, "/around", http.StatusFound)
		case "/file":
			http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
		case "/large":
			_, _ = w.Write([]byte(strings.Repeat(" ", 2<<20)))
		case "/never":
			<-r.Context().Done()
		case "/text":
			_, _ = w.Write([]byte("keys"))
		default:
			a := s.answer.Load()
			if a == nil || *a == "" {
				http.Error(w, "away", http.StatusServiceUnavailable)
				return
			}
			_, _ = w.Write([]byte(*a))
		}
	})
	if tls {
		s.Server = httptest.NewTLSServer(h)
	} else {
		s.Server = httptest.NewServer(h)
	}
	t.Cleanup(s.Close)
	return s
}

func (s *issuer) say(answer string) { s.answer.Store(&answer) }

// The life of a key set: not there yet, there, replaced, kept while the issuer is
// away, and withdrawn.
func TestKeysFollowTheIssuer(t *testing.T) {
	t.Parallel()
	s := newIssuer(t, false)
	uri := s.URL + "/keys"
	r := start(t, jwks.Options{Refresh: 5 * time.Millisecond}, &mesh.KeySource{URI: uri})
	r.until(t, uri, "the failure", func(k *mesh.KeySet) bool { return k.Keys == "" && k.Problem == "the server answers 503" })
	s.say(keySet(0))
	r.until(t, uri, "the first keys", func(k *mesh.KeySet) bool { return k.Keys == keySet(0) && k.Problem == "" })
	s.say(keySet(1))
	r.until(t, uri, "the next keys", func(k *mesh.KeySet) bool { return k.Keys == keySet(1) && k.Problem == "" })
	s.say("")
	r.until(t, uri, "the last good keys", func(k *mesh.KeySet) bool { return k.Keys == keySet(1) && k.Problem != "" })
	s.say(`{"keys":[]}`)
	r.until(t, uri, "the end of the keys", func(k *mesh.KeySet) bool { return k.Keys == "" && strings.Contains(k.Problem, "no keys") })
	s.say(keySet(2))
	r.until(t, uri, "new keys", func(k *mesh.KeySet) bool { return k.Keys == keySet(2) && k.Problem == "" })
	r.sources.Delete(uri)
	wait.For(t, time.Minute, "the end of it", func() error {
		if _, ok := r.sets.Get(uri); ok {
			return errors.New("it is still there")
		}
		return nil
	})
}

func TestKeysOverTLS(t *testing.T) {
	t.Parallel()
	s := newIssuer(t, true)
	s.say(keySet(0))
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	r := start(t, jwks.Options{Roots: roots}, &mesh.KeySource{URI: s.URL + "/keys"}, &mesh.KeySource{Issuer: s.URL}, &mesh.KeySource{Issuer: s.URL + "/else"})
	r.until(t, s.URL+"/keys", "the keys", func(k *mesh.KeySet) bool { return k.Keys == keySet(0) })
	r.until(t, "issuer "+s.URL, "the keys by discovery", func(k *mesh.KeySet) bool { return k.Keys == keySet(0) })
	r.until(t, "issuer "+s.URL+"/else", "the refusal of another's metadata", func(k *mesh.KeySet) bool {
		return k.Keys == "" && strings.Contains(k.Problem, "other.example")
	})
	file := filepath.Join(t.TempDir(), "extra.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	extra, err := jwks.ReadRoots(file)
	if err != nil {
		t.Fatal(err)
	}
	private := start(t, jwks.Options{Roots: extra}, &mesh.KeySource{URI: s.URL + "/keys"})
	private.until(t, s.URL+"/keys", "the keys by roots of a file", func(k *mesh.KeySet) bool { return k.Keys == keySet(0) })
	for _, bad := range []string{filepath.Join(t.TempDir(), "none.pem"), os.DevNull} {
		if _, err := jwks.ReadRoots(bad); err == nil {
			t.Errorf("%s was taken for roots", bad)
		}
	}
	stranger := start(t, jwks.Options{}, &mesh.KeySource{URI: s.URL + "/keys"})
	stranger.until(t, s.URL+"/keys", "the refusal of the certificate", func(k *mesh.KeySet) bool { return k.Keys == "" && strings.Contains(k.Problem, "certificate") })
}

// What a server, or whoever names one, may not do.
func TestWhatIsRefused(t *testing.T) {
	t.Parallel()
	s := newIssuer(t, false)
	s.say(keySet(0))
	for path, want := range map[string]string{
		"/around": "too many redirects", "/file": "not followed", "/large": "larger than", "/text": "no key set", "/never": "no answer in time",
	} {
		r := start(t, jwks.Options{}, &mesh.KeySource{URI: s.URL + path, Timeout: 500 * time.Millisecond})
		r.until(t, s.URL+path, path, func(k *mesh.KeySet) bool { return k.Keys == "" && strings.Contains(k.Problem, want) })
	}
	for _, uri := range []string{"file:///etc/passwd", "gopher://127.0.0.1/", "http://"} {
		r := start(t, jwks.Options{}, &mesh.KeySource{URI: uri})
		r.until(t, uri, uri, func(k *mesh.KeySet) bool { return k.Keys == "" && strings.Contains(k.Problem, "not http or https") })
	}
	r := start(t, jwks.Options{}, &mesh.KeySource{URI: s.URL + "/moved"})
	r.until(t, s.URL+"/moved", "what a redirect leads to", func(k *mesh.KeySet) bool { return k.Keys == keySet(0) })
}

// A name that leads to a blocked address is refused like the address itself, and
// nothing is sent there.
func TestBlockedRanges(t *testing.T) {
	t.Parallel()
	s := newIssuer(t, false)
	s.say(keySet(0))
	named := strings.Replace(s.URL, "127.0.0.1", "localhost", 1)
	for _, uri := range []string{s.URL, named, strings.Replace(s.URL, "127.0.0.1", "[::ffff:127.0.0.1]", 1)} {
		r := start(t, jwks.Options{Blocked: jwks.Loopback()}, &mesh.KeySource{URI: uri})
		r.until(t, uri, uri, func(k *mesh.KeySet) bool {
			return k.Keys == "" && strings.Contains(k.Problem, "BLOCKED_CIDRS_IN_JWKS_URIS")
		})
	}
	if n := s.asked.Load(); n != 0 {
		t.Errorf("it was asked %d times", n)
	}
}

func TestParseRanges(t *testing.T) {
	t.Parallel()
	got, err := jwks.ParseRanges(" 10.1.2.3/8, fd00::/8 ,")
	if err != nil || len(got) != 2 || got[0] != netip.MustParsePrefix("10.0.0.0/8") {
		t.Errorf("%v %v", got, err)
	}
	if _, err := jwks.ParseRanges("10.0.0.0"); err == nil {
		t.Error("an address was taken for a range")
	}
}
