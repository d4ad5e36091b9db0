package cli_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/local/api"
	"github.com/meshctl/meshctl/internal/localmesh/meshapi"
	"github.com/meshctl/meshctl/internal/resource"
)

// startMesh is the script command "mesh NAME": a control socket that speaks the
// real API. It serves the script's files status.json, sessions.json,
// objects.yaml, diagnostics.json, log.txt and, as every proxy's admin interface,
// config_dump.json and clusters.json.
func startMesh(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: mesh NAME")
	}
	dir := filepath.Join(ts.Getenv("XDG_RUNTIME_DIR"), "meshctl", args[0])
	ts.Check(os.MkdirAll(dir, 0o700))
	ln, err := net.Listen("unix", filepath.Join(dir, "control.sock"))
	ts.Check(err)
	m := &fakeMesh{dir: ts.MkAbs("."), name: args[0], objects: map[meshapi.Key]*resource.Object{}}
	ts.Check(m.load())
	server := &http.Server{Handler: m.handler(), ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(ln) }()
	ts.Defer(func() { _ = server.Close() })
}

type fakeMesh struct {
	dir, name string

	mu      sync.Mutex
	objects map[meshapi.Key]*resource.Object
	levels  string // what was set through the proxy's /logging
}

func (m *fakeMesh) file(name string) []byte {
	b, err := os.ReadFile(filepath.Join(m.dir, name))
	if err != nil {
		return nil
	}
	return b
}

func (m *fakeMesh) load() error {
	objects, ds := resource.Decode("objects.yaml", m.file("objects.yaml"), resource.Options{})
	if len(ds) > 0 {
		return ds[0]
	}
	for _, o := range objects {
		m.objects[keyOf(o)] = o
	}
	return nil
}

func keyOf(o *resource.Object) meshapi.Key {
	return meshapi.Key{Group: o.Key.Kind.Group, Kind: o.Key.Kind.Kind, Namespace: o.Key.Namespace, Name: o.Key.Name}
}

func (m *fakeMesh) handler() http.Handler {
	mux := http.NewServeMux()
	text := func(pattern, file, empty string) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, _ *http.Request) {
			b := m.file(file)
			if b == nil {
				b = []byte(empty)
			}
			_, _ = w.Write(b)
		})
	}
	text("GET "+api.PathStatus, "status.json", `{"name":"default","state":"Ready"}`)
	text("GET "+api.PathLogs, "log.txt", "")
	text("GET "+meshapi.PathSessions, "sessions.json", "[]")
	text("GET "+meshapi.PathDiagnostics, "diagnostics.json", "[]")
	mux.HandleFunc("GET "+api.PathPods, m.pods)
	mux.HandleFunc("GET "+meshapi.PathInfo, func(w http.ResponseWriter, _ *http.Request) {
		reply(w, meshapi.Info{Version: "1.2.3", APIVersion: "1.31", Instance: "istiod-" + m.name})
	})
	mux.HandleFunc("POST "+meshapi.PathApply, m.apply)
	mux.HandleFunc("POST "+meshapi.PathDelete, m.remove)
	mux.HandleFunc("GET "+meshapi.PathObjects, m.list)
	mux.HandleFunc("POST "+api.PathExec, m.exec)
	mux.HandleFunc("GET "+api.PathDial, m.dial)
	return mux
}

func reply(w http.ResponseWriter, v any) { _ = json.NewEncoder(w).Encode(v) }

func (m *fakeMesh) pods(w http.ResponseWriter, _ *http.Request) {
	var s api.Status
	_ = json.Unmarshal(m.file("status.json"), &s)
	reply(w, s.Pods)
}

func (m *fakeMesh) apply(w http.ResponseWriter, r *http.Request) {
	var req meshapi.ApplyRequest
	_ = json.NewDecoder(r.Body).Decode(&req)
	resp := meshapi.ChangeResponse{Changes: []meshapi.Change{}}
	var all []*resource.Object
	for _, f := range req.Files {
		objects, ds := resource.Decode(f.Name, f.Data, resource.Options{DefaultNamespace: req.Namespace})
		for _, o := range objects {
			ds = append(ds, resource.Validate(o)...)
		}
		all, resp.Findings = append(all, objects...), append(resp.Findings, ds...)
	}
	if worst, any := diag.Worst(resp.Findings); any && worst == diag.Error {
		reply(w, resp)
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, o := range all {
		k, action := keyOf(o), "created"
		if old := m.objects[k]; old != nil {
			if action = "configured"; old.Hash == o.Hash {
				action = "unchanged"
			}
		}
		if !req.DryRun {
			m.objects[k] = o
		}
		resp.Changes = append(resp.Changes, meshapi.Change{Key: k, Action: action})
	}
	reply(w, resp)
}

func (m *fakeMesh) remove(w http.ResponseWriter, r *http.Request) {
	var req meshapi.DeleteRequest
	_ = json.NewDecoder(r.Body).Decode(&req)
	keys := req.Keys
	for _, f := range req.Files {
		objects, _ := resource.Decode(f.Name, f.Data, resource.Options{})
		for _, o := range objects {
			keys = append(keys, keyOf(o))
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	resp := meshapi.ChangeResponse{Changes: []meshapi.Change{}}
	for _, k := range keys {
		if m.objects[k] == nil {
			if req.IgnoreMissing {
				continue
			}
			w.WriteHeader(http.StatusNotFound)
			reply(w, meshapi.Error{Message: fmt.Sprintf("there is no %s %s/%s", k.Kind, k.Namespace, k.Name), Fix: "list what there is with: meshctl get KIND"})
			return
		}
		delete(m.objects, k)
		resp.Changes = append(resp.Changes, meshapi.Change{Key: k, Action: "deleted"})
	}
	reply(w, resp)
}

func (m *fakeMesh) list(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	m.mu.Lock()
	defer m.mu.Unlock()
	out := []meshapi.Object{}
	for k, o := range m.objects {
		if (q.Get("kind") == "" || q.Get("kind") == k.Kind && q.Get("group") == k.Group) &&
			(q.Get("namespace") == "" || q.Get("namespace") == k.Namespace) && (q.Get("name") == "" || q.Get("name") == k.Name) {
			out = append(out, meshapi.Object{Key: k, APIVersion: o.APIVersion, Pos: o.Pos, Source: "api", Raw: o.Raw})
		}
	}
	reply(w, out)
}

func (m *fakeMesh) exec(w http.ResponseWriter, r *http.Request) {
	var req api.ExecRequest
	_ = json.NewDecoder(r.Body).Decode(&req)
	if slices.Equal(req.Command, []string{"false"}) {
		reply(w, api.ExecResult{ExitCode: 3, Stderr: []byte("no\n")})
		return
	}
	out := r.PathValue("namespace") + "/" + r.PathValue("pod") + " " + req.Container + " " + strings.Join(req.Command, " ") + "\n"
	reply(w, api.ExecResult{Stdout: append([]byte(out), req.Stdin...)})
}

// dial is the way to a proxy's admin interface.
func (m *fakeMesh) dial(w http.ResponseWriter, r *http.Request) {
	if r.FormValue("address") != "127.0.0.1:15000" {
		w.WriteHeader(http.StatusBadGateway)
		reply(w, api.Error{Message: "connection refused"})
		return
	}
	conn, buf, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "+api.Upgrade+"\r\n\r\n")
	req, err := http.ReadRequest(bufio.NewReader(buf))
	if err != nil {
		return
	}
	body := m.admin(req)
	_, _ = fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(body), body)
}

func (m *fakeMesh) admin(req *http.Request) []byte {
	switch req.URL.Path {
	case "/config_dump":
		return m.file("config_dump.json")
	case "/server_info":
		return []byte(`{"command_line_options": {"log_level": "error"}}`)
	case "/clusters":
		return m.file("clusters.json")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if req.Method == http.MethodPost && req.URL.RawQuery != "" {
		m.levels = req.URL.RawQuery
	}
	return []byte("active loggers:\n  admin: info\n  last: " + m.levels + "\n")
}

// exitCode is the script command "code N COMMAND…": the command ends with
// exactly N. Its output is for stdout, stderr and cmp as with exec.
func exitCode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N COMMAND...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	var status *exec.ExitError
	if errors.As(err, &status) {
		got = status.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}
