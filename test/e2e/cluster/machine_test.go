//go:build e2e

package cluster

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	machineAddress = "10.204.0.2"
	machineHost    = "vm.example.com"
	machineEntry   = "ratings-vm-" + machineAddress
)

// testMachine: a machine beside the cluster registers itself, takes traffic while its
// probe says so, under strict mutual TLS, and leaves nothing when it goes.
func testMachine(t *testing.T, m *mesh) {
	healthy := filepath.Join(t.TempDir(), "healthy")
	m.apply(t, "mtls-strict")
	m.applyText(t, strings.NewReplacer("FILE", healthy, "HOST", machineHost).Replace(`apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: ratings-vm, namespace: default}
spec:
  metadata: {labels: {app: ratings-vm, version: vm}}
  template: {serviceAccount: bookinfo-ratings, ports: {http: 9080}}
  probe: {periodSeconds: 1, exec: {command: [test, -f, FILE]}}
---
apiVersion: v1
kind: Service
metadata: {name: ratings-vm, namespace: default}
spec: {selector: {app: ratings-vm}, ports: [{name: http, port: 9080}]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: ratings-vm, namespace: default}
spec: {selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [HOST]}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: ratings-vm, namespace: default}
spec: {hosts: [HOST], gateways: [ratings-vm], http: [{route: [{destination: {host: ratings-vm, port: {number: 9080}}}]}]}
`))
	dir := filepath.Join(t.TempDir(), "files")
	m.meshctl(t, "workload", "entry", "configure", "--name", "ratings-vm", "-n", "default", "--autoregister",
		"--ingressIP", m.kubectl(t, "get", "service", "-n", "istio-system", "istiod", "-o", "jsonpath={.spec.clusterIP}"), "-o", dir)
	vm := m.machine(t)
	vm.start("bookinfo", "ratings", "--port", "9080")
	if out, err := vm.command("meshproxy", "capture", "--config", dir).CombinedOutput(); err != nil {
		t.Fatalf("capture: %v\n%s", err, out)
	}
	proxy := vm.start("meshproxy", "proxy", "sidecar", "--config", dir)

	url := m.url + "/ratings/0"
	condition := func(want string) {
		t.Helper()
		eventually(t, "a machine that is healthy: "+want, func() error {
			got, err := m.try(t, "cluster", "--name", m.name, "kubectl", "get", "workloadentry", "-n", "default", machineEntry, "-o", `jsonpath={.status.conditions[?(@.type=="Healthy")].status}`)
			if err == nil && got != want {
				err = fmt.Errorf("it is %q", got)
			}
			return err
		})
	}
	condition("False")
	answers(t, url, http.StatusServiceUnavailable, "Host", machineHost)
	for range 2 {
		if err := os.WriteFile(healthy, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		condition("True")
		answers(t, url, http.StatusOK, "Host", machineHost)
		if err := os.Remove(healthy); err != nil {
			t.Fatal(err)
		}
		condition("False")
		answers(t, url, http.StatusServiceUnavailable, "Host", machineHost)
	}
	if err := os.WriteFile(healthy, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	answers(t, url, http.StatusOK, "Host", machineHost)
	proxy.end(t)
	answers(t, url, http.StatusServiceUnavailable, "Host", machineHost)
	eventually(t, "the end of the machine's entry", func() error {
		out := m.kubectl(t, "get", "workloadentry", "-n", "default", "--ignore-not-found", machineEntry)
		if out != "" {
			return fmt.Errorf("there is\n%s", out)
		}
		return nil
	})
}

// machine is a network namespace whose cable leads to the node.
type machine struct {
	*mesh
	t    *testing.T
	name string
}

func (m *mesh) machine(t *testing.T) *machine {
	t.Helper()
	vm := &machine{mesh: m, t: t, name: m.name + "-vm"}
	t.Cleanup(func() {
		if out, err := exec.Command("ip", "netns", "delete", vm.name).CombinedOutput(); err != nil {
			t.Errorf("ip netns delete: %v\n%s", err, out)
		}
	})
	for _, c := range []string{
		"ip netns add " + vm.name,
		"ip link add eth0 netns " + vm.name + " type veth peer name vm0 netns " + m.name,
		"ip -n " + m.name + " address add 10.204.0.1/30 dev vm0",
		"ip -n " + m.name + " link set vm0 up",
		"ip -n " + vm.name + " address add " + machineAddress + "/30 dev eth0",
		"ip -n " + vm.name + " link set eth0 up",
		"ip -n " + vm.name + " link set lo up",
		"ip -n " + vm.name + " route add default via 10.204.0.1",
	} {
		if out, err := exec.CommandContext(t.Context(), "sh", "-c", c).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", c, err, out)
		}
	}
	return vm
}

// command is a program of MESH_BIN on the machine.
func (vm *machine) command(program string, args ...string) *exec.Cmd {
	return exec.Command("nsenter", append([]string{"--net=/run/netns/" + vm.name, filepath.Join(vm.bin, program)}, args...)...)
}

// process is one that runs on the machine until it is ended.
type process struct {
	cmd  *exec.Cmd
	done chan struct{}
}

// start runs a program; what it says is shown when the test fails.
func (vm *machine) start(program string, args ...string) *process {
	vm.t.Helper()
	log, err := os.Create(filepath.Join(vm.t.TempDir(), program+".log"))
	if err != nil {
		vm.t.Fatal(err)
	}
	p := &process{cmd: vm.command(program, args...), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = log, log
	if err := p.cmd.Start(); err != nil {
		vm.t.Fatal(err)
	}
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait()
	}()
	vm.t.Cleanup(func() {
		p.end(vm.t)
		if text, err := os.ReadFile(log.Name()); vm.t.Failed() {
			vm.t.Logf("%s (%v):\n%.8000s", program, err, text)
		}
		_ = log.Close()
	})
	return p
}

// end asks it to end, and waits.
func (p *process) end(t *testing.T) {
	t.Helper()
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-p.done:
	case <-time.After(patience):
		_ = p.cmd.Process.Kill()
		t.Errorf("%s did not end", p.cmd)
	}
}
