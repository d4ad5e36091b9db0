//go:build e2e

package cluster

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/meshctl/meshctl/test/board"
)

const addons = "../../../samples/addons"

// webPage is a page that stands in for Prometheus's: in a namespace of its own, on a
// port of its own, found by the label of its Service.
const webPage = `apiVersion: v1
kind: Namespace
metadata: {name: monitoring}
---
apiVersion: v1
kind: Service
metadata: {name: charts, namespace: monitoring, labels: {app.kubernetes.io/name: prometheus}}
spec:
  selector: {run: charts}
  ports: [{name: web, port: 9090, targetPort: 9080}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: charts, namespace: monitoring}
spec:
  replicas: 2
  selector: {matchLabels: {run: charts}}
  template:
    metadata: {labels: {run: charts}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: page, image: docker.io/meshctl/bookinfo:1.0, imagePullPolicy: IfNotPresent, args: [details]}]
`

// testDashboards opens pages that are there, and one that is not.
func testDashboards(t *testing.T, m *mesh) {
	for _, pattern := range []string{addons + "/*.yaml", addons + "/extras/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("there are no addons at %s: %v", pattern, err)
		}
		for _, f := range files {
			m.kubectl(t, "apply", "--dry-run=server", "-f", f)
		}
	}
	t.Run("not installed", func(t *testing.T) {
		page := m.opened(t, "kiali")
		answers(t, page.url, http.StatusOK)
		if said, code := page.end(t); code != 1 || !strings.Contains(said, "kubectl apply -f samples/addons/kiali.yaml") || !strings.Contains(said, "opened instead") {
			t.Errorf("ended with %d, and said: %s", code, said)
		}
	})
	t.Run("a pod goes", func(t *testing.T) {
		m.applyText(t, webPage)
		m.rolledOut(t, "monitoring")
		page := m.opened(t, "prometheus")
		defer page.end(t)
		answers(t, page.url+"health", http.StatusOK)
		m.kubectl(t, "delete", "pods", "-n", "monitoring", "-l", "run=charts")
		m.rolledOut(t, "monitoring")
		answers(t, page.url+"health", http.StatusOK)
	})
	t.Run("prometheus", func(t *testing.T) { testPrometheus(t, m) })
}

// testPrometheus lets a real Prometheus, set up as in samples/addons, find the mesh and
// answer what Grafana's boards ask.
func testPrometheus(t *testing.T, m *mesh) {
	program := os.Getenv("MESH_PROMETHEUS")
	if program == "" {
		t.Skip("MESH_PROMETHEUS names no Prometheus (docs/testing.md)")
	}
	m.run(t, "cluster", "--name", m.name, "load-program", program, "docker.io/prom/prometheus:v3.5.0")
	m.kubectl(t, "apply", "-f", addons+"/prometheus.yaml")
	defer m.kubectlAfter(t, "delete", "-f", addons+"/prometheus.yaml")
	m.rolledOut(t, "istio-system")
	page := m.opened(t, "prometheus")
	defer page.end(t)
	eventually(t, "every pod of the mesh scraped", func() error {
		var answer struct {
			ActiveTargets []struct {
				Labels            map[string]string
				Health, LastError string
			}
		}
		if err := page.query(&answer, "targets", nil); err != nil {
			return err
		}
		up := map[string]int{}
		for _, target := range answer.ActiveTargets {
			if target.Health != "up" {
				return fmt.Errorf("%s is %s: %s", target.Labels["pod"], target.Health, target.LastError)
			}
			up[target.Labels["namespace"]]++
		}
		if up["default"] < 6 || up["istio-system"] < 2 {
			return fmt.Errorf("targets are %v", up)
		}
		return nil
	})
	queries, err := board.Read(addons + "/grafana.yaml")
	if err != nil || len(queries) == 0 {
		t.Fatalf("%d queries (%v)", len(queries), err)
	}
	for _, q := range queries {
		eventually(t, "data for "+q.Panel, func() error {
			if _, err := m.measure(t, 20, nil); err != nil {
				return err
			}
			var answer struct{ Result []json.RawMessage }
			if err := page.query(&answer, "query", url.Values{"query": {q.Expr}}); err != nil {
				return err
			}
			if len(answer.Result) == 0 && !q.Quiet {
				return fmt.Errorf("none, for %s", q.Expr)
			}
			return nil
		})
	}
}

// dashboardPage is a running `meshctl dashboard`.
type dashboardPage struct {
	url  string
	cmd  *exec.Cmd
	said bytes.Buffer
}

// opened starts it, and waits for the address that it prints.
func (m *mesh) opened(t *testing.T, args ...string) *dashboardPage {
	t.Helper()
	p := &dashboardPage{cmd: m.command(t.Context(), "meshctl", append([]string{"dashboard", "--browser=false"}, args...)...)}
	p.cmd.Stderr = &p.said
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		said, code := p.end(t)
		t.Fatalf("dashboard %v printed no address: %v; it ended with %d: %s", args, err, code, said)
	}
	p.url = strings.TrimSpace(line)
	return p
}

// end is Ctrl-C; it returns what was said, and the exit code.
func (p *dashboardPage) end(t *testing.T) (string, int) {
	t.Helper()
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Error(err)
	}
	var ended *exec.ExitError
	if err := p.cmd.Wait(); err != nil && !errors.As(err, &ended) {
		t.Error(err)
	}
	return p.said.String(), p.cmd.ProcessState.ExitCode()
}

// query asks Prometheus's API.
func (p *dashboardPage) query(into any, what string, values url.Values) error {
	client := &http.Client{Timeout: 30 * time.Second}
	res, err := client.Get(p.url + "api/v1/" + what + "?" + values.Encode())
	if err != nil {
		return err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", res.Status, b)
	}
	return json.Unmarshal(b, &struct{ Data any }{into})
}
