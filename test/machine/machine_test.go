package machine

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/meshctl/meshctl/internal/agent"
	"github.com/meshctl/meshctl/internal/controlplane/register"
	"github.com/meshctl/meshctl/internal/identity"
	"github.com/meshctl/meshctl/internal/local/localtest"
	"github.com/meshctl/meshctl/internal/local/node"
	"github.com/meshctl/meshctl/internal/machine"
	"github.com/meshctl/meshctl/internal/meshd"
	"github.com/meshctl/meshctl/internal/resource"
	"github.com/meshctl/meshctl/internal/testenv/stockenvoy"
)

// envProxy makes the test binary be meshproxy.
const envProxy = "MESH_MACHINE_PROXY"

func TestMain(m *testing.M) {
	if os.Getenv(envProxy) != "" {
		os.Exit(agent.Main(os.Args[1:], "test"))
	}
	os.Exit(m.Run())
}

const objects = `
apiVersion: v1
kind: Service
metadata: {name: ratings, namespace: default}
spec: {clusterIP: 10.96.0.10, selector: {app: ratings}, ports: [{name: http, port: 9080}]}
---
apiVersion: v1
kind: Service
metadata: {name: client, namespace: default}
spec: {clusterIP: 10.96.0.11, selector: {app: client}, ports: [{name: http, port: 9080}]}
---
apiVersion: v1
kind: Pod
metadata: {name: client-1, namespace: default, labels: {app: client, security.istio.io/tlsMode: istio}}
spec: {serviceAccountName: buyer, containers: [{name: app, image: app}]}
status: {phase: Running, podIP: 10.244.1.2, podIPs: [{ip: 10.244.1.2}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: client-1, namespace: default, labels: {kubernetes.io/service-name: client}}
addressType: IPv4
ports: [{name: http, port: 9080, protocol: TCP}]
endpoints: [{addresses: [10.244.1.2], conditions: {ready: true}, targetRef: {kind: Pod, name: client-1, namespace: default}}]
---
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: ratings, namespace: default}
spec:
  metadata: {labels: {app: ratings, version: v1}}
  template: {serviceAccount: bookinfo-ratings}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: STRICT}}
`

// patience is how long anything may take that ends by itself.
const patience = 60 * time.Second

// world is a node with a control plane.
type world struct {
	core   *meshd.Core
	tokens *identity.TokenIssuer
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{}
	var err error
	if w.tokens, err = identity.NewTokenIssuer(nil); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	if w.core, err = meshd.NewCore(meshd.Settings{Sources: []string{"test"}, Tokens: w.tokens, Logger: log}); err != nil {
		t.Fatal(err)
	}
	sink := w.core.ControlPlane.Sink()
	w.core.RegisterMachines(register.Options{Store: register.NewMemory("machines", sink), Instance: "istiod", Grace: 500 * time.Millisecond})
	os, ds := resource.Decode("objects.yaml", []byte(objects), resource.Options{})
	for _, d := range ds {
		t.Fatal(d)
	}
	sink.Apply("test", os, nil)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = w.core.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	<-w.core.Ready()
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "10.244.0.1:15012")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.core.ServeSecure(ln).Stop)
	return w
}

func (w *world) token(t *testing.T, account, pod string, ttl time.Duration) string {
	t.Helper()
	token, err := w.tokens.Issue("default", account, pod, ttl)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// entries prints the WorkloadEntries.
func (w *world) entries() string {
	var out []string
	for _, o := range w.core.ControlPlane.ObjectsOf(resource.KindWorkloadEntry) {
		out = append(out, o.Key.Name+" "+o.Healthy)
	}
	return strings.Join(out, ", ")
}

// box is a machine or a pod.
type box struct {
	t *testing.T
	*node.Sandbox
	dir     string
	healthy atomic.Bool
}

func newBox(t *testing.T, name, ip string) *box {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "mm")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	b := &box{t: t, dir: dir}
	if b.Sandbox, err = node.NewSandbox(node.SandboxConfig{
		Name: "default/" + name, Hostname: name, IP: netip.MustParseAddr(ip), Network: node.DefaultNetwork(), Dir: dir,
		Nameservers: []netip.Addr{netip.MustParseAddr("10.244.0.1")},
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	b.healthy.Store(true)
	return b
}

// serve is the program: it says its name and whom the proxy says is calling.
func (b *box) serve(name string) {
	b.t.Helper()
	var ln net.Listener
	if err := b.InNet(func() (err error) {
		ln, err = (&net.ListenConfig{}).Listen(b.t.Context(), "tcp", "0.0.0.0:9080")
		return err
	}); err != nil {
		b.t.Fatal(err)
	}
	s := &http.Server{ReadHeaderTimeout: patience, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/health" && !b.healthy.Load() {
			http.Error(w, "out of stars", http.StatusServiceUnavailable)
			return
		}
		_, caller, _ := strings.Cut(r.Header.Get("X-Forwarded-Client-Cert"), "URI=")
		_, _ = fmt.Fprintf(w, "%s, called by %s", name, caller)
	})}
	go func() { _ = s.Serve(ln) }()
	b.t.Cleanup(func() { _ = s.Close() })
}

// proxy is a meshproxy that runs.
type proxy struct {
	cmd  *exec.Cmd
	log  *bytes.Buffer
	done chan struct{}
}

// start runs meshproxy in the box.
func (b *box) start(env []string, args ...string) *proxy {
	b.t.Helper()
	p := &proxy{cmd: exec.Command("/proc/self/exe", args...), log: &bytes.Buffer{}, done: make(chan struct{})}
	p.cmd.Env = append([]string{envProxy + "=1"}, env...)
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	if err := b.Do(p.cmd.Start); err != nil {
		b.t.Fatal(err)
	}
	go func() { defer close(p.done); _ = p.cmd.Wait() }()
	b.t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.done
		if b.t.Failed() {
			b.t.Logf("meshproxy %v:\n%s", args, p.log)
		}
	})
	return p
}

// wait returns how it ended.
func (p *proxy) wait(t *testing.T) (code int, out string) {
	t.Helper()
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode(), p.log.String()
	case <-time.After(patience):
		t.Fatal("meshproxy does not end")
		return 0, ""
	}
}

func (p *proxy) end(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	p.wait(t)
}

// get asks from inside the box.
func (b *box) get(url string) string {
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true, DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return b.Dial(ctx, network, address)
		},
	}}
	r, err := client.Get(url)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = r.Body.Close() }()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprint(r.StatusCode, " ", string(text))
}

// until polls what has no event of its own.
func until(t *testing.T, what string, got func() string, want string) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for last := ""; ; {
		if last = got(); strings.HasPrefix(last, want) && (want != "" || last == "") {
			return
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("%s: waited in vain for %q, the last was %q", what, want, last)
		}
	}
}

// files writes the folder of the machine, as `workload entry configure` does.
func (w *world) files(t *testing.T, dir, token string) {
	t.Helper()
	env := machine.Env{
		machine.VarInboundPorts: "*", machine.VarInboundExcluded: "22,15090,15021,15020", machine.VarOutboundRanges: "*", machine.VarDNSCapture: "true",
		machine.VarGroup: "ratings", machine.VarLabels: `{"app":"ratings","version":"v1"}`, "POD_NAMESPACE": "default", "SERVICE_ACCOUNT": "bookinfo-ratings",
		"ISTIO_META_WORKLOAD_NAME": "ratings",
	}
	for name, text := range map[string]string{
		machine.FileEnv: env.String(), machine.FileRoot: string(w.core.CA.Roots()), machine.FileToken: token,
		machine.FileHosts: "10.244.0.1 istiod.istio-system.svc\n",
		machine.FileMesh: `defaultConfig:
  discoveryAddress: istiod.istio-system.svc:15012
  concurrency: 1
  terminationDrainDuration: 100ms
  readinessProbe: {periodSeconds: 1, failureThreshold: 1, httpGet: {path: /health, port: 9080}}
`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// expired is a token whose time is over.
func expired() string {
	return "x." + base64.RawURLEncoding.EncodeToString([]byte(`{"exp":1}`)) + ".x"
}

// From the files to traffic in both directions, and to the end of it.
func TestAMachineInTheMesh(t *testing.T) {
	t.Parallel()
	localtest.InNode(t, func(t *testing.T) { machineInTheMesh(t) })
}

// The same with a stock Envoy on the machine, which has no way of its own to report
// the workload's health.
func TestAMachineWithAStockEnvoy(t *testing.T) {
	envoy := stockenvoy.Find(t)
	t.Setenv("MESH_ENVOY", envoy) // a node has another home to look in
	localtest.InOneNode(t, func(t *testing.T) { machineInTheMesh(t, "MESH_DATAPLANE=envoy", "MESH_ENVOY="+envoy) })
}

// machineInTheMesh gives the machine's proxy variables of the environment.
func machineInTheMesh(t *testing.T, env ...string) {
	t.Helper()
	w := newWorld(t)
	vm, pod := newBox(t, "vm1", "10.244.1.9"), newBox(t, "client-1", "10.244.1.2")
	vm.serve("ratings")
	pod.serve("client")
	folder := filepath.Join(vm.dir, "machine")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}

	// The pod, as the runtime of a local mesh starts it.
	for name, text := range map[string]string{"pod-token": w.token(t, "buyer", "client-1", time.Hour), "pod-root": string(w.core.CA.Roots())} {
		if err := os.WriteFile(filepath.Join(pod.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if code, out := pod.start(nil, "capture", "--config", `{"proxyUIDs":[4242],"proxyMark":1337}`).wait(t); code != 0 {
		t.Fatal(out)
	}
	pod.start([]string{
		"POD_NAME=client-1", "POD_NAMESPACE=default", "SERVICE_ACCOUNT=buyer", "INSTANCE_IP=10.244.1.2", "MESH_SO_MARK=1337", "MESH_CONCURRENCY=1",
		"MESH_DISCOVERY_ADDRESS=10.244.0.1:15012", "MESH_TOKEN_FILE=" + filepath.Join(pod.dir, "pod-token"), "MESH_ROOT_CERT_FILE=" + filepath.Join(pod.dir, "pod-root"),
	}, "proxy", "sidecar")

	// The machine, by its files.
	w.files(t, folder, w.token(t, "bookinfo-ratings", "", time.Hour))
	if code, out := vm.start(nil, "capture", "--config", folder).wait(t); code != 0 {
		t.Fatal(out)
	}
	sidecar := vm.start(env, "proxy", "sidecar", "--config", folder)
	until(t, "its entry", w.entries, "ratings-10.244.1.9 True")
	const ratings, client = "http://10.96.0.10:9080/", "http://10.96.0.11:9080/"
	toMachine := func() string { return pod.get(ratings) }
	until(t, "from the pod to the machine", toMachine, "200 ratings, called by spiffe://cluster.local/ns/default/sa/buyer")
	until(t, "from the machine to the pod", func() string { return vm.get(client) }, "200 client, called by spiffe://cluster.local/ns/default/sa/bookinfo-ratings")
	until(t, "names of the mesh on the machine", func() string { return lookup(vm, "client.default.svc.cluster.local") }, "10.96.0.11")

	vm.healthy.Store(false)
	until(t, "no traffic for an unhealthy machine", toMachine, "503")
	if got := w.entries(); got != "ratings-10.244.1.9 False" {
		t.Errorf("the entry is %q", got)
	}
	vm.healthy.Store(true)
	until(t, "traffic again", toMachine, "200")

	// A new start with a token of no use: the certificate is enough.
	sidecar.end(t)
	until(t, "the end of its entry", w.entries, "")
	w.files(t, folder, expired())
	sidecar = vm.start(env, "proxy", "sidecar", "--config", folder)
	until(t, "its entry, by its certificate", w.entries, "ratings-10.244.1.9 True")
	until(t, "traffic to a machine without a token", toMachine, "200")
	sidecar.end(t)
	until(t, "the end of its entry", w.entries, "")
	until(t, "no traffic for a machine that is gone", toMachine, "503")

	// Without either it says what to do.
	if err := os.RemoveAll(filepath.Join(folder, machine.FolderIdentity)); err != nil {
		t.Fatal(err)
	}
	code, out := vm.start(env, "proxy", "sidecar", "--config", folder).wait(t)
	if code == 0 || !strings.Contains(out, "cannot prove who it is") || !strings.Contains(out, "meshctl workload entry configure") {
		t.Errorf("code %d:\n%s", code, out)
	}
}

// lookup asks for a name inside the box.
func lookup(b *box, name string) string {
	r := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return b.Dial(ctx, network, "10.244.0.1:53")
	}}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	as, err := r.LookupHost(ctx, name)
	if err != nil {
		return err.Error()
	}
	return strings.Join(as, ",")
}
