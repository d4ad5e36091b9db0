package kube_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/meshctl/meshctl/internal/kube"
)

// kubeconfig writes one with the context "test" for a server.
func kubeconfig(t *testing.T, server, clusterExtra string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf(`apiVersion: v1
kind: Config
current-context: test
clusters:
- name: c
  cluster: {server: %q%s}
contexts:
- name: test
  context: {cluster: c, user: u, namespace: books}
- name: other
  context: {cluster: gone, user: u}
users:
- name: u
  user: {token: secret}
`, server, clusterExtra)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func status(code int, reason, message string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","message":%q,"reason":%q,"code":%d}`, message, reason, code)
	}
}

// TestVersionErrors: each way in which a cluster can be none, by what a real
// peer of that sort does.
func TestVersionErrors(t *testing.T) {
	t.Parallel()
	refused, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refused.Close()
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts in the kernel, never answers
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { silent.Close() })
	breaking := func(w http.ResponseWriter, _ *http.Request) {
		c, _, _ := w.(http.Hijacker).Hijack()
		c.Close()
	}
	for _, c := range []struct {
		name    string
		address string
		plain   http.HandlerFunc
		tls     http.HandlerFunc
		extra   string
		kind    kube.Kind
		says    string
	}{
		{name: "refused", address: "https://" + refused.Addr().String(), kind: kube.Unreachable, says: "refused"},
		{name: "no such host", address: "https://no-such-host.invalid", kind: kube.Unreachable, says: "no-such-host.invalid is not known"},
		{name: "no answer", address: "http://" + silent.Addr().String(), kind: kube.Late, says: "did not answer in time"},
		{name: "a web page", plain: func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") }, kind: kube.NotCluster, says: "not a Kubernetes API server"},
		{name: "another API", plain: func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"version":"7"}`) }, kind: kube.NotCluster, says: "not a Kubernetes API server"},
		{name: "nothing there", plain: http.NotFound, kind: kube.NotCluster, says: "not a Kubernetes API server"},
		{name: "401", plain: status(401, "Unauthorized", "Unauthorized"), kind: kube.Unauthorized, says: "does not accept who you are"},
		{name: "429", plain: status(429, "TooManyRequests", "slow down"), kind: kube.Throttled, says: "too much to do"},
		{name: "503", plain: status(503, "ServiceUnavailable", "starting"), kind: kube.Unreachable, says: "not ready"},
		{name: "unknown authority", tls: http.NotFound, kind: kube.BadTLS, says: "signed by nobody you trust"},
		{name: "another name", tls: http.NotFound, extra: ", tls-server-name: cluster.local, certificate-authority-data: CA", kind: kube.BadTLS, says: "for another name"},
		{name: "breaks", plain: breaking, kind: kube.Unreachable, says: "closes every connection"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			address, extra := c.address, c.extra
			switch {
			case c.plain != nil:
				s := httptest.NewServer(c.plain)
				t.Cleanup(s.Close)
				address = s.URL
			case c.tls != nil:
				s := httptest.NewUnstartedServer(c.tls)
				s.Config.ErrorLog = nil
				s.StartTLS()
				t.Cleanup(s.Close)
				address = s.URL
				extra = strings.Replace(extra, "CA", pemOf(s), 1)
			}
			client, err := kube.New(kube.Options{Kubeconfig: kubeconfig(t, address, extra), Timeout: patience})
			if err != nil {
				t.Fatal(err)
			}
			_, err = client.Version(t.Context())
			wantKind(t, err, c.kind, c.says)
		})
	}
}

func wantKind(t *testing.T, err error, kind kube.Kind, says string) *kube.Error {
	t.Helper()
	var e *kube.Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v (%T), want a *kube.Error", err, err)
	}
	if e.Kind != kind || !strings.Contains(e.Error(), says) {
		t.Fatalf("got kind %d: %v; want %d with %q", e.Kind, e, kind, says)
	}
	return e
}

func TestHTTPServerForHTTPS(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(s.Close)
	c, err := kube.New(kube.Options{Kubeconfig: kubeconfig(t, strings.Replace(s.URL, "http:", "https:", 1), "")})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Version(t.Context())
	wantKind(t, err, kube.NotCluster, "does not speak TLS")
}

func TestConfigErrors(t *testing.T) {
	t.Parallel()
	good := kubeconfig(t, "http://127.0.0.1:1", "")
	broken := filepath.Join(t.TempDir(), "broken")
	if err := os.WriteFile(broken, []byte("contexts: {{{"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		o    kube.Options
		kind kube.Kind
		says string
	}{
		{"no file", kube.Options{Kubeconfig: "/does/not/exist"}, kube.NoConfig, "no such kubeconfig"},
		{"not YAML", kube.Options{Kubeconfig: broken}, kube.BadConfig, "cannot be used"},
		{"no context", kube.Options{Kubeconfig: good, Context: "prod"}, kube.BadConfig, `no context "prod": it has other, test`},
		{"no cluster", kube.Options{Kubeconfig: good, Context: "other"}, kube.BadConfig, `context "other" of kubeconfig cannot be used`},
		{"a group alone", kube.Options{Kubeconfig: good, AsGroups: []string{"g"}}, kube.BadConfig, "need --as"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := kube.New(c.o)
			wantKind(t, err, c.kind, c.says)
		})
	}
}

func TestOptionsReachTheRequest(t *testing.T) {
	t.Parallel()
	var got http.Header
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r.Header
		fmt.Fprint(w, `{"major":"1","minor":"35","gitVersion":"v1.35.4"}`)
	}))
	t.Cleanup(s.Close)
	c, err := kube.New(kube.Options{Kubeconfig: kubeconfig(t, s.URL, ""), As: "jane", AsUID: "7", AsGroups: []string{"dev", "ops"}, UserAgent: "meshctl/1"})
	if err != nil {
		t.Fatal(err)
	}
	v, err := c.Version(t.Context())
	if err != nil || v != "v1.35.4" {
		t.Fatalf("version %q, %v", v, err)
	}
	if c.Namespace != "books" || c.Context != "test" {
		t.Errorf("namespace %q, context %q", c.Namespace, c.Context)
	}
	if got.Get("Impersonate-User") != "jane" || got.Get("Impersonate-Uid") != "7" || len(got["Impersonate-Group"]) != 2 || got.Get("User-Agent") != "meshctl/1" {
		t.Errorf("headers are %v", got)
	}
}

func TestCheckVersion(t *testing.T) {
	t.Parallel()
	for v, kind := range map[string]kube.Kind{"v1.35.4": 0, "v1.29.0-gke.1": kube.OldVersion, "v1.29.0": 0, "v1.28.9": kube.OldVersion, "seven": kube.NotCluster} {
		err := kube.CheckVersion(v)
		if kind == 0 && err != nil {
			t.Errorf("%s: %v", v, err)
		}
		if kind != 0 {
			wantKind(t, err, kind, "")
		}
	}
}

func TestForbiddenNamesTheRight(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ message, cause, step string }{
		{
			`deployments.apps is forbidden: User "jane" cannot create resource "deployments" in API group "apps" in the namespace "istio-system"`,
			"jane lacks the right to create deployments of apps in namespace istio-system", "kubectl auth can-i create deployments.apps -n istio-system",
		},
		{
			`nodes is forbidden: User "system:serviceaccount:a:b" cannot list resource "nodes" in API group "" at the cluster scope`,
			"system:serviceaccount:a:b lacks the right to list nodes in the whole cluster", "kubectl auth can-i list nodes",
		},
		{
			`pods "x" is forbidden: User "jane" cannot create resource "pods/portforward" in API group "" in the namespace "a"`,
			"jane lacks the right to create pods/portforward in namespace a", "kubectl auth can-i create pods/portforward -n a",
		},
		{`pods "x" is forbidden: exceeded quota: q`, `pods "x" is forbidden: exceeded quota: q`, ""},
	} {
		s := httptest.NewServer(status(403, "Forbidden", c.message))
		client, err := kube.New(kube.Options{Kubeconfig: kubeconfig(t, s.URL, "")})
		if err != nil {
			t.Fatal(err)
		}
		_, err = client.Dynamic.Resource(schema.GroupVersionResource{Version: "v1", Resource: "pods"}).List(t.Context(), metav1.ListOptions{})
		e := wantKind(t, client.Explain(err, "list pods"), kube.Forbidden, "you may not list pods")
		if e.Cause.Error() != c.cause {
			t.Errorf("cause is\n%s, want\n%s", e.Cause, c.cause)
		}
		if c.step != "" && (len(e.Steps) == 0 || !strings.HasSuffix(e.Steps[0], c.step)) {
			t.Errorf("steps are %q, want %q", e.Steps, c.step)
		}
		s.Close()
	}
}

func TestExplainKeepsWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	c, err := kube.New(kube.Options{Kubeconfig: kubeconfig(t, "http://127.0.0.1:1", "")})
	if err != nil {
		t.Fatal(err)
	}
	plain := errors.New("boom")
	if err := c.Explain(plain, "do it"); !errors.Is(err, plain) || err.Error() != "do it: boom" {
		t.Errorf("got %v", err)
	}
	if err := c.Explain(context.Canceled, "do it"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if c.Explain(nil, "do it") != nil {
		t.Error("no error became one")
	}
	wantKind(t, c.Explain(fmt.Errorf("x: %w", tls.AlertError(42)), "do it"), kube.Unauthorized, "client certificate")
}
