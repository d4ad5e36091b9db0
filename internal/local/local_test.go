package local_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/local"
	"github.com/meshctl/meshctl/internal/local/api"
	"github.com/meshctl/meshctl/internal/local/client"
	"github.com/meshctl/meshctl/internal/local/localtest"
	"github.com/meshctl/meshctl/internal/local/runtime"
	"github.com/meshctl/meshctl/internal/resource"
)

// The test binary is also the mesh's processes and the programs in its pods.
func TestMain(m *testing.M) {
	if code, handled := local.MaybeReexec(os.Args, local.Hooks{Node: testControlPlane}); handled {
		os.Exit(code)
	}
	programs := map[string]func() error{"test-web": web, "test-crash": crash, "test-once": once, "test-proxy": proxyProgram}
	if program := programs[os.Args[0]]; program != nil {
		if err := program(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// testControlPlane runs the objects in the folder's objects.yaml, without
// proxies unless Extra says so, and takes new ones over the control socket.
func testControlPlane(ctx context.Context, env *local.NodeEnv) error {
	load := func(data []byte) error {
		objects, ds := resource.Decode("objects.yaml", data, resource.Options{})
		for _, d := range ds {
			return d
		}
		env.SetObjects(objects)
		return nil
	}
	env.Handle("POST /test/objects", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		data, err := io.ReadAll(r.Body)
		if err == nil {
			err = load(data)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
		}
	}))
	cp, err := controlPlaneFor(env)
	if err != nil {
		return err
	}
	if err := env.Use(cp); err != nil {
		return err
	}
	data, err := os.ReadFile(filepath.Join(env.Settings.Folder, "objects.yaml"))
	if err != nil {
		return err
	}
	if err := load(data); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

func controlPlaneFor(env *local.NodeEnv) (runtime.ControlPlane, error) {
	var extra testExtra
	if err := json.Unmarshal(env.Settings.Extra, &extra); err != nil {
		return runtime.ControlPlane{}, err
	}
	seen := &recorder{}
	env.Handle("GET /test/published", seen)
	if !extra.Proxies {
		return runtime.ControlPlane{Publisher: seen}, nil
	}
	return proxiedControlPlane(env, seen), nil
}

type testExtra struct{ Proxies bool }

// web answers what it knows about itself and, on /fetch?url=, about others.
func web() error {
	ln, err := net.Listen("tcp", os.Getenv("LISTEN")+":"+os.Getenv("PORT"))
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		host, _ := os.Hostname()
		fmt.Fprintf(w, "%s %s %s", os.Getenv("VERSION"), host, os.Getenv("POD_IP"))
	})
	mux.HandleFunc("/fetch", func(w http.ResponseWriter, r *http.Request) {
		c := http.Client{Timeout: 5 * time.Second}
		resp, err := c.Get(r.FormValue("url"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer resp.Body.Close()
		_, _ = io.Copy(w, resp.Body)
	})
	s := &http.Server{Handler: mux}
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	go func() {
		<-term
		_ = s.Shutdown(context.Background())
	}()
	fmt.Println("serving version", os.Getenv("VERSION"))
	if err := s.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func crash() error { return errors.New("no such table: users") }

func once() error {
	fmt.Println("done once")
	return nil
}

const basics = `
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec: {selector: {app: web}, type: LoadBalancer, ports: [{name: http, port: 80, targetPort: web}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: default}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 5
      containers:
      - name: web
        image: example/web:1
        env:
        - {name: VERSION, value: v1}
        - {name: PORT, value: "8080"}
        - {name: POD_IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
        ports: [{name: web, containerPort: 8080}]
        readinessProbe: {httpGet: {path: /, port: web}}
`

// mesh is one mesh of a test.
type mesh struct {
	*local.Mesh
	t      *testing.T
	name   string
	status api.Status
}

// start runs objects as a mesh of its own.
func start(t *testing.T, name, objects string, change ...func(*local.Options)) *mesh {
	t.Helper()
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "objects.yaml"), []byte(objects), 0o644); err != nil {
		t.Fatal(err)
	}
	mapping := "images:\n"
	for _, program := range []string{"web", "crash", "once"} {
		mapping += fmt.Sprintf("  \"example/%s*\": {self: test-%s}\n", program, program)
	}
	if err := os.WriteFile(filepath.Join(folder, "meshctl-local.yaml"), []byte(mapping), 0o644); err != nil {
		t.Fatal(err)
	}
	name = fmt.Sprintf("%s-%d", name, os.Getpid())
	o := local.Options{
		Settings: local.Settings{
			Name: name, Folder: folder, Extra: json.RawMessage(`{}`), Settle: 200 * time.Millisecond, LogLevel: "debug",
			Publish: runtime.Publishing{Ports: map[int]int{80: 20000 + os.Getpid()%20000}},
		},
		Timeout: time.Minute,
	}
	for _, c := range change {
		c(&o)
	}
	m, status, err := local.Start(t.Context(), o)
	if m != nil {
		t.Cleanup(func() {
			log, _ := os.ReadFile(m.Paths.Log())
			if bad := strings.Contains(string(log), "DATA RACE") || strings.Contains(string(log), "panic:"); bad || t.Failed() {
				t.Errorf("mesh.log:\n%s", log)
			}
			if _, err := local.Stop(context.Background(), name, 0); err != nil {
				t.Errorf("stop: %v", err)
			}
			if _, err := os.Stat(m.Paths.Dir); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("state is left: %v", err)
			}
		})
	}
	if err != nil {
		if m != nil {
			log, _ := os.ReadFile(m.Paths.Log())
			t.Fatalf("start: %v\n%+v\nmesh.log:\n%s", err, status, log)
		}
		var se *local.StartError
		if errors.As(err, &se) {
			t.Fatalf("start: %v\n%s", err, se.Log)
		}
		t.Fatalf("start: %v", err)
	}
	return &mesh{Mesh: m, t: t, name: name, status: status}
}

func get(t *testing.T, url string) string {
	t.Helper()
	c := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := c.Get(url)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return string(b)
}

func (m *mesh) url(service string) string {
	m.t.Helper()
	s, err := m.Status(m.t.Context())
	if err != nil {
		m.t.Fatal(err)
	}
	for _, p := range s.Publications {
		if strings.HasPrefix(p.Name, service) && p.Address != "" {
			return "http://" + p.Address
		}
	}
	m.t.Fatalf("%s is not published: %+v", service, s.Publications)
	return ""
}

// await waits for events until ok.
func (m *mesh) await(what string, ok func(api.Status) bool) api.Status {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		s, err := m.Status(ctx)
		if err == nil && ok(s) {
			return s
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			m.t.Fatalf("%s: not within 30 s: %v %+v", what, err, s)
		}
	}
}

// shared makes XDG_RUNTIME_DIR one that all tests of the process use.
func TestMesh(t *testing.T) {
	t.Parallel()
	localtest.AsEachUser(t, func(t *testing.T) {
		m := start(t, "basic", basics)
		if m.status.State != api.Ready || len(m.status.Pods) != 2 {
			t.Fatalf("not ready: %+v", m.status)
		}
		t.Run("published port", func(t *testing.T) {
			hosts := map[string]bool{}
			for range 20 {
				hosts[get(t, m.url("default/web"))] = true
			}
			if len(hosts) != 2 {
				t.Errorf("answers: %v", hosts)
			}
			for h := range hosts {
				if !strings.HasPrefix(h, "v1 web-") || !strings.Contains(h, "10.244.") {
					t.Errorf("answer %q", h)
				}
			}
		})
		t.Run("service by name and by address", func(t *testing.T) {
			for _, target := range []string{"http://web.default.svc.cluster.local", "http://web", "http://" + m.status.Services[0].ClusterIP} {
				if got := get(t, m.url("default/web")+"/fetch?url="+target); !strings.HasPrefix(got, "v1 web-") {
					t.Errorf("%s: %q", target, got)
				}
			}
		})
		t.Run("logs", func(t *testing.T) {
			var out strings.Builder
			if err := m.Logs(t.Context(), "default", m.status.Pods[0].Name, client.LogOptions{Lines: -1}, &out); err != nil || out.String() != "serving version v1\n" {
				t.Errorf("log %q, %v", out.String(), err)
			}
		})
		t.Run("exec", func(t *testing.T) {
			r, err := m.Exec(t.Context(), "default", m.status.Pods[0].Name, api.ExecRequest{
				Command: []string{"sh", "-c", "hostname; cat; echo $VERSION; ls " + m.Paths.Dir + "; exit 3"}, Stdin: []byte("in\n"),
			})
			if want := m.status.Pods[0].Name + "\nin\nv1\npods\n"; err != nil || r.ExitCode != 3 || string(r.Stdout) != want {
				t.Errorf("got %d %q %q %v, want %q", r.ExitCode, r.Stdout, r.Stderr, err, want)
			}
		})
		t.Run("dial", func(t *testing.T) {
			conn, err := m.Dial(t.Context(), "default/"+m.status.Pods[0].Name, "127.0.0.1:8080")
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			fmt.Fprint(conn, "GET / HTTP/1.0\r\n\r\n")
			b, err := io.ReadAll(conn)
			if err != nil || !strings.Contains(string(b), m.status.Pods[0].Name) {
				t.Errorf("%q %v", b, err)
			}
		})
		t.Run("outside", func(t *testing.T) { testOutside(t, m) })
		t.Run("rolling update without a lost request", func(t *testing.T) { testRollout(t, m, basics) })
		t.Run("scale", func(t *testing.T) {
			if err := m.Scale(t.Context(), "Deployment", "default", "web", 1); err != nil {
				t.Fatal(err)
			}
			m.await("one pod", func(s api.Status) bool { return len(s.Pods) == 1 })
		})
		t.Run("restart", func(t *testing.T) {
			before := m.await("a pod", func(s api.Status) bool { return len(s.Pods) == 1 && s.Pods[0].Ready }).Pods[0]
			if err := m.Restart(t.Context(), "default", before.Name); err != nil {
				t.Fatal(err)
			}
			m.await("a new pod", func(s api.Status) bool {
				return len(s.Pods) == 1 && s.Pods[0].Ready && s.Pods[0].Name == before.Name && s.Pods[0].IP != before.IP
			})
		})
		t.Run("second mesh of the name", func(t *testing.T) {
			_, _, err := local.Start(t.Context(), local.Options{Settings: local.Settings{Name: m.name}})
			var running *local.RunningError
			if !errors.As(err, &running) || running.PID != m.status.PID {
				t.Errorf("got %v", err)
			}
		})
	})
}

func (m *mesh) apply(t *testing.T, objects string) {
	t.Helper()
	resp, err := m.HTTP().Post("http://mesh/test/objects", "application/yaml", strings.NewReader(objects))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		b, _ := io.ReadAll(resp.Body)
		t.Fatalf("apply: %s", b)
	}
}

func testRollout(t *testing.T, m *mesh, objects string) {
	url := m.url("default/web")
	stop := make(chan struct{})
	lost := make(chan string, 1)
	go func() {
		defer close(lost)
		for {
			select {
			case <-stop:
				return
			default:
			}
			if got := get(t, url); !strings.HasPrefix(got, "v1 ") && !strings.HasPrefix(got, "v2 ") {
				lost <- got
				return
			}
		}
	}()
	m.apply(t, strings.Replace(objects, "value: v1", "value: v2", 1))
	m.await("all new", func(s api.Status) bool {
		n := 0
		for _, p := range s.Pods {
			if p.Ready {
				n++
			}
		}
		return n == 2 && len(s.Pods) == 2 && strings.HasPrefix(get(t, url), "v2 ") && strings.HasPrefix(get(t, url), "v2 ")
	})
	close(stop)
	for got := range lost {
		t.Errorf("a request was lost: %s", got)
	}
}

// testOutside has a pod reach a server on the host's network.
func testOutside(t *testing.T, m *mesh) {
	var address string
	ifaces, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range ifaces {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && n.IP.IsGlobalUnicast() {
			address = n.IP.String()
		}
	}
	if address == "" {
		t.Log("the machine has no address but loopback; checking the refusal only")
		if got := get(t, m.url("default/web")+"/fetch?url=http://192.0.2.1:9"); !strings.Contains(got, "192.0.2.1:9") {
			t.Errorf("got %q", got)
		}
		return
	}
	ln, err := net.Listen("tcp", address+":0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "outside") })}
	go func() { _ = s.Serve(ln) }()
	t.Cleanup(func() { s.Close() })
	if got := get(t, m.url("default/web")+"/fetch?url=http://"+ln.Addr().String()); got != "outside" {
		t.Errorf("got %q", got)
	}
}

// TestMappingIsFollowed: what a finding says to write into the mapping file counts
// without a new start, and a broken edit leaves what was good in force.
func TestMappingIsFollowed(t *testing.T) {
	t.Parallel()
	localtest.AsEachUser(t, func(t *testing.T) {
		var file string
		m := start(t, "mapping", basics, func(o *local.Options) { file = filepath.Join(o.Settings.Folder, "meshctl-local.yaml") })
		m.apply(t, strings.ReplaceAll(basics, "example/", "other/"))
		says := func(text string) func(api.Status) bool {
			return func(s api.Status) bool {
				return slices.ContainsFunc(s.Diagnostics, func(d diag.Diagnostic) bool { return strings.Contains(d.Message, text) })
			}
		}
		m.await("a finding about the image", says(`no local program stands for image "other/`))
		write := func(text string) {
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		write("images: {\"other/web*\": {self: test-web}}\n")
		ready := func(s api.Status) bool {
			return len(s.Diagnostics) == 0 && s.State == api.Ready && slices.ContainsFunc(s.Pods, func(p api.Pod) bool { return p.Ready })
		}
		m.await("the pods of the mapped image", ready)
		write("images: [\n")
		s := m.await("a finding about the file", func(s api.Status) bool { return len(s.Diagnostics) > 0 })
		if s.Diagnostics[0].Pos.File != file {
			t.Errorf("the finding is about %s: %+v", s.Diagnostics[0].Pos, s.Diagnostics[0])
		}
		m.apply(t, basics+"\n") // a change is still served by the good mapping, which has no example/
		m.await("the old image to be unknown", says(`no local program stands for image "example/`))
	})
}
