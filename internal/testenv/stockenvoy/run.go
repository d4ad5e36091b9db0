package stockenvoy

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Admin is the admin interface that a configuration for Start must have, as a
// member of its top level.
const Admin = `"admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}}`

// GRPCCluster is a static cluster that speaks HTTP/2 to a port of this machine,
// as one for xDS has to.
func GRPCCluster(name string, port int) string {
	return fmt.Sprintf(`{
  "name": %[1]q, "type": "STATIC", "connect_timeout": "5s",
  "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
   "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
   "explicit_http_config": {"http2_protocol_options": {}}}},
  "load_assignment": {"cluster_name": %[1]q, "endpoints": [{"lb_endpoints": [
   {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": %[2]d}}}}]}]}}`, name, port)
}

// Envoy is a running one.
type Envoy struct {
	t     testing.TB
	admin string
}

// Start runs Envoy with a configuration, YAML or JSON, until the test ends. It
// returns when the admin interface answers; a failed test shows Envoy's log.
func Start(t testing.TB, config string) *Envoy {
	t.Helper()
	path, dir := Find(t), t.TempDir()
	conf, admin, logPath := filepath.Join(dir, "envoy.yaml"), filepath.Join(dir, "admin"), filepath.Join(dir, "log")
	if err := os.WriteFile(conf, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(logPath)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), path, "-c", conf, "--admin-address-path", admin,
		"--concurrency", "1", "--disable-hot-restart", "-l", "warning", "--drain-time-s", "1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Stderr, cmd.Stdout = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = log.Close()
		if t.Failed() {
			text, _ := os.ReadFile(logPath)
			t.Logf("Envoy's log:\n%s", text)
		}
	})
	e := &Envoy{t: t}
	e.Until("the admin address", func() bool {
		b, err := os.ReadFile(admin)
		e.admin = "http://" + strings.TrimSpace(string(b))
		return err == nil && len(b) > 0
	})
	return e
}

// Until polls: another process cannot tell us.
func (e *Envoy) Until(what string, ok func() bool) {
	e.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.Now().Add(30 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			e.t.Fatalf("Envoy: no sign of %s", what)
		}
		<-tick.C
	}
}

// Get asks the admin interface; "" while it does not answer.
func (e *Envoy) Get(path string) string {
	e.t.Helper()
	return Get(e.t, e.admin+path)
}

// Get is the body of an answer, "" when there is none.
func Get(t testing.TB, url string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Timeout: 10 * time.Second}
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return string(b)
}

// Stats are counters and gauges by name.
func (e *Envoy) Stats() map[string]int {
	e.t.Helper()
	var parsed struct {
		Stats []struct {
			Name  string `json:"name"`
			Value int    `json:"value"`
		} `json:"stats"`
	}
	_ = json.Unmarshal([]byte(e.Get("/stats?format=json")), &parsed) // histograms do not fit and are not wanted
	out := map[string]int{}
	for _, s := range parsed.Stats {
		out[s.Name] = s.Value
	}
	return out
}
