package local_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/meshctl/meshctl/internal/local"
	"github.com/meshctl/meshctl/internal/local/api"
	"github.com/meshctl/meshctl/internal/local/bridge"
	"github.com/meshctl/meshctl/internal/local/client"
	"github.com/meshctl/meshctl/internal/local/image"
	"github.com/meshctl/meshctl/internal/local/localtest"
	"github.com/meshctl/meshctl/internal/local/runtime"
	"github.com/meshctl/meshctl/internal/resource"
)

// recorder is a control plane that keeps what it is told.
type recorder struct {
	mu   sync.Mutex
	have map[resource.Key]*resource.Object
}

func (r *recorder) Publish(set []*resource.Object, deleted []resource.Key) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.have == nil {
		r.have = map[resource.Key]*resource.Object{}
	}
	for _, o := range set {
		r.have[o.Key] = o
	}
	for _, key := range deleted {
		delete(r.have, key)
	}
}

// ServeHTTP counts the objects of each kind.
func (r *recorder) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	kinds := map[string]int{}
	for key := range r.have {
		kinds[key.Kind.String()]++
	}
	_ = json.NewEncoder(w).Encode(kinds)
}

func (*recorder) Issue(namespace, account, pod string) (string, error) {
	return "token of " + namespace + "/" + account + " in " + pod, nil
}

func proxiedControlPlane(env *local.NodeEnv, seen *recorder) runtime.ControlPlane {
	return runtime.ControlPlane{
		Publisher: seen, Tokens: seen, Discovery: env.Gateway.String() + ":15012",
		RootCertPEM: []byte("root"), TrustDomain: "cluster.local", MeshID: "test",
		ProxyConfig: map[string]any{"concurrency": 2, "drainDuration": "1s"},
		Proxy:       image.Program{Path: "/proc/self/exe", Argv: []string{"test-proxy"}},
	}
}

// proxyProgram stands for meshproxy: it passes on what is redirected to it and
// counts; it is ready when it listens.
func proxyProgram() error {
	mark, err := strconv.Atoi(os.Getenv("MESH_SO_MARK"))
	if err != nil {
		return err
	}
	dialer := func(source string) *net.Dialer {
		d := &net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
			var err error
			return errors.Join(c.Control(func(fd uintptr) {
				if mark != 0 {
					err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, mark)
				}
			}), err)
		}}
		if source != "" {
			d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(source)}
		}
		return d
	}
	forward := func(name, addr string, d *net.Dialer) error {
		ln, err := net.Listen("tcp4", addr)
		if err != nil {
			return err
		}
		go func() {
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				go func() {
					dst, err := bridge.OriginalDst(c.(*net.TCPConn))
					if err != nil {
						dst = netip.AddrPort{}
					}
					fmt.Println(name, dst)
					up, err := d.Dial("tcp", dst.String())
					if err != nil {
						fmt.Println(err)
						c.Close()
						return
					}
					bridge.Splice(context.Background(), c, up)
				}()
			}
		}()
		return nil
	}
	if err := errors.Join(forward("outbound", ":15001", dialer("")), forward("inbound", ":15006", dialer("127.0.0.6"))); err != nil {
		return err
	}
	ln, err := net.Listen("tcp4", "127.0.0.1:15021")
	if err != nil {
		return err
	}
	fmt.Println("arguments", os.Args[1:])
	if len(os.Args) > 2 && os.Args[2] == "router" {
		go func() {
			_ = http.ListenAndServe(":8080", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "gateway") }))
		}()
	}
	go func() { _ = http.Serve(ln, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})) }()
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	<-term
	fmt.Println("drained")
	return nil
}

const job = `
---
apiVersion: batch/v1
kind: Job
metadata: {name: job, namespace: default}
spec:
  template:
    metadata: {labels: {app: job}}
    spec: {restartPolicy: Never, containers: [{name: c, image: example/once:1}]}
`

const gateway = `
---
apiVersion: v1
kind: Service
metadata: {name: istio-ingressgateway, namespace: istio-system}
spec: {selector: {istio: ingressgateway}, type: LoadBalancer, ports: [{name: status-port, port: 15021}, {name: http2, port: 80, targetPort: 8080}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: istio-ingressgateway, namespace: istio-system}
spec:
  selector: {matchLabels: {istio: ingressgateway}}
  template:
    metadata: {labels: {istio: ingressgateway}, annotations: {inject.istio.io/templates: gateway}}
    spec:
      containers: [{name: istio-proxy, image: auto}]
`

func TestPodsWithSidecars(t *testing.T) {
	t.Parallel()
	localtest.AsEachUser(t, func(t *testing.T) {
		m := start(t, "proxied", strings.Replace(basics, "labels: {app: web}}", `labels: {app: web}, annotations: {proxy.istio.io/config: "drainDuration: 2s"}}`, 1)+gateway+job, func(o *local.Options) {
			o.Extra = json.RawMessage(`{"Proxies": true}`)
		})
		if m.status.State != api.Ready || len(m.status.Pods) != 4 {
			t.Fatalf("not ready: %+v", m.status)
		}
		var pod api.Pod
		for _, p := range m.status.Pods {
			if p.Labels["app"] == "web" {
				pod = p
			}
		}
		if pod.Proxy != "sidecar" || len(pod.Containers) != 2 {
			t.Errorf("pod %+v", pod)
		}
		if got := get(t, m.url("istio-system/istio-ingressgateway:80")); got != "gateway" {
			t.Errorf("gateway says %q", got)
		}
		if got := get(t, m.url("default/web")); !strings.HasPrefix(got, "v1 web-") {
			t.Errorf("through the sidecar: %q", got)
		}
		proxyLog := func() string {
			var out strings.Builder
			if err := m.Logs(t.Context(), "default", pod.Name, client.LogOptions{Container: "istio-proxy", Lines: -1}, &out); err != nil {
				t.Fatal(err)
			}
			return out.String()
		}
		service := ""
		for _, s := range m.status.Services {
			if s.Name == "web" {
				service = s.ClusterIP
			}
		}
		r, err := m.Exec(t.Context(), "default", pod.Name, api.ExecRequest{Command: []string{"sh", "-c", "curl -sS http://" + service + " && curl -sS http://127.0.0.1:8080"}})
		if err != nil || r.ExitCode != 0 || strings.Count(string(r.Stdout), "v1 web-") != 2 {
			t.Errorf("curl in the pod: %q %q %v", r.Stdout, r.Stderr, err)
		}
		if log := proxyLog(); !strings.Contains(log, "outbound "+service+":80") {
			t.Errorf("outgoing traffic went around the sidecar:\n%s", log)
		}
		if !strings.Contains(proxyLog(), "arguments [proxy sidecar --domain default.svc.cluster.local]") {
			t.Errorf("arguments:\n%s", proxyLog())
		}
		m.await("the job's sidecar to end with it", func(s api.Status) bool {
			return slices.ContainsFunc(s.Pods, func(p api.Pod) bool {
				return p.Phase == "Succeeded" && !slices.ContainsFunc(p.Containers, func(c api.Container) bool { return c.Running })
			})
		})
		t.Run("environment", func(t *testing.T) { testProxyEnvironment(t, m, pod) })
		t.Run("a workload cannot mark its sockets", func(t *testing.T) {
			r, err := m.Exec(t.Context(), "default", pod.Name, api.ExecRequest{Command: []string{"grep", "CapEff", "/proc/self/status"}})
			if err != nil || string(r.Stdout) != "CapEff:\t00000000000405fb\n" {
				t.Errorf("%q %v", r.Stdout, err)
			}
		})
	})
}

func testProxyEnvironment(t *testing.T, m *mesh, pod api.Pod) {
	r, err := m.Exec(t.Context(), "default", pod.Name, api.ExecRequest{
		Container: "istio-proxy", Command: []string{"sh", "-c", "env; cat $MESH_TOKEN_FILE; echo; stat -c %a $MESH_TOKEN_FILE; cat $MESH_LABELS_FILE $MESH_ROOT_CERT_FILE"},
	})
	if err != nil {
		t.Fatal(err)
	}
	out := string(r.Stdout)
	for _, want := range []string{
		"POD_NAME=" + pod.Name + "\n", "POD_NAMESPACE=default\n", "INSTANCE_IP=" + pod.IP + "\n", "SERVICE_ACCOUNT=default\n",
		"NODE_NAME=local\n", "ISTIO_META_WORKLOAD_NAME=web\n", "ISTIO_META_OWNER=kubernetes://apis/apps/v1/namespaces/default/deployments/web\n",
		"ISTIO_META_CLUSTER_ID=Kubernetes\n", "ISTIO_META_MESH_ID=test\n", "ISTIO_META_APP_CONTAINERS=web\n",
		`ISTIO_META_POD_PORTS=[{"name":"web","containerPort":8080,"protocol":"TCP"}]` + "\n",
		"ISTIO_META_DNS_CAPTURE=true\n", "ISTIO_META_INTERCEPTION_MODE=REDIRECT\n", "TRUST_DOMAIN=cluster.local\n",
		`PROXY_CONFIG={"concurrency":2,"drainDuration":"2s"}` + "\n",
		"MESH_DISCOVERY_ADDRESS=10.244.0.1:15012\n", "MESH_SO_MARK=1337\n", "MESH_DNS_UPSTREAMS=10.244.0.1:53\n",
		"token of default/default in " + pod.Name + "\n600\n", `"app":"web"`, "root",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}

// What is published of a mesh with the real kinds; kept small because package
// controller tests the content.
func TestPublisherSeesACluster(t *testing.T) {
	t.Parallel()
	localtest.AsEachUser(t, func(t *testing.T) {
		m := start(t, "seen", basics)
		resp, err := m.HTTP().Get("http://mesh/test/published")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		var kinds map[string]int
		if err := json.Unmarshal(b, &kinds); err != nil {
			t.Fatalf("%v: %s", err, b)
		}
		if kinds["Service"] != 1 || kinds["Pod"] != 2 || kinds["EndpointSlice.discovery.k8s.io"] != 1 {
			t.Errorf("published %v", kinds)
		}
	})
}
