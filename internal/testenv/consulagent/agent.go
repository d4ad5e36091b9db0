// Package consulagent runs a real Consul agent for a test.
//
//	a := consulagent.Start(t, consulagent.Options{})
//	a.Put(t, "/v1/agent/service/register", `{"Name":"details","Address":"10.0.0.3","Port":9080}`)
package consulagent

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/meshctl/meshctl/internal/testenv/wait"
)

// patience is how long an agent may take to start on a slow machine.
const patience = time.Minute

// ErrMissing says how to get the program.
var ErrMissing = errors.New("no Consul: set MESH_CONSUL to its path, or put consul into PATH; github.com/hashicorp/consul at v1.9.0 builds from its module")

// Options of an agent.
type Options struct {
	// Address is the one that it listens on; default 127.0.0.1.
	Address string
	// Token is the only ACL token that may do anything; empty: no ACL.
	Token string
}

// Agent is one that runs until the test ends.
type Agent struct {
	// URL is where its HTTP API is.
	URL   string
	token string
}

// Locate looks at MESH_CONSUL, in PATH, and where .ci/run keeps it.
func Locate() (string, error) {
	if path := os.Getenv("MESH_CONSUL"); path != "" {
		return path, nil
	}
	if path, err := exec.LookPath("consul"); err == nil {
		return path, nil
	}
	if cache, err := os.UserCacheDir(); err == nil {
		path := filepath.Join(cache, "meshctl-ci/consul/consul")
		if st, err := os.Stat(path); err == nil && st.Mode().IsRegular() {
			return path, nil
		}
	}
	return "", ErrMissing
}

// Start runs one, with a server and no state on disk. Without the program the test is
// skipped, or fails if MESH_REQUIRE_CONSUL=1.
func Start(t testing.TB, o Options) *Agent {
	t.Helper()
	program, err := Locate()
	if err != nil {
		if os.Getenv("MESH_REQUIRE_CONSUL") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	address := cmp.Or(o.Address, "127.0.0.1")
	port := func() int {
		ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", net.JoinHostPort(address, "0"))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = ln.Close() }()
		return ln.Addr().(*net.TCPAddr).Port
	}
	api := port()
	config := map[string]any{"ports": map[string]int{
		"http": api, "dns": -1, "grpc": -1, "server": port(), "serf_lan": port(), "serf_wan": port(),
	}}
	if o.Token != "" {
		config["acl"] = map[string]any{"enabled": true, "default_policy": "deny", "tokens": map[string]string{"master": o.Token, "agent": o.Token}}
	}
	text, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "c.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	cmd := exec.Command(program, "agent", "-dev", "-bind="+address, "-client="+address, "-config-file="+file)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("consul:\n%s", log.String()[max(0, log.Len()-4000):])
		}
	})
	a := &Agent{URL: "http://" + net.JoinHostPort(address, strconv.Itoa(api)), token: o.Token}
	wait.For(t, patience, "Consul", func() error {
		code, body := a.Call(t, http.MethodGet, "/v1/status/leader", "")
		if code != http.StatusOK || len(body) <= 4 { // more than ""
			return fmt.Errorf("no leader yet: %d %s", code, body)
		}
		if code, body = a.Call(t, http.MethodGet, "/v1/catalog/services", ""); code != http.StatusOK {
			return fmt.Errorf("no catalog yet: %d %s", code, body)
		}
		return nil
	})
	return a
}

// Call asks the API; the code is 0 when there was no answer, and body says why.
func (a *Agent) Call(t testing.TB, method, path, body string) (code int, text string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, a.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if a.token != "" {
		req.Header.Set("X-Consul-Token", a.token)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(b)
}

// Put is a PUT that must succeed.
func (a *Agent) Put(t testing.TB, path, body string) {
	t.Helper()
	if code, text := a.Call(t, http.MethodPut, path, body); code != http.StatusOK {
		t.Fatalf("PUT %s: %d %s", path, code, text)
	}
}
