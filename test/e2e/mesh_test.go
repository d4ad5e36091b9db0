//go:build e2e

package e2e

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meshctl/meshctl/internal/load"
	"github.com/meshctl/meshctl/internal/local"
	"github.com/meshctl/meshctl/internal/local/api"
	"github.com/meshctl/meshctl/internal/localmesh/meshapi"
	"github.com/meshctl/meshctl/internal/testenv/wait"
)

// samples is the folder that is brought up; manifests are relative to it.
const samples = "../../samples/bookinfo"

// settle is how long anything in a mesh may take that ends by itself.
const settle = 60 * time.Second

// mesh is the running mesh under test.
type mesh struct {
	*local.Mesh
	api     *meshapi.Client
	name    string
	program string // meshctl
	url     string // of the ingress gateway
	// envoy: its proxies are Envoys, whose changes do not reach open connections at once.
	envoy bool
}

// up starts a mesh from a folder by the meshctl program. The caller ends it.
func up(t *testing.T, name, folder string, flags ...string) *mesh {
	t.Helper()
	bin := os.Getenv("MESH_BIN")
	if bin == "" {
		t.Fatal("MESH_BIN is not set: run `make e2e`")
	}
	m := &mesh{name: name, program: filepath.Join(bin, "meshctl")}
	t.Cleanup(func() {
		if t.Failed() {
			m.tellLog(t)
		}
		// Clean up whatever happened; TestMesh's last step is the one that checks it.
		_, _ = local.Stop(context.WithoutCancel(t.Context()), name, 0)
	})
	began := time.Now()
	out := m.run(t, append([]string{"up", "--name", name, folder}, flags...)...)
	t.Logf("up took %s\n%s", time.Since(began).Round(10*time.Millisecond), out)
	opened, err := local.Open(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	m.Mesh, m.api = opened, meshapi.New(opened.HTTP())
	status, err := m.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if status.State != api.Ready {
		t.Fatalf("the mesh is %s: %v %v", status.State, status.Waiting, status.Failed)
	}
	for _, p := range status.Publications {
		if p.Name == "istio-system/istio-ingressgateway:80" {
			m.url = p.URL
		}
	}
	if m.url == "" {
		t.Fatalf("the ingress gateway is not published: %+v", status.Publications)
	}
	return m
}

// tellLog shows the end of the mesh's own log.
func (m *mesh) tellLog(t *testing.T) {
	p, err := local.PathsOf(m.name)
	if err != nil {
		return
	}
	b, err := os.ReadFile(p.Log())
	if err != nil {
		return
	}
	t.Logf("end of the mesh's log:\n%s", b[max(0, len(b)-8<<10):])
}

// try runs meshctl and returns what it printed.
func (m *mesh) try(t *testing.T, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, m.program, args...)
	cmd.Env = append(os.Environ(), "MESHCTL_CONTEXT=local:"+m.name, "NO_COLOR=1")
	var out, talk bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &talk
	err = cmd.Run()
	return out.String(), talk.String(), err
}

// run is try that must succeed; it returns both outputs.
func (m *mesh) run(t *testing.T, args ...string) string {
	t.Helper()
	out, talk, err := m.try(t, args...)
	if err != nil {
		t.Fatalf("meshctl %s: %v\n%s%s", strings.Join(args, " "), err, out, talk)
	}
	return out + talk
}

// apply applies a file of samples/bookinfo/networking, waits until every proxy
// has it, and takes it back at the end of the test.
func (m *mesh) apply(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		m.applyFile(t, filepath.Join(samples, "networking", name+".yaml"))
	}
}

// applyText does so with a manifest in the test.
func (m *mesh) applyText(t *testing.T, manifest string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "manifest.yaml")
	if err := os.WriteFile(file, []byte(manifest), 0o600); err != nil {
		t.Fatal(err)
	}
	m.applyFile(t, file)
}

func (m *mesh) applyFile(t *testing.T, file string) {
	t.Helper()
	m.run(t, "apply", "-f", file)
	t.Cleanup(func() { m.deleteFile(t, file) })
	m.settled(t)
}

func (m *mesh) deleteFile(t *testing.T, file string) {
	t.Helper()
	// The context of a test is over when its cleanups run.
	cmd := exec.Command(m.program, "delete", "--ignore-not-found", "-f", file)
	cmd.Env = append(os.Environ(), "MESHCTL_CONTEXT=local:"+m.name)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("meshctl delete -f %s: %v\n%s", file, err, out)
	}
	if err := m.api.Wait(context.WithoutCancel(t.Context()), settle); err != nil {
		t.Errorf("wait for the proxies: %v", err)
	}
}

// settled returns when everything runs and every proxy has what is applied.
func (m *mesh) settled(t *testing.T) {
	t.Helper()
	m.await(t, "everything to be ready", func(s api.Status) bool { return s.State == api.Ready })
	if err := m.api.Wait(t.Context(), settle); err != nil {
		t.Fatalf("wait for the proxies: %v", err)
	}
}

// inForce checks what was applied. An Envoy serves connections that are open with
// the listener that they began with, and tells them to go.
func (m *mesh) inForce(t *testing.T, check func() error) {
	t.Helper()
	if m.envoy {
		eventually(t, "what was applied", check)
		return
	}
	if err := check(); err != nil {
		t.Error(err)
	}
}

// await waits until the mesh is as done says, looking after each event.
func (m *mesh) await(t *testing.T, what string, done func(api.Status) bool) {
	t.Helper()
	eventually(t, what, func() error {
		s, err := m.Status(t.Context())
		if err != nil {
			return err
		}
		if !done(s) {
			return fmt.Errorf("the mesh is %s; waiting for %v; failed: %v", s.State, s.Waiting, s.Failed)
		}
		return nil
	})
}

// eventually waits until check finds nothing wrong.
func eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	wait.For(t, settle, what, check)
}

// pod finds the ready pod of a workload ("reviews-v3"), waiting for it: what
// was applied a moment ago may not have been looked at yet.
func (m *mesh) pod(t *testing.T, workload string) api.Pod {
	t.Helper()
	var found api.Pod
	m.await(t, "a pod of "+workload, func(s api.Status) bool {
		i := slices.IndexFunc(s.Pods, func(p api.Pod) bool { return p.Workload == "Deployment/"+workload && !p.Terminating && p.Ready })
		if i >= 0 {
			found = s.Pods[i]
		}
		return i >= 0
	})
	return found
}

// service is the virtual address of a service in the namespace default.
func (m *mesh) service(t *testing.T, name string) api.Service {
	t.Helper()
	s, err := m.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(s.Services, func(x api.Service) bool { return x.Namespace == "default" && x.Name == name })
	if i < 0 {
		t.Fatalf("there is no service %s", name)
	}
	return s.Services[i]
}

// answer is one HTTP answer.
type answer struct {
	code   int
	header http.Header
	body   string
	took   time.Duration
}

func (a answer) String() string { return fmt.Sprintf("%d in %s: %.300s", a.code, a.took, a.body) }

// ask sends one request. dial nil means from the machine itself.
func ask(t *testing.T, dial load.DialFunc, url string, headers ...string) (answer, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	client := &http.Client{Timeout: 40 * time.Second, Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
	began := time.Now()
	resp, err := client.Do(req)
	if err != nil {
		return answer{took: time.Since(began)}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return answer{code: resp.StatusCode, header: resp.Header, body: string(body), took: time.Since(began)}, err
}

// get asks the mesh through its gateway.
func (m *mesh) get(t *testing.T, path string, headers ...string) answer {
	t.Helper()
	a, err := ask(t, nil, m.url+path, headers...)
	if err != nil {
		t.Fatalf("GET %s: %v", path, err)
	}
	return a
}

// from connects from inside a pod. Whatever host the caller names, address is
// where it goes.
func (m *mesh) from(pod api.Pod, address string) load.DialFunc {
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		return m.Dial(ctx, pod.Namespace+"/"+pod.Name, address)
	}
}

// shares sends n requests for the product page and returns which version of
// reviews they used, in percent.
func (m *mesh) shares(t *testing.T, n int64, header http.Header) map[string]float64 {
	t.Helper()
	r, err := load.Run(t.Context(), load.Options{
		URL: m.url + "/productpage", Requests: n, Connections: 8, Header: header, GroupByHeader: "x-bookinfo-reviews",
	})
	if err != nil {
		t.Fatal(err)
	}
	noFailures(t, r, n)
	out := map[string]float64{}
	for version, g := range r.Groups {
		out[version] = g.Share * 100
	}
	t.Logf("%d requests, %.0f a second, p99 %s: %v", r.Requests, r.Rate, r.Latency.P99, out)
	return out
}

// noFailures says what failed of a load.
func noFailures(t *testing.T, r *load.Result, atLeast int64) {
	t.Helper()
	if r.Failures > 0 || r.Requests < atLeast {
		t.Errorf("%d of %d requests failed (at least %d were to be sent): codes %v, errors %v", r.Failures, r.Requests, atLeast, r.Codes, r.Errors)
		for _, s := range r.Series {
			if s.Failed > 0 {
				t.Logf("after %s: %d of %d failed", s.At, s.Failed, s.Requests)
			}
		}
	}
}

// within compares shares with what is wanted, in points.
func within(t *testing.T, got, want map[string]float64, points float64) {
	t.Helper()
	for _, version := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[version]; !ok {
			t.Errorf("%.1f %% of the answers are of %s", got[version], version)
		}
	}
	for _, version := range slices.Sorted(maps.Keys(want)) {
		if d := got[version] - want[version]; d > points || d < -points {
			t.Errorf("%.1f %% of the answers are of %s, want %.0f ± %.0f", got[version], version, want[version], points)
		}
	}
}

// log is the output of a container; "" is the program itself.
func (m *mesh) log(t *testing.T, pod api.Pod, container string) string {
	t.Helper()
	args := []string{"logs", pod.Name, "-n", pod.Namespace, "--tail=-1"}
	if container != "" {
		args = append(args, "-c", container)
	}
	out, talk, err := m.try(t, args...)
	if err != nil {
		t.Fatalf("meshctl %s: %v\n%s", strings.Join(args, " "), err, talk)
	}
	return out
}

// unique is a name for a mesh that no other test uses.
func unique(prefix string) string { return cmp.Or(prefix, "e2e") + fmt.Sprintf("-%d", os.Getpid()) }
