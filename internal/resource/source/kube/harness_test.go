package kube

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/resource"
	"github.com/meshctl/meshctl/internal/resource/source/kube/kubetest"
)

// recorder is a sink that holds what is in force and checks the rules of sources.
type recorder struct {
	mu      sync.Mutex
	moved   chan struct{}
	applies int
	sets    int // objects set after the first Apply
	objects map[resource.Key]*resource.Object
	found   []diag.Diagnostic
	broken  string // a rule that was not kept
}

func newRecorder() *recorder {
	return &recorder{moved: make(chan struct{}), objects: map[resource.Key]*resource.Object{}}
}

func (r *recorder) Apply(_ string, set []*resource.Object, deleted []resource.Key) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.applies++
	if r.applies > 1 {
		r.sets += len(set)
		if len(set)+len(deleted) == 0 {
			r.broken = "an empty change"
		}
	}
	for _, k := range deleted {
		if r.objects[k] == nil {
			r.broken = "deleted what was not there: " + k.String()
		}
		delete(r.objects, k)
	}
	for _, o := range set {
		r.objects[o.Key] = o
	}
	r.tell()
}

func (r *recorder) Report(_ string, ds []diag.Diagnostic) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.applies == 0 {
		r.broken = "findings before objects"
	}
	r.found = slices.Clone(ds)
	r.tell()
}

func (r *recorder) tell() {
	close(r.moved)
	r.moved = make(chan struct{})
}

// text prints what is in force: the keys with the hash of the content.
func (r *recorder) text() string {
	var b strings.Builder
	for _, k := range slices.SortedFunc(maps.Keys(r.objects), func(a, b resource.Key) int { return strings.Compare(a.String(), b.String()) }) {
		fmt.Fprintf(&b, "%s %016x %s\n", k, r.objects[k].Hash, r.objects[k].Meta.UID)
	}
	return b.String()
}

// until waits for a state.
func (r *recorder) until(t fataler, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	for {
		r.mu.Lock()
		done, moved := ok(), r.moved
		broken, text := r.broken, r.text()
		found := fmt.Sprint(r.found)
		r.mu.Unlock()
		if broken != "" {
			t.Fatalf("a rule of sources was not kept: %s", broken)
		}
		if done {
			return
		}
		select {
		case <-moved:
		case <-deadline.C:
			t.Fatalf("waited in vain: %s\nin force:\n%sfindings: %s", what, text, found)
		}
	}
}

func (r *recorder) started() bool { return r.applies > 0 }

// cluster is an API server and a source that follows it.
type cluster struct {
	*kubetest.API
	url  string
	logs *syncBuffer
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	c, stop := startCluster()
	t.Cleanup(stop)
	return c
}

func startCluster() (*cluster, func()) {
	c := &cluster{API: kubetest.New(), logs: &syncBuffer{moved: make(chan struct{})}}
	server := httptest.NewUnstartedServer(c.API)
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.Start()
	c.url = server.URL
	return c, func() {
		server.CloseClientConnections()
		server.Close()
	}
}

// follow runs a source until the test ends.
func (c *cluster) follow(t *testing.T, o Options) *recorder {
	t.Helper()
	r, stop := c.start(t, o)
	t.Cleanup(stop)
	return r
}

// fataler is what a test and a property have in common.
type fataler interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
	Errorf(string, ...any)
}

func (c *cluster) start(t fataler, o Options) (*recorder, func()) {
	t.Helper()
	r := newRecorder()
	o.Config = &rest.Config{Host: c.url, QPS: 1000, Burst: 1000}
	o.Logger = slog.New(slog.NewTextHandler(c.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, r) }()
	return r, func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the source ended with %v", err)
		}
	}
}

func (c *cluster) apply(t fataler, objects ...string) {
	t.Helper()
	for _, o := range objects {
		if err := c.Apply(o); err != nil {
			t.Fatal(err)
		}
	}
}

func (c *cluster) define(kinds ...string) {
	for _, k := range kinds {
		info, ok := resource.LookupKind(k)
		if !ok {
			panic("no kind " + k)
		}
		c.Define(info.Kind.Group, info.Plural, info.Kind.Kind, info.Namespaced, info.Versions...)
	}
}

// syncBuffer holds what was logged.
type syncBuffer struct {
	mu    sync.Mutex
	b     bytes.Buffer
	moved chan struct{}
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.moved)
	s.moved = make(chan struct{})
	return s.b.Write(p)
}

// until waits for a text in the log.
func (s *syncBuffer) until(t fataler, text string) {
	t.Helper()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	for {
		s.mu.Lock()
		all, moved := s.b.String(), s.moved
		s.mu.Unlock()
		if strings.Contains(all, text) {
			return
		}
		select {
		case <-moved:
		case <-deadline.C:
			t.Fatalf("waited in vain for %q in the log:\n%s", text, all)
		}
	}
}

func object(apiVersion, kind, name, rest string) string {
	meta := fmt.Sprintf(`{"name":%q}`, name)
	if ns, n, ok := strings.Cut(name, "/"); ok {
		meta = fmt.Sprintf(`{"namespace":%q,"name":%q}`, ns, n)
	}
	if rest != "" {
		rest = "," + rest
	}
	return fmt.Sprintf(`{"apiVersion":%q,"kind":%q,"metadata":%s%s}`, apiVersion, kind, meta, rest)
}

func virtualService(name, host string) string {
	return object("networking.istio.io/v1", "VirtualService", name,
		fmt.Sprintf(`"spec":{"hosts":["reviews"],"http":[{"route":[{"destination":{"host":%q}}]}]}`, host))
}

func key(k resource.Kind, name string) resource.Key {
	ns, n, ok := strings.Cut(name, "/")
	if !ok {
		ns, n = "", name
	}
	return resource.Key{Kind: k, Namespace: ns, Name: n}
}
