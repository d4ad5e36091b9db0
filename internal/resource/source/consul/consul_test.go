package consul_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/resource"
	"github.com/meshctl/meshctl/internal/resource/source/consul"
	"github.com/meshctl/meshctl/internal/testenv/consulagent"
)

// patience is how long anything may take that ends by itself.
const patience = 60 * time.Second

// sink keeps what a source applies.
type sink struct {
	mu      sync.Mutex
	applied atomic.Int32
	objects map[resource.Key]*resource.Object
	reports []diag.Diagnostic
	moved   chan struct{}
}

func newSink() *sink {
	return &sink{objects: map[resource.Key]*resource.Object{}, moved: make(chan struct{}, 1)}
}

func (s *sink) tell() {
	select {
	case s.moved <- struct{}{}:
	default:
	}
}

func (s *sink) Apply(_ string, set []*resource.Object, deleted []resource.Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.applied.Add(1)
	for _, k := range deleted {
		delete(s.objects, k)
	}
	for _, o := range set {
		s.objects[o.Key] = o
	}
	s.tell()
}

func (s *sink) Report(_ string, ds []diag.Diagnostic) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reports = ds
	s.tell()
}

// print shows the ServiceEntries, one line for each endpoint.
func (s *sink) print() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var lines []string
	for _, o := range s.objects {
		e := o.Spec.(*networking.ServiceEntry)
		head := fmt.Sprintf("%s:%d/%s", e.GetHosts()[0], e.GetPorts()[0].GetNumber(), e.GetPorts()[0].GetProtocol())
		lines = append(lines, head)
		for _, w := range e.GetEndpoints() {
			lines = append(lines, fmt.Sprintf("%s -> %s:%d version=%s", head, w.GetAddress(), w.GetPorts()[e.GetPorts()[0].GetName()], w.GetLabels()["version"]))
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func (s *sink) finding() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.reports) == 0 {
		return ""
	}
	return s.reports[0].Message
}

func (s *sink) until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for !ok() {
		select {
		case <-s.moved:
		case <-deadline.C:
			t.Fatalf("waited in vain: %s; there is\n%s\nfindings: %v", what, s.print(), s.reports)
		}
	}
}

func follow(t *testing.T, o consul.Options) *sink {
	t.Helper()
	src, err := consul.New(o)
	if err != nil {
		t.Fatal(err)
	}
	s := newSink()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- src.Run(ctx, s) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s
}

const token = "7f0e2b5c-6d0d-4b1c-8c5a-2f8a4f9d1e11"

// A real agent: services come, change their health, move and go.
func TestRealAgent(t *testing.T) {
	t.Parallel()
	agent := consulagent.Start(t, consulagent.Options{Token: token})
	address := agent.URL
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	agent.Put(t, "/v1/agent/service/register", `{"ID":"r1","Name":"Ratings","Address":"10.0.0.1","Port":9080,"Tags":["version=v1","primary"],"Meta":{"protocol":"http"}}`)
	s := follow(t, consul.Options{Address: address, TokenFile: file, First: patience})
	const head = "ratings.service.consul:9080/HTTP"
	s.until(t, "the first service", func() bool { return s.print() == head+"\n"+head+" -> 10.0.0.1:9080 version=v1" })
	if n := s.applied.Load(); n != 1 {
		t.Errorf("%d changes, want the one with everything", n)
	}
	agent.Put(t, "/v1/agent/service/register", `{"ID":"r2","Name":"Ratings","Address":"10.0.0.2","Port":9081,"Tags":["version|v2"],"Check":{"TTL":"1h","Status":"critical"}}`)
	agent.Put(t, "/v1/agent/service/register", `{"ID":"d1","Name":"details","Address":"10.0.0.3","Port":9080}`)
	s.until(t, "a second service", func() bool { return strings.Contains(s.print(), "details.service.consul:9080/ -> 10.0.0.3:9080") })
	if strings.Contains(s.print(), "10.0.0.2") {
		t.Errorf("a critical instance takes traffic:\n%s", s.print())
	}
	agent.Put(t, "/v1/agent/check/pass/service:r2", "")
	s.until(t, "a healthy instance", func() bool { return strings.Contains(s.print(), head+" -> 10.0.0.2:9081 version=v2") })
	agent.Put(t, "/v1/agent/check/fail/service:r2", "")
	s.until(t, "one that is ill", func() bool { return !strings.Contains(s.print(), "10.0.0.2") })
	agent.Put(t, "/v1/agent/service/deregister/d1", "")
	s.until(t, "the end of a service", func() bool { return !strings.Contains(s.print(), "details") })
	if f := s.finding(); f != "" {
		t.Errorf("finding: %s", f)
	}
	if err := os.WriteFile(file, []byte("00000000-0000-0000-0000-000000000000"), 0o600); err != nil {
		t.Fatal(err)
	}
	other := follow(t, consul.Options{Address: address, TokenFile: file, First: time.Second})
	other.until(t, "an empty mesh and the reason", func() bool {
		return other.applied.Load() == 1 && strings.Contains(other.finding(), "cannot be read") || other.print() == "" && other.applied.Load() == 1
	})
}

// An agent that is away at the start does not hold the mesh up; what is wrong is said.
func TestAgentIsAway(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	answer := func(http.ResponseWriter) {}
	set := func(f func(http.ResponseWriter)) {
		mu.Lock()
		defer mu.Unlock()
		answer = f
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		f := answer
		mu.Unlock()
		if r.URL.Query().Get("index") != "" {
			select {
			case <-r.Context().Done():
			case <-time.After(time.Second): // as an agent whose wait is short
			}
		}
		if strings.HasPrefix(r.URL.Path, "/v1/health/service/") {
			w.Header().Set("X-Consul-Index", "7")
			_, _ = w.Write([]byte(`[{"Node":{"Node":"n1","Address":"10.0.0.9"},"Service":{"ID":"a","Service":"a","Port":80}}]`))
			return
		}
		f(w)
	}))
	t.Cleanup(server.Close)
	t.Cleanup(server.CloseClientConnections)
	says := func(code int, index, body string) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) {
			if index != "" {
				w.Header().Set("X-Consul-Index", index)
			}
			w.WriteHeader(code)
			_, _ = w.Write([]byte(body))
		}
	}
	set(says(http.StatusInternalServerError, "", "No cluster leader"))
	s := follow(t, consul.Options{Address: server.URL, First: 10 * time.Millisecond})
	s.until(t, "an empty mesh with the reason", func() bool { return s.applied.Load() == 1 && strings.Contains(s.finding(), "No cluster leader") })
	set(says(http.StatusForbidden, "", "rpc error"))
	s.until(t, "the reason", func() bool { return strings.Contains(s.finding(), "gives no right") })
	set(says(http.StatusOK, "", "{}"))
	s.until(t, "the reason", func() bool { return strings.Contains(s.finding(), "no Consul agent") })
	set(says(http.StatusOK, "5", "nonsense"))
	s.until(t, "the reason", func() bool { return strings.Contains(s.finding(), "decode") })
	set(says(http.StatusOK, "5", `{"a":[],"b c":[]}`))
	s.until(t, "what it has, but for what DNS does not allow", func() bool {
		return strings.Contains(s.print(), "a.service.consul:80/ -> 10.0.0.9:80") && strings.Contains(s.finding(), `"b c"`)
	})
	set(says(http.StatusInternalServerError, "", "away"))
	s.until(t, "the reason", func() bool { return strings.Contains(s.finding(), "away") })
	if !strings.Contains(s.print(), "10.0.0.9") {
		t.Error("what was read before is gone")
	}
	set(says(http.StatusOK, "3", `{}`)) // begun anew: the index is lower
	s.until(t, "the end of it", func() bool { return s.print() == "" && s.finding() == "" })
}

func TestAddressOfTheAgent(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"", "127.0.0.1:8500", "ftp://x", "http://", "http://x/y"} {
		if _, err := consul.New(consul.Options{Address: bad}); err == nil {
			t.Errorf("%q accepted", bad)
		}
	}
}
