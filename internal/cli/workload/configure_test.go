package workload

import (
	"bytes"
	"errors"
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
	"github.com/meshctl/meshctl/internal/kube"
	"github.com/meshctl/meshctl/internal/machine"
	"github.com/meshctl/meshctl/internal/resource/source/kube/kubetest"
	"github.com/meshctl/meshctl/internal/settings"
)

// cluster is an API server with a mesh that machines can join.
func cluster(t *testing.T) (*kubetest.API, *ConfigureOptions, *bytes.Buffer) {
	t.Helper()
	api := kubetest.New()
	server := httptest.NewServer(api)
	t.Cleanup(server.Close)
	api.Define("networking.istio.io", "workloadgroups", "WorkloadGroup", true, "v1")
	for _, o := range []string{
		`{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"istio-system","labels":{"topology.istio.io/network":"net1"}}}`,
		`{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"shop"}}`,
		`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"namespace":"istio-system","name":"istio"},"data":{"mesh":"trustDomain: td.test\ndefaultConfig:\n  concurrency: 3\n"}}`,
		`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"namespace":"shop","name":"istio-ca-root-cert"},"data":{"root-cert.pem":"ROOT\n"}}`,
		`{"apiVersion":"v1","kind":"ServiceAccount","metadata":{"namespace":"shop","name":"buyer"}}`,
		`{"apiVersion":"v1","kind":"Service","metadata":{"namespace":"istio-system","name":"istio-eastwestgateway"},"status":{"loadBalancer":{"ingress":[{"ip":"192.0.2.7"}]}}}`,
		`{"apiVersion":"networking.istio.io/v1","kind":"WorkloadGroup","metadata":{"namespace":"shop","name":"ratings"},
		  "spec":{"metadata":{"labels":{"app":"ratings","version":"v2"}},"template":{"serviceAccount":"buyer"},"probe":{"tcpSocket":{"port":9080}}}}`,
	} {
		if err := api.Apply(o); err != nil {
			t.Fatal(err)
		}
	}
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf(`{"apiVersion":"v1","kind":"Config","current-context":"c","contexts":[{"name":"c","context":{"cluster":"c"}}],
		"clusters":[{"name":"c","cluster":{"server":%q}}]}`, server.URL)
	if err := os.WriteFile(kubeconfig, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	e := &env.Env{
		IO:       &stdio.Streams{Out: &out, Err: &out},
		Settings: settings.Settings{Kubeconfig: kubeconfig, Context: "c", Namespace: "shop", IstioNamespace: "istio-system", ClientTimeout: time.Minute},
		Getenv:   func(string) string { return "" },
		Now:      func() time.Time { return time.Unix(0, 0).UTC() },
	}
	return api, &ConfigureOptions{
		Env: e, Name: "ratings", Output: filepath.Join(t.TempDir(), "vm"), AutoRegister: true, CaptureDNS: true,
		IngressService: "istio-eastwestgateway", TokenSeconds: 3600,
	}, &out
}

func TestFilesOfAMachine(t *testing.T) {
	t.Parallel()
	_, o, out := cluster(t)
	o.InternalIP = "10.0.0.9"
	if err := Configure(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	read := func(name string) string {
		t.Helper()
		b, err := os.ReadFile(filepath.Join(o.Output, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	for name, want := range map[string]string{
		machine.FileRoot: "ROOT\n", machine.FileToken: "token-of-shop-buyer", machine.FileHosts: "192.0.2.7 istiod.istio-system.svc\n",
	} {
		if got := read(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if st, err := os.Stat(filepath.Join(o.Output, machine.FileToken)); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode of the token: %v, %v", st.Mode(), err)
	}
	vars, err := machine.ParseEnv(read(machine.FileEnv))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"CANONICAL_SERVICE": "ratings", "CANONICAL_REVISION": "v2", "ISTIO_INBOUND_PORTS": "*", "ISTIO_LOCAL_EXCLUDE_PORTS": "22,15090,15021,15020",
		"ISTIO_METAJSON_LABELS":          `{"app":"ratings","service.istio.io/canonical-name":"ratings","service.istio.io/canonical-revision":"v2","version":"v2"}`,
		"ISTIO_META_AUTO_REGISTER_GROUP": "ratings", "ISTIO_META_CLUSTER_ID": "Kubernetes", "ISTIO_META_DNS_CAPTURE": "true", "ISTIO_META_MESH_ID": "td.test",
		"ISTIO_META_NETWORK": "net1", "ISTIO_META_WORKLOAD_NAME": "ratings", "ISTIO_NAMESPACE": "shop", "ISTIO_SERVICE": "ratings.shop",
		"ISTIO_SERVICE_CIDR": "*", "ISTIO_SVC_IP": "10.0.0.9", "POD_NAMESPACE": "shop", "SERVICE_ACCOUNT": "buyer", "TRUST_DOMAIN": "td.test",
	} {
		if vars[name] != want {
			t.Errorf("%s is %q, want %q", name, vars[name], want)
		}
	}
	mesh := read(machine.FileMesh)
	for _, want := range []string{"concurrency: 3", "discoveryAddress: istiod.istio-system.svc:15012", "readinessProbe:", "ISTIO_META_AUTO_REGISTER_GROUP: ratings"} {
		if !strings.Contains(mesh, want) {
			t.Errorf("mesh.yaml has no %q:\n%s", want, mesh)
		}
	}
	if !strings.Contains(out.String(), "good until 1970-01-01 01:00:00 UTC") {
		t.Errorf("printed:\n%s", out)
	}
}

func TestWhatAClusterMayLack(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spoil func(*kubetest.API, *ConfigureOptions)
		says  []string
	}{
		"group": {func(_ *kubetest.API, o *ConfigureOptions) { o.Name = "rating" }, []string{"no WorkloadGroup shop/rating", "did you mean: --name ratings?"}},
		"root certificate": {
			func(a *kubetest.API, _ *ConfigureOptions) { a.Delete("", "configmaps", "shop", "istio-ca-root-cert") },
			[]string{"namespace shop has no root certificate of the mesh"},
		},
		"service account": {
			func(a *kubetest.API, _ *ConfigureOptions) { a.Delete("", "serviceaccounts", "shop", "buyer") },
			[]string{"there is no service account shop/buyer", "kubectl create serviceaccount buyer -n shop"},
		},
		"right": {
			func(a *kubetest.API, _ *ConfigureOptions) {
				a.Forbid(func(verb, _, plural, _ string) bool { return verb == "create" && plural == "serviceaccounts" })
			},
			[]string{"you may not make a token of service account shop/buyer"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			api, o, _ := cluster(t)
			c.spoil(api, o)
			err := Configure(t.Context(), o)
			var e *exit.Error
			var k *kube.Error
			text := ""
			switch {
			case errors.As(err, &e):
				text = e.Error() + strings.Join(e.Steps, "\n")
			case errors.As(err, &k):
				text = k.Error()
			}
			for _, want := range c.says {
				if !strings.Contains(text, want) {
					t.Errorf("%q is not in %q (%v)", want, text, err)
				}
			}
			if _, err := os.Stat(o.Output); err == nil {
				t.Error("files were written")
			}
		})
	}
}

func TestNoAddressOfTheControlPlane(t *testing.T) {
	t.Parallel()
	api, o, out := cluster(t)
	api.Delete("", "services", "istio-system", "istio-eastwestgateway")
	if err := Configure(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "hosts is empty: there is no Service istio-system/istio-eastwestgateway") {
		t.Errorf("printed:\n%s", out)
	}
}
