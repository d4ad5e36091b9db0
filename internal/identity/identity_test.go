package identity

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	securityv1alpha1 "istio.io/api/security/v1alpha1"
	"pgregory.net/rapid"
)

var reviews = ID{"cluster.local", "default", "bookinfo-reviews"}

func newCA(t *testing.T) *CA {
	t.Helper()
	ca, err := NewSelfSignedCA(CAOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func TestIDsRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		seg := rapid.StringMatching(`[a-z0-9]([-a-z0-9.]{0,20}[a-z0-9])?`)
		id := ID{seg.Draw(t, "td"), seg.Draw(t, "ns"), seg.Draw(t, "sa")}
		got, err := ParseID(id.String())
		if err != nil || got != id || id.URL().String() != id.String() {
			t.Fatalf("%v: got %v, %v", id, got, err)
		}
	})
	for _, s := range []string{
		"", "spiffe://", "spiffe://td/ns/a/sa/", "spiffe://td/ns/../sa/x", "https://td/ns/a/sa/b",
		"spiffe://td/ns/a/sa/b/c", "spiffe://td/ns/a b/sa/c", "spiffe://td/ns/a/sa/b?x", "spiffe://" + strings.Repeat("a", 3000),
	} {
		if id, err := ParseID(s); err == nil {
			t.Errorf("ParseID(%q) = %v, want an error", s, id)
		}
	}
}

func TestSignedCertificateLeadsToTheRoot(t *testing.T) {
	t.Parallel()
	ca := newCA(t)
	_, key, csr, err := NewKeyAndCSR(reviews)
	if err != nil {
		t.Fatal(err)
	}
	chain, err := LocalSigner{CA: ca, ID: reviews}.SignCSR(t.Context(), csr, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	w, err := NewWorkload(chain, key)
	if err != nil {
		t.Fatal(err)
	}
	if w.ID != reviews {
		t.Errorf("identity %v, want %v", w.ID, reviews)
	}
	if life := w.NotAfter.Sub(w.NotBefore); life < time.Hour || life > time.Hour+clockSkew+time.Second {
		t.Errorf("lifetime %v", life)
	}
	other, err := NewSelfSignedCA(CAOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewWorkload([]string{chain[0], string(other.Roots())}, key); err == nil {
		t.Error("a certificate with a foreign root was accepted")
	}
}

func TestCAIsKeptAndReloaded(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "ca")
	a, err := LoadOrCreateCA(dir, CAOptions{})
	if err != nil {
		t.Fatal(err)
	}
	b, err := LoadOrCreateCA(dir, CAOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if string(a.Roots()) != string(b.Roots()) {
		t.Error("reloading made another root")
	}
	st, err := os.Stat(filepath.Join(dir, "ca-key.pem"))
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("key file mode %v, %v", st.Mode(), err)
	}
	// A key that belongs to another certificate is refused.
	other := filepath.Join(t.TempDir(), "other")
	if _, err := LoadOrCreateCA(other, CAOptions{}); err != nil {
		t.Fatal(err)
	}
	k, err := os.ReadFile(filepath.Join(other, "ca-key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "ca-key.pem"), k, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadOrCreateCA(dir, CAOptions{}); err == nil || !strings.Contains(err.Error(), "does not belong") {
		t.Errorf("a foreign key was accepted: %v", err)
	}
}

func TestRefusedSignRequests(t *testing.T) {
	t.Parallel()
	ca := newCA(t)
	key, _, _, err := NewKeyAndCSR(reviews)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ca.Sign(SignRequest{PublicKey: key.Public()}); err == nil {
		t.Error("a certificate without a name was signed")
	}
	if _, err := ca.Sign(SignRequest{PublicKey: key.Public(), URIs: []*url.URL{reviews.URL()}, TTL: MaxCertTTL + time.Hour}); err == nil {
		t.Error("a lifetime beyond the limit was signed")
	}
	for name, csr := range map[string][]byte{
		"not PEM":       []byte("hello"),
		"oversized":     make([]byte, maxCSRBytes+1),
		"a certificate": ca.Roots(),
		"garbage DER":   pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: []byte{1, 2, 3}}),
	} {
		if _, err := ParseCSR(csr); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestTokens(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	iss, err := NewTokenIssuer(func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	tok, err := iss.Issue("default", "sa1", "pod-1", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if ns, sa, pod, err := iss.Verify(tok); err != nil || ns != "default" || sa != "sa1" || pod != "pod-1" {
		t.Fatalf("Verify = %s %s %s %v", ns, sa, pod, err)
	}
	other, err := NewTokenIssuer(nil)
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := other.Issue("default", "sa1", "pod-1", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(tok, ".")
	for name, bad := range map[string]string{
		"foreign key": foreign, "empty": "", "two parts": parts[0] + "." + parts[1],
		"changed claims": parts[0] + "." + parts[1] + "A." + parts[2], "unsigned": parts[0] + "." + parts[1] + ".",
		"too long": strings.Repeat("a", maxTokenBytes+1),
	} {
		if _, _, _, err := iss.Verify(bad); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	now = now.Add(2 * time.Hour)
	if _, _, _, err := iss.Verify(tok); err == nil {
		t.Error("an expired token was accepted")
	}
}

// authority is a CSR service on loopback, as meshd runs it.
func authority(t *testing.T, ca *CA, iss *TokenIssuer) string {
	t.Helper()
	_, key, csr, err := NewKeyAndCSR(ID{})
	if err != nil {
		t.Fatal(err)
	}
	istiod := ID{"cluster.local", "istio-system", "istiod"}
	chain, err := LocalSigner{CA: ca, ID: istiod, DNSNames: []string{"istiod.istio-system.svc"}}.SignCSR(t.Context(), csr, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	w, err := NewWorkload(chain, key)
	if err != nil {
		t.Fatal(err)
	}
	srv := grpc.NewServer(grpc.Creds(credentials.NewTLS(&tls.Config{
		Certificates: []tls.Certificate{*w.Cert}, ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: w.Roots, MinVersion: tls.VersionTLS12,
	})))
	securityv1alpha1.RegisterIstioCertificateServiceServer(srv, &Service{
		CA: ca, Logger: slog.New(slog.DiscardHandler),
		Authn: Authenticators{TokenAuthenticator{Verifier: iss, TrustDomain: "cluster.local"}, CertAuthenticator{TrustDomains: []string{"cluster.local"}}},
	})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = srv.Serve(ln) }()
	t.Cleanup(srv.Stop)
	return ln.Addr().String()
}

func dial(t *testing.T, addr string, roots []byte, cert *tls.Certificate) *grpc.ClientConn {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(roots)
	cfg := &tls.Config{RootCAs: pool, ServerName: "istiod.istio-system.svc", MinVersion: tls.VersionTLS12}
	if cert != nil {
		cfg.Certificates = []tls.Certificate{*cert}
	}
	c, err := grpc.NewClient(addr, grpc.WithTransportCredentials(credentials.NewTLS(cfg)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestCertificateServiceCertifiesOnlyTheCaller(t *testing.T) {
	t.Parallel()
	ca := newCA(t)
	iss, err := NewTokenIssuer(nil)
	if err != nil {
		t.Fatal(err)
	}
	addr := authority(t, ca, iss)
	tok, err := iss.Issue("default", "bookinfo-reviews", "reviews-1", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(tok+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}

	// The request asks for another's name; the certificate carries the caller's.
	_, key, csr, err := NewKeyAndCSR(ID{"cluster.local", "kube-system", "admin"})
	if err != nil {
		t.Fatal(err)
	}
	conn := dial(t, addr, ca.Roots(), nil)
	chain, err := Client{Conn: conn, TokenFile: file}.SignCSR(t.Context(), csr, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	w, err := NewWorkload(chain, key)
	if err != nil {
		t.Fatal(err)
	}
	if w.ID != reviews {
		t.Fatalf("certified %v, want the caller %v", w.ID, reviews)
	}

	// A certificate renews itself without a token.
	again := dial(t, addr, ca.Roots(), w.Cert)
	if _, err := (Client{Conn: again}).SignCSR(t.Context(), csr, time.Hour); err != nil {
		t.Errorf("renewal by certificate: %v", err)
	}

	// Nobody vouches: refused.
	if _, err := (Client{Conn: conn}).SignCSR(t.Context(), csr, time.Hour); status.Code(err) != codes.Unauthenticated {
		t.Errorf("without credentials: %v", err)
	}
	// A bad token next to a good certificate is refused, too.
	bad := filepath.Join(t.TempDir(), "bad")
	if err := os.WriteFile(bad, []byte("x.y.z"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := (Client{Conn: again, TokenFile: bad}).SignCSR(t.Context(), csr, time.Hour); status.Code(err) != codes.Unauthenticated {
		t.Errorf("with a bad token: %v", err)
	}
	// A certificate of a foreign authority does not even connect.
	stranger := newCA(t)
	_, skey, scsr, err := NewKeyAndCSR(reviews)
	if err != nil {
		t.Fatal(err)
	}
	schain, err := LocalSigner{CA: stranger, ID: reviews}.SignCSR(t.Context(), scsr, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	sw, err := NewWorkload(schain, skey)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (Client{Conn: dial(t, addr, ca.Roots(), sw.Cert)}).SignCSR(t.Context(), scsr, time.Hour); err == nil {
		t.Error("a foreign certificate was accepted")
	}
	// Plaintext to the TLS port gets nothing.
	plain, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = plain.Close() }()
	if _, err := (Client{Conn: plain, TokenFile: file}).SignCSR(t.Context(), csr, time.Hour); err == nil {
		t.Error("plaintext was served")
	}
}

type flakySigner struct {
	Signer
	fails int
}

func (f *flakySigner) SignCSR(ctx context.Context, csr []byte, ttl time.Duration) ([]string, error) {
	if f.fails > 0 {
		f.fails--
		return nil, errors.New("control plane away")
	}
	return f.Signer.SignCSR(ctx, csr, ttl)
}

func TestKeeperRenewsAndOutlivesFailures(t *testing.T) {
	t.Parallel()
	ca := newCA(t)
	k := &Keeper{
		Signer: &flakySigner{Signer: LocalSigner{CA: ca, ID: reviews}, fails: 2}, ID: reviews,
		TTL: 2 * time.Second, Logger: slog.New(slog.DiscardHandler), MinRetry: time.Millisecond, MaxRetry: 2 * time.Millisecond,
	}
	got := make(chan *Workload, 16)
	k.OnChange(func(w *Workload) { got <- w })
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- k.Run(ctx) }()
	first, second := <-got, <-got
	if first.Cert.Leaf.SerialNumber.Cmp(second.Cert.Leaf.SerialNumber) == 0 {
		t.Error("renewal gave the same certificate")
	}
	if !second.NotBefore.Before(first.NotAfter) {
		t.Error("renewed only after the old one had ended")
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Run = %v", err)
	}
	if k.Current() == nil {
		t.Error("no current certificate")
	}
}

func FuzzParseCSR(f *testing.F) {
	_, _, csr, err := NewKeyAndCSR(reviews)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(csr)
	f.Fuzz(func(_ *testing.T, data []byte) { _, _ = ParseCSR(data) })
}

func FuzzVerifyToken(f *testing.F) {
	iss, err := NewTokenIssuer(nil)
	if err != nil {
		f.Fatal(err)
	}
	tok, err := iss.Issue("a", "b", "c", time.Hour)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(tok)
	f.Fuzz(func(t *testing.T, s string) {
		if _, _, _, err := iss.Verify(s); err == nil && s != tok {
			t.Fatalf("accepted %q", s)
		}
	})
}
