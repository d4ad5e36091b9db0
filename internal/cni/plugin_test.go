package cni

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/meshctl/meshctl/internal/capture"
)

// cluster is an API server with a few pods.
type fakeCluster struct {
	mu      sync.Mutex
	pods    map[string]string // path -> JSON
	deleted []string
	asked   []string
	srv     *httptest.Server
}

func newCluster(t *testing.T, pods map[string]string) *fakeCluster {
	t.Helper()
	c := &fakeCluster{pods: pods}
	c.srv = httptest.NewTLSServer(c)
	t.Cleanup(c.srv.Close)
	return c
}

func (c *fakeCluster) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked = append(c.asked, r.Method+" "+r.URL.RequestURI())
	if r.Header.Get("Authorization") != "Bearer secret" {
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, `{"message":"Unauthorized"}`)
		return
	}
	text, ok := c.pods[r.URL.Path]
	switch {
	case r.Method == http.MethodDelete:
		c.deleted = append(c.deleted, r.URL.Path)
	case ok:
		fmt.Fprint(w, text)
	default:
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `{"message":"pods not found"}`)
	}
}

func (c *fakeCluster) ca() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.srv.Certificate().Raw})
}

func (c *fakeCluster) kubeconfig(t *testing.T, token string) string {
	t.Helper()
	b, err := json.Marshal(kubeconfig{
		Clusters: []namedCluster{{Type, cluster{c.srv.URL, c.ca()}}}, Users: []namedUser{{Type, user{token}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

const injectedPod = `{"metadata":{"annotations":{"sidecar.istio.io/status":"{}","sidecar.istio.io/interceptionMode":"REDIRECT",
 "traffic.sidecar.istio.io/excludeInboundPorts":"22"}},"spec":{"containers":[{"name":"a"},{"name":"istio-proxy",
 "env":[{"name":"ISTIO_META_DNS_CAPTURE","value":"true"}],"securityContext":{"runAsUser":2000}}],"initContainers":[{"name":"istio-validation"}]}}`

type redirected struct {
	netns string
	c     capture.Config
}

func call(t *testing.T, env map[string]string, conf string) (out string, code int, got *redirected) {
	t.Helper()
	p := plugin{
		getenv:   func(k string) string { return env[k] },
		redirect: func(netns string, c capture.Config) error { got = &redirected{netns, c}; return nil },
		verify:   func(string, capture.Config) error { return fmt.Errorf("the rules are not there") },
	}
	b, err := p.call(t.Context(), strings.NewReader(conf))
	if err != nil {
		return err.Error(), 1, got
	}
	return string(b), 0, got
}

func add(name string) map[string]string {
	return map[string]string{"CNI_COMMAND": "ADD", "CNI_NETNS": "/var/run/netns/x", "CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=" + name}
}

func TestAdd(t *testing.T) {
	t.Parallel()
	c := newCluster(t, map[string]string{
		"/api/v1/namespaces/shop/pods/meshed":  injectedPod,
		"/api/v1/namespaces/shop/pods/plain":   `{"spec":{"containers":[{"name":"a"}]}}`,
		"/api/v1/namespaces/shop/pods/gateway": `{"metadata":{"annotations":{"sidecar.istio.io/status":"{}"}},"spec":{"containers":[{"name":"istio-proxy"}]}}`,
		"/api/v1/namespaces/shop/pods/own":     `{"metadata":{"annotations":{"sidecar.istio.io/status":"{}"}},"spec":{"containers":[{"name":"istio-proxy"}],"initContainers":[{"name":"istio-init"}]}}`,
		"/api/v1/namespaces/shop/pods/none":    `{"metadata":{"annotations":{"sidecar.istio.io/status":"{}","sidecar.istio.io/interceptionMode":"NONE"}},"spec":{"containers":[{"name":"istio-proxy"}]}}`,
		"/api/v1/namespaces/shop/pods/wrong":   strings.Replace(injectedPod, `"22"`, `"ssh"`, 1),
	})
	const prev = `{"cniVersion":"1.0.0","ips":[{"address":"10.0.0.2/24"}],"unknown":1}`
	conf := func(token, more string) string {
		return fmt.Sprintf(`{"cniVersion":"1.0.0","name":"k8s","type":"istio-cni","kubernetes":{"kubeconfig":%q,"exclude_namespaces":["kube-system"]}%s}`, c.kubeconfig(t, token), more)
	}
	good := conf("secret", `,"prevResult":`+prev)
	t.Run("a pod with a sidecar", func(t *testing.T) {
		t.Parallel()
		out, code, got := call(t, add("meshed"), good)
		if code != 0 || out != prev {
			t.Errorf("%d %s", code, out)
		}
		if got == nil || got.netns != "/var/run/netns/x" || !got.c.DNSCapture || got.c.ProxyUIDs[0] != 2000 || got.c.ProxyGIDs[0] != 1337 || got.c.ExcludeInboundPorts[0] != 22 {
			t.Errorf("%+v", got)
		}
	})
	for _, name := range []string{"plain", "gateway", "own", "none"} {
		t.Run("left alone: "+name, func(t *testing.T) {
			t.Parallel()
			if out, code, got := call(t, add(name), good); code != 0 || out != prev || got != nil {
				t.Errorf("%d %s %+v", code, out, got)
			}
		})
	}
	t.Run("an excluded namespace is not asked for", func(t *testing.T) {
		t.Parallel()
		e := add("x")
		e["CNI_ARGS"] = "K8S_POD_NAMESPACE=kube-system;K8S_POD_NAME=dns"
		if out, code, got := call(t, e, strings.Replace(good, "kubeconfig\":\"", "kubeconfig\":\"/nowhere", 1)); code != 0 || out != prev || got != nil {
			t.Errorf("%d %s %+v", code, out, got)
		}
	})
	for name, tc := range map[string]struct{ pod, conf, want string }{
		"wrong annotation":   {"wrong", good, "excludeInboundPorts"},
		"unknown pod":        {"nobody", good, "not found"},
		"token not valid":    {"meshed", conf("old", `,"prevResult":`+prev), "Unauthorized"},
		"first of its chain": {"meshed", conf("secret", ""), "must be chained"},
		"of the future":      {"meshed", strings.Replace(good, "1.0.0", "9.0.0", 1), "incompatible CNI version"},
		"no configuration":   {"meshed", "{", "read configuration"},
	} {
		t.Run("refused: "+name, func(t *testing.T) {
			t.Parallel()
			if out, code, got := call(t, add(tc.pod), tc.conf); code != 1 || !strings.Contains(out, tc.want) || got != nil {
				t.Errorf("%d %s %+v", code, out, got)
			}
		})
	}
	t.Run("other commands", func(t *testing.T) {
		t.Parallel()
		for command, want := range map[string]string{"DEL": "", "GC": "", "CHECK": "the rules are not there", "STATUS": "not found", "NOPE": "unknown command"} {
			e := add("meshed")
			e["CNI_COMMAND"] = command
			if out, _, got := call(t, e, good); !strings.Contains(out, want) || got != nil || want == "" && out != "" {
				t.Errorf("%s: %s", command, out)
			}
		}
		e := map[string]string{"CNI_COMMAND": "VERSION"}
		if out, code, _ := call(t, e, `{"cniVersion":"0.4.0"}`); code != 0 || !strings.Contains(out, `"cniVersion":"0.4.0"`) || !strings.Contains(out, "1.1.0") {
			t.Errorf("VERSION: %s", out)
		}
	})
}

// The answer of a failure is one that runtimes read.
func TestFailureIsJSON(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	code := Plugin(func(k string) string { return map[string]string{"CNI_COMMAND": "ADD"}[k] }, strings.NewReader(`{"cniVersion":"0.4.0"}`), &out)
	var e cniError
	if err := json.Unmarshal(out.Bytes(), &e); err != nil || code != 1 || e.CNIVersion != "0.4.0" || e.Code != codeConfig || e.Msg == "" {
		t.Errorf("%d %s %v", code, out.String(), err)
	}
}

func FuzzPlugin(f *testing.F) {
	f.Add("ADD", "K8S_POD_NAMESPACE=a;K8S_POD_NAME=b", `{"cniVersion":"1.0.0","prevResult":{}}`)
	f.Add("VERSION", "", `{}`)
	f.Fuzz(func(t *testing.T, command, args, conf string) {
		env := map[string]string{"CNI_COMMAND": command, "CNI_ARGS": args, "CNI_NETNS": "/proc/self/nowhere"}
		var out bytes.Buffer
		if Plugin(func(k string) string { return env[k] }, strings.NewReader(conf), &out) != 0 && !json.Valid(out.Bytes()) {
			t.Errorf("not JSON: %s", out.String())
		}
	})
}
