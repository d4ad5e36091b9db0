package meshd

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	admissionv1 "k8s.io/api/admission/v1"

	"github.com/meshctl/meshctl/internal/resource/source/kube/kubetest"
)

// testCluster is an API server that a control plane can be started against.
type testCluster struct {
	*kubetest.API
	kubeconfig string
}

func newTestCluster(t *testing.T) *testCluster {
	t.Helper()
	c := &testCluster{API: kubetest.New(), kubeconfig: filepath.Join(t.TempDir(), "kubeconfig")}
	server := httptest.NewServer(c.API)
	t.Cleanup(server.Close)
	t.Cleanup(server.CloseClientConnections)
	text := fmt.Sprintf(`{"apiVersion":"v1","kind":"Config","current-context":"c","contexts":[{"name":"c","context":{"cluster":"c"}}],
		"clusters":[{"name":"c","cluster":{"server":%q}}]}`, server.URL)
	if err := os.WriteFile(c.kubeconfig, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c.Review(func(token string) (kubetest.Object, error) {
		account, pod, ok := strings.Cut(strings.TrimPrefix(strings.Split(token, ".")[2], "of-"), "-on-")
		if !ok {
			return kubetest.Object{"authenticated": false, "error": "not one of ours"}, nil
		}
		return kubetest.Object{"authenticated": true, "audiences": []any{"istio-ca"}, "user": kubetest.Object{
			"username": "system:serviceaccount:shop:" + account,
			"extra":    podExtra(pod),
		}}, nil
	})
	c.apply(t, `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"istio-system"}}`, injectorValues("default"), injectorValues("canary"))
	return c
}

// injectorValues is the ConfigMap of a revision with the values of injection.
func injectorValues(revision string) string {
	name := discoveryOptions{revision: revision}.revisioned(injectorConfigMap)
	return fmt.Sprintf(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"namespace":"istio-system","name":%q},"data":{"values":"{}"}}`, name)
}

// podExtra is what the API server says of a token that is bound to a pod.
func podExtra(pod string) kubetest.Object {
	if pod == "" {
		return kubetest.Object{}
	}
	return kubetest.Object{"authentication.kubernetes.io/pod-name": []any{pod}}
}

func (c *testCluster) apply(t *testing.T, objects ...string) {
	t.Helper()
	for _, o := range objects {
		if err := c.Apply(o); err != nil {
			t.Fatal(err)
		}
	}
}

// tokenOf makes a token that the cluster accepts.
func tokenOf(t *testing.T, account, pod string, audience any, expires time.Time) string {
	t.Helper()
	b, err := json.Marshal(map[string]any{"aud": audience, "exp": expires.Unix()})
	if err != nil {
		t.Fatal(err)
	}
	return "x." + base64.RawURLEncoding.EncodeToString(b) + ".of-" + account + "-on-" + pod
}

// replica is a control plane that runs.
type replica struct {
	o    discoveryOptions
	logs *logBuffer
	stop func() error
}

// start runs a control plane for the cluster.
func (c *testCluster) start(t *testing.T, edit func(*discoveryOptions)) *replica {
	t.Helper()
	return startReplica(t, c.kubeconfig, edit)
}

// startReplica runs a control plane until the test ends, or stop is called.
func startReplica(t *testing.T, kubeconfig string, edit func(*discoveryOptions)) *replica {
	t.Helper()
	o, err := parseDiscovery([]string{"--kubeconfig", kubeconfig, "--log-level", "debug"}, io.Discard, func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	o.secure, o.plain, o.webhook, o.monitoring, o.ready = freePort(t), freePort(t), freePort(t), freePort(t), freePort(t)
	o.drain = time.Millisecond
	o.pod = t.Name() + o.secure
	if edit != nil {
		edit(&o)
	}
	r := &replica{o: o, logs: &logBuffer{}}
	log, err := o.logger(r.logs)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- runDiscovery(ctx, o, log) }()
	r.stop = sync.OnceValue(func() error {
		cancel()
		select {
		case err := <-done:
			return err
		case <-time.After(20 * time.Second):
			return fmt.Errorf("it does not end")
		}
	})
	t.Cleanup(func() {
		if err := r.stop(); err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("the control plane ended with %v\n%s", err, r.logs)
		}
	})
	return r
}

func freePort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// until polls what has no event of its own.
func (r *replica) until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("waited in vain: %s\n%s", what, r.logs)
		}
	}
}

func (r *replica) get(t *testing.T, path string) (int, string) {
	t.Helper()
	return fetch(t, "http://"+r.o.monitoring+path)
}

func fetch(t *testing.T, url string) (int, string) {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		return 0, err.Error()
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

func (r *replica) ready(t *testing.T) {
	t.Helper()
	r.until(t, "readiness", func() bool { code, _ := r.get(t, "/ready"); return code == http.StatusOK })
}

// ads opens a session as a pod with a token.
func (r *replica) ads(t *testing.T, roots []byte, pod, namespace, token string) discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesClient {
	t.Helper()
	stream := r.stream(t, roots, token)
	if err := stream.Send(&discoveryv3.DeltaDiscoveryRequest{
		Node:    &corev3.Node{Id: "sidecar~10.0.0.9~" + pod + "." + namespace + "~" + namespace + ".svc.cluster.local"},
		TypeUrl: "type.googleapis.com/envoy.config.cluster.v3.Cluster", ResourceNamesSubscribe: []string{"*"},
	}); err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	return stream
}

// stream connects with a token, and sends nothing.
func (r *replica) stream(t *testing.T, roots []byte, token string) discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesClient {
	t.Helper()
	return r.streamWith(t.Context(), t, roots, token)
}

func (r *replica) streamWith(ctx context.Context, t *testing.T, roots []byte, token string) discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesClient {
	t.Helper()
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(roots) {
		t.Fatalf("no root certificate in %q", roots)
	}
	conn, err := grpc.NewClient(r.o.secure, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{
		MinVersion: tls.VersionTLS12, RootCAs: pool, ServerName: r.o.revisioned("istiod") + "." + r.o.namespace + ".svc",
	})))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

// post asks a webhook, as the API server does. The caller closes the body.
func (r *replica) post(t *testing.T, roots []byte, path, object, group, kind string) *http.Response {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(roots)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{
		MinVersion: tls.VersionTLS12, RootCAs: pool, ServerName: r.o.revisioned("istiod") + "." + r.o.namespace + ".svc",
	}}}
	t.Cleanup(client.CloseIdleConnections)
	body, err := json.Marshal(map[string]any{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": map[string]any{
		"uid": "1", "operation": "CREATE", "namespace": "shop", "kind": map[string]string{"group": group, "version": "v1", "kind": kind}, "object": json.RawMessage(object),
	}})
	if err != nil {
		t.Fatal(err)
	}
	res, err := client.Post("https://"+r.o.webhook+path, "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// review is what a webhook answers.
func (r *replica) review(t *testing.T, roots []byte, path, object, group, kind string) *admissionv1.AdmissionReview {
	t.Helper()
	res := r.post(t, roots, path, object, group, kind)
	defer res.Body.Close()
	out := &admissionv1.AdmissionReview{}
	if err := json.NewDecoder(res.Body).Decode(out); err != nil || out.Response == nil {
		t.Fatalf("%s answered %s: %v", path, res.Status, err)
	}
	return out
}

type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *logBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *logBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
