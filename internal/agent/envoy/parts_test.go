package envoy

import (
	"bytes"
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	secretv3 "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/meshctl/meshctl/internal/identity"
	"github.com/meshctl/meshctl/internal/testenv/leak"
	"github.com/meshctl/meshctl/internal/testenv/stockenvoy"
)

func TestMain(m *testing.M) { leak.Main(m) }

func clientConfig(as *identity.Workload) *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{*as.Cert}, RootCAs: as.Roots, ServerName: "hello", MinVersion: tls.VersionTLS13,
	}
}

// Envoy itself says that it could begin with what is written.
func TestBootstrapIsValid(t *testing.T) {
	t.Parallel()
	program := stockenvoy.Find(t)
	o := Options{
		Node: &corev3.Node{Id: "sidecar~10.0.0.1~p.default~default.svc.cluster.local", Cluster: "p.default"}, Admin: netip.MustParseAddrPort("127.0.0.1:15000"),
		Mark: 1337, Stats: Stats{Prefixes: []string{"cluster.outbound"}, Suffixes: []string{"upstream_rq_retry"}, Regexps: []string{"listener.*"}},
		DrainTime: 5 * time.Second, ComponentLevels: map[string]string{"upstream": "debug", "misc": "error"},
	}
	text, err := o.bootstrap("/run/agent.sock")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "bootstrap.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), program, append(o.arguments(file), "--mode", "validate")...).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "OK") {
		t.Errorf("%v\n%s", err, out)
	}
	if strings.Contains(string(out), "warning") || strings.Contains(string(out), "eprecated") {
		t.Errorf("Envoy warns:\n%s", out)
	}
}

func TestLinesKeepTheirLevel(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	log := slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{Level: slog.LevelDebug - 8, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
	passOn(strings.NewReader("warning config it is so\ntrace main x\nerror: no such option\n\ncritical backtrace Caught Segmentation fault\nno newline"), log, func() bool { return false })
	const want = `level=WARN msg="it is so" logger=config
level=DEBUG-4 msg=x logger=main
level=WARN msg="error: no such option"
level=ERROR+4 msg="Caught Segmentation fault" logger=backtrace
level=WARN msg="no newline"
`
	if b.String() != want {
		t.Errorf("got:\n%s", &b)
	}
	b.Reset()
	passOn(strings.NewReader("warning main caught SIGTERM\nerror main no\n"), log, func() bool { return true })
	if want := "level=DEBUG msg=\"caught SIGTERM\" logger=main\nlevel=ERROR msg=no logger=main\n"; b.String() != want {
		t.Errorf("while it ends:\n%s", &b)
	}
}

func TestMeshMetricsHaveTheMeshsNames(t *testing.T) {
	t.Parallel()
	long := "envoy_istio_requests_total{x=\"" + strings.Repeat("envoy_istio_", 1000) + "\"} 3\n"
	var b bytes.Buffer
	if err := rename(&b, strings.NewReader("# TYPE envoy_istio_requests_total counter\nenvoy_istio_requests_total{} 1\nenvoy_server_live 1\n"+long+"last 1")); err != nil {
		t.Fatal(err)
	}
	if want := "# TYPE istio_requests_total counter\nistio_requests_total{} 1\nenvoy_server_live 1\n" + long[len("envoy_"):] + "last 1"; b.String() != want {
		t.Errorf("got %.300s", &b)
	}
}

func TestWhatCannotBeStarted(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for program, want := range map[string]string{text: "is not an executable file", dir: "is not an executable file", filepath.Join(dir, "no"): "no such file"} {
		if _, err := New(Options{Program: program, Logger: slog.New(slog.DiscardHandler)}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", program, err)
		}
	}
	p, err := New(Options{Program: "/proc/self/exe", Dir: filepath.Join(dir, strings.Repeat("long", 30)), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "the kernel takes 107") {
		t.Errorf("a long path: %v", err)
	}
}

// secretStream serves secrets and gives a client's stream.
func secretStream(t *testing.T, s *secrets) secretv3.SecretDiscoveryService_StreamSecretsClient {
	t.Helper()
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	secretv3.RegisterSecretDiscoveryServiceServer(server, s)
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(ln) }()
	conn, err := grpc.NewClient("passthrough:///"+ln.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(); server.Stop(); <-done })
	ctx, cancel := context.WithTimeout(t.Context(), enough)
	t.Cleanup(cancel)
	stream, err := secretv3.NewSecretDiscoveryServiceClient(conn).StreamSecrets(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

func TestSecretsAreSentWhenTheyChange(t *testing.T) {
	t.Parallel()
	s := newSecrets(slog.New(slog.DiscardHandler))
	stream := secretStream(t, s)
	ask := func(nonce string) {
		t.Helper()
		if err := stream.Send(&discoveryv3.DiscoveryRequest{ResourceNames: []string{secretCert}, TypeUrl: secretType, ResponseNonce: nonce}); err != nil {
			t.Fatal(err)
		}
	}
	ca := authority(t)
	ask("")
	for range 3 {
		w := workload(t, ca)
		if err := s.set(w); err != nil {
			t.Fatal(err)
		}
		r, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		var got tlsv3.Secret
		if err := r.GetResources()[0].UnmarshalTo(&got); err != nil {
			t.Fatal(err)
		}
		if c := got.GetTlsCertificate(); len(r.GetResources()) != 1 || !bytes.Equal(c.GetCertificateChain().GetInlineBytes(), w.ChainPEM) || !bytes.Equal(c.GetPrivateKey().GetInlineBytes(), w.KeyPEM) {
			t.Errorf("got %d secrets, the first %s", len(r.GetResources()), got.GetName())
		}
		ask(r.GetNonce()) // an acknowledgement is not answered
	}
}

func TestOtherSecretsAreNotHere(t *testing.T) {
	t.Parallel()
	stream := secretStream(t, newSecrets(slog.New(slog.DiscardHandler)))
	if err := stream.Send(&discoveryv3.DiscoveryRequest{ResourceNames: []string{"kubernetes://shop"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); status.Code(err) != codes.NotFound {
		t.Errorf("got %v", err)
	}
}
