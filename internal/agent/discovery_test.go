package agent

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	securityv1alpha1 "istio.io/api/security/v1alpha1"

	"github.com/meshctl/meshctl/internal/identity"
)

var seller = identity.ID{TrustDomain: "cluster.local", Namespace: "default", ServiceAccount: "seller"}

// workload is a certificate that a CA has made out for an hour, some time ago.
func workload(t *testing.T, ca *identity.CA) *identity.Workload {
	t.Helper()
	_, key, csr, err := identity.NewKeyAndCSR(seller)
	if err != nil {
		t.Fatal(err)
	}
	chain, err := identity.LocalSigner{CA: ca, ID: seller}.SignCSR(t.Context(), csr, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := tls.X509KeyPair([]byte(chain[0]), key)
	if err != nil {
		t.Fatal(err)
	}
	return &identity.Workload{Cert: &cert, ID: seller, NotAfter: cert.Leaf.NotAfter}
}

// authority serves certificates to whoever has a token, or a certificate that it
// believes, and returns where.
func authority(t *testing.T, ca *identity.CA, tokens *identity.TokenIssuer) string {
	t.Helper()
	server := identity.LocalSigner{CA: ca, ID: seller, DNSNames: []string{discoveryName}}
	_, key, csr, err := identity.NewKeyAndCSR(seller)
	if err != nil {
		t.Fatal(err)
	}
	chain, err := server.SignCSR(t.Context(), csr, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	w, err := identity.NewWorkload(chain, key)
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(grpc.Creds(credentials.NewTLS(&tls.Config{
		Certificates: []tls.Certificate{*w.Cert}, ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: w.Roots, MinVersion: tls.VersionTLS12,
	})))
	securityv1alpha1.RegisterIstioCertificateServiceServer(s, &identity.Service{CA: ca, Logger: slog.New(slog.DiscardHandler), Authn: identity.Authenticators{
		identity.TokenAuthenticator{Verifier: tokens, TrustDomain: seller.TrustDomain}, identity.CertAuthenticator{TrustDomains: []string{seller.TrustDomain}},
	}})
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = s.Serve(ln) }()
	t.Cleanup(s.Stop)
	return ln.Addr().String()
}

// A workload whose certificate had expired showed it, the handshake failed, and it
// never got another; likewise one whose authority had been replaced by another. It has
// a token to say who it is.
func TestCertificateOfNoUseIsNotShownBesideAToken(t *testing.T) {
	t.Parallel()
	ca, err := identity.NewSelfSignedCA(identity.CAOptions{})
	if err != nil {
		t.Fatal(err)
	}
	files, err := ca.Files()
	if err != nil {
		t.Fatal(err)
	}
	past, err := identity.NewSelfSignedCA(identity.CAOptions{Now: func() time.Time { return time.Now().Add(-2 * time.Hour) }})
	if err != nil {
		t.Fatal(err)
	}
	tokens, err := identity.NewTokenIssuer(nil)
	if err != nil {
		t.Fatal(err)
	}
	token, err := tokens.Issue("default", "seller", "seller-1", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	s := Settings{CAAddress: authority(t, ca, tokens), RootCertFile: filepath.Join(dir, "root"), TokenFile: filepath.Join(dir, "token"), ServerName: discoveryName}
	if err := errors.Join(os.WriteFile(s.RootCertFile, files.Roots, 0o600), os.WriteFile(s.TokenFile, []byte(token), 0o600)); err != nil {
		t.Fatal(err)
	}
	stranger, err := identity.NewSelfSignedCA(identity.CAOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for name, old := range map[string]*identity.Workload{"expired": workload(t, past), "of another authority": workload(t, stranger)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := &discovery{s: s, keeper: &identity.Keeper{}}
			d.keeper.Adopt(old)
			_, key, csr, err := identity.NewKeyAndCSR(seller)
			if err != nil {
				t.Fatal(err)
			}
			chain, err := signer{d}.SignCSR(t.Context(), csr, time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			if w, err := identity.NewWorkload(chain, key); err != nil || w.ID != seller {
				t.Errorf("got %+v, %v", w, err)
			}
		})
	}
}
