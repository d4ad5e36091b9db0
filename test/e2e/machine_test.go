//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const machineAddress = "10.244.200.9"

const machineObjects = `
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: ratings-vm}
spec:
  metadata: {labels: {app: ratings, version: vm}}
  template: {serviceAccount: bookinfo-ratings}
  probe: {periodSeconds: 1, failureThreshold: 1, httpGet: {path: /health, port: 9080}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: ratings}
spec: {host: ratings, subsets: [{name: v1, labels: {version: v1}}, {name: vm, labels: {version: vm}}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: ratings}
spec: {hosts: [ratings], http: [{route: [{destination: {host: ratings, subset: vm}}]}]}
`

// detailsFromConsul sends what is for the Service of Kubernetes to the one of Consul.
const detailsFromConsul = `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: details}
spec: {hosts: [details], http: [{route: [{destination: {host: details.service.consul, port: {number: 9081}}}]}]}
`

// vm runs a program on the machine until the test ends, or stop is called.
func (m *mesh) vm(t *testing.T, script string) (log *bytes.Buffer, stop func()) {
	t.Helper()
	log = &bytes.Buffer{}
	join, err := filepath.Abs("../../samples/vm/join.sh")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(join, m.name, machineAddress, "sh", "-c", script)
	cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(m.program)+":"+os.Getenv("PATH"))
	cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = log, log, &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = cmd.Wait() }()
	stop = func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
		<-done
	}
	t.Cleanup(func() {
		stop()
		if t.Failed() {
			t.Logf("on the machine:\n%s", log.Bytes()[max(0, log.Len()-8<<10):])
		}
	})
	return log, stop
}

// becomes polls what has no event of its own.
func becomes(t *testing.T, what string, ok func() (bool, string)) {
	t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	deadline := time.NewTimer(settle)
	defer deadline.Stop()
	for {
		done, got := ok()
		if done {
			return
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("%s: waited in vain, the last was %s", what, got)
		}
	}
}

// consulAgent runs Consul where there is one, with a service details at an address;
// "" without.
func consulAgent(t *testing.T) string {
	t.Helper()
	program := os.Getenv("MESH_CONSUL")
	if program == "" {
		program, _ = exec.LookPath("consul")
	}
	if program == "" {
		if os.Getenv("MESH_REQUIRE_CONSUL") == "1" {
			t.Fatal("MESH_REQUIRE_CONSUL=1, and there is no consul at MESH_CONSUL or in PATH")
		}
		t.Log("no consul at MESH_CONSUL or in PATH: details stays on Kubernetes")
		return ""
	}
	free := func() int {
		ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		return ln.Addr().(*net.TCPAddr).Port
	}
	dir, port := t.TempDir(), free()
	config := fmt.Sprintf(`{"ports":{"http":%d,"dns":-1,"grpc":-1,"server":%d,"serf_lan":%d,"serf_wan":%d},
		"services":[{"name":"details","address":%q,"port":9081,"tags":["version=v1"],"meta":{"protocol":"http"}}]}`, port, free(), free(), free(), machineAddress)
	if err := os.WriteFile(filepath.Join(dir, "c.json"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	cmd := exec.CommandContext(ctx, program, "agent", "-dev", "-bind=127.0.0.1", "-client=127.0.0.1", "-config-file="+filepath.Join(dir, "c.json"))
	cmd.Dir = dir
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); _ = cmd.Wait() })
	return fmt.Sprintf("http://127.0.0.1:%d", port)
}

// Bookinfo with ratings on a virtual machine, details known by Consul, and the rest
// in pods.
func TestMachine(t *testing.T) {
	flags := []string{}
	consul := consulAgent(t)
	if consul != "" {
		flags = append(flags, "--consul", consul)
	}
	m := up(t, "e2e-machine", samples, flags...)
	m.applyText(t, machineObjects)
	files := filepath.Join(t.TempDir(), "files")
	m.run(t, "workload", "entry", "configure", "--name", "ratings-vm", "--autoregister", "-o", files)
	programs := t.TempDir()
	if err := os.Symlink(m.program, filepath.Join(programs, "bookinfo")); err != nil {
		t.Fatal(err)
	}
	_, stop := m.vm(t, fmt.Sprintf(`set -e
SERVICE_VERSION=vm %[1]s/bookinfo ratings --port 9080 &
SERVICE_VERSION=v1 %[1]s/bookinfo details --port 9081 &
meshproxy capture --config %[2]s
exec meshproxy proxy sidecar --config %[2]s`, programs, files))
	becomes(t, "the machine's entry", func() (bool, string) {
		out := m.run(t, "get", "workloadentry")
		return strings.Contains(out, "ratings-vm-"+machineAddress), out
	})
	const page = "/productpage?u=normal"
	stars := func() (bool, string) {
		a := m.get(t, page)
		return a.code == http.StatusOK && !strings.Contains(a.body, "Ratings service is currently unavailable"), fmt.Sprint(a.code)
	}
	reached := func(name string) func() (bool, string) {
		return func() (bool, string) {
			m.get(t, page)
			out := m.run(t, "exec", "reviews-v3", "--", "curl", "-sS", "-D", "-", "-o", "/dev/null", name)
			return strings.HasPrefix(out, "HTTP/1.1 200"), out
		}
	}
	becomes(t, "ratings from the machine", reached("http://ratings:9080/ratings/0"))
	becomes(t, "a page with ratings", stars)
	if consul != "" {
		m.applyText(t, detailsFromConsul)
		becomes(t, "details by its name in Consul", reached("http://details.service.consul:9081/details/0"))
		becomes(t, "details by way of Consul", reached("http://details:9080/details/0"))
	}
	stop()
	becomes(t, "the end of its entry", func() (bool, string) {
		out, _, _ := m.try(t, "get", "workloadentry")
		return !strings.Contains(out, machineAddress), out
	})
	becomes(t, "no ratings without the machine", func() (bool, string) {
		out := m.run(t, "exec", "reviews-v3", "--", "curl", "-sS", "-D", "-", "-o", "/dev/null", "http://ratings:9080/ratings/0")
		return strings.HasPrefix(out, "HTTP/1.1 503"), out
	})
}
