//go:build e2e

package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/meshctl/meshctl/internal/testenv/consulagent"
)

// machineAddress is one on the mesh's bridge that no pod has.
const machineAddress = "10.244.200.9"

// ratingsOnMachine sends what is for ratings to the machine.
const ratingsOnMachine = `
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

// onMachine runs a script in a network namespace with a cable to the mesh, until the
// test ends or stop is called.
func (m *mesh) onMachine(t *testing.T, script string) (stop func()) {
	t.Helper()
	join, err := filepath.Abs("../../samples/vm/join.sh")
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	cmd := exec.Command(join, m.name, machineAddress, "sh", "-c", script)
	cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(m.program)+":"+os.Getenv("PATH"))
	cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = &log, &log, &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
		_ = cmd.Wait()
	})
	t.Cleanup(func() {
		stop()
		if t.Failed() {
			t.Logf("on the machine:\n%s", log.String()[max(0, log.Len()-8<<10):])
		}
	})
	return stop
}

// Bookinfo with one service each in pods, on a virtual machine, and in Consul: ratings
// on the machine, details known by Consul, the rest in pods.
func TestMachineAndConsul(t *testing.T) {
	consul := consulagent.Start(t, consulagent.Options{})
	m := up(t, unique("machine"), samples, "--http-port", "8580", "--consul", consul.URL)
	m.applyText(t, ratingsOnMachine)
	files := filepath.Join(t.TempDir(), "files")
	m.run(t, "workload", "entry", "configure", "--name", "ratings-vm", "--autoregister", "-o", files)
	programs := t.TempDir()
	if err := os.Symlink(m.program, filepath.Join(programs, "bookinfo")); err != nil {
		t.Fatal(err)
	}
	stop := m.onMachine(t, fmt.Sprintf(`set -e
SERVICE_VERSION=vm %[1]s/bookinfo ratings --port 9080 &
SERVICE_VERSION=consul %[1]s/bookinfo details --port 9081 &
meshproxy capture --config %[2]s
exec meshproxy proxy sidecar --config %[2]s`, programs, files))
	entry := func() string { return m.run(t, "get", "workloadentry") }
	eventually(t, "the machine's entry", func() error {
		if out := entry(); !strings.Contains(out, "ratings-vm-"+machineAddress) {
			return errorOf("there is\n%s", out)
		}
		return nil
	})
	page := func(want string) func() error {
		return func() error {
			if got := m.parts(t); got != want {
				return errorOf("it is %q", got)
			}
			return nil
		}
	}
	m.apply(t, "reviews-v3")
	eventually(t, "the page with ratings of the machine", page("200 details:v1 reviews:v3 stars"))

	m.applyText(t, detailsFromConsul)
	consul.Put(t, "/v1/agent/service/register", fmt.Sprintf(
		`{"Name":"details","Address":%q,"Port":9081,"Tags":["version=v1"],"Meta":{"protocol":"http"}}`, machineAddress))
	eventually(t, "details by way of Consul", page("200 details:consul reviews:v3 stars"))
	consul.Put(t, "/v1/agent/service/deregister/details", "")
	eventually(t, "no details without Consul's", page("200 details:unavailable reviews:v3 stars"))

	stop()
	eventually(t, "the end of its entry", func() error {
		if out := entry(); strings.Contains(out, machineAddress) {
			return errorOf("there is\n%s", out)
		}
		return nil
	})
	eventually(t, "no stars without the machine", page("200 details:unavailable reviews:v3 no stars"))
}
