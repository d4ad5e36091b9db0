package analyze

import (
	"bytes"
	"context"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/cli/stdio"
	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/resource/source/kube/kubetest"
	"github.com/meshctl/meshctl/internal/settings"
)

const route = `{"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "web", "namespace": "shop"},
	"spec": {"hosts": ["shop.example.com"], "http": [{"route": [{"destination": {"host": "HOST"}}]}]}}`

// TestCluster: a cluster is looked at by itself, and beneath files.
func TestCluster(t *testing.T) {
	t.Parallel()
	api := kubetest.New()
	api.Define("networking.istio.io", "virtualservices", "VirtualService", true, "v1")
	for _, o := range []string{
		`{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "labels": {"istio-injection": "enabled"}}}`,
		`{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "cart", "namespace": "shop"}, "spec": {"ports": [{"name": "http", "port": 80}]}}`,
		strings.Replace(route, "HOST", "crat", 1),
	} {
		if err := api.Apply(o); err != nil {
			t.Fatal(err)
		}
	}
	server := httptest.NewServer(api)
	t.Cleanup(server.Close)
	t.Cleanup(server.CloseClientConnections)
	dir := t.TempDir()
	kubeconfig := filepath.Join(dir, "kubeconfig")
	text := fmt.Sprintf(`{"apiVersion": "v1", "kind": "Config", "current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "c"}}],
		"clusters": [{"name": "c", "cluster": {"server": %q}}]}`, server.URL)
	if err := os.WriteFile(kubeconfig, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(paths ...string) (string, error) {
		var out bytes.Buffer
		e := &env.Env{
			IO: &stdio.Streams{In: strings.NewReader(""), Out: &out, Err: &out}, Now: time.Now, Getenv: func(string) string { return "" },
			Settings: settings.Settings{Context: "c", Kubeconfig: kubeconfig, IstioNamespace: "istio-system", ClientTimeout: 10 * time.Second},
		}
		o := &Options{Env: e, Paths: paths, UseMesh: true, Failure: diag.Error, Format: stdio.Formats(formatLog).Default(formatLog)}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err := Run(ctx, o)
		return out.String(), err
	}
	out, err := run()
	if exit.CodeOf(err) != exit.Findings || !strings.Contains(out, "IST0101") || !strings.Contains(out, "host crat.shop.svc.cluster.local does not exist") {
		t.Errorf("the cluster: %v\n%s", err, out)
	}
	file := filepath.Join(dir, "web.yaml")
	if err := os.WriteFile(file, []byte(strings.Replace(route, "HOST", "cart", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err = run(file)
	if err != nil || !strings.Contains(out, "together with what runs in cluster c") || strings.Contains(out, "IST0101") {
		t.Errorf("a file on top: %v\n%s", err, out)
	}
	server.Close()
	if _, err = run(file); err == nil {
		t.Error("a cluster that was asked for and is away is no error")
	}
}
