package runtime

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"testing"

	"github.com/meshctl/meshctl/internal/local/api"
	"github.com/meshctl/meshctl/internal/local/controller"
	"github.com/meshctl/meshctl/internal/local/namespaced"
	"github.com/meshctl/meshctl/internal/local/node"
	"github.com/meshctl/meshctl/internal/resource"
)

func TestHostPorts(t *testing.T) {
	t.Parallel()
	p := Publishing{Ports: map[int]int{31400: 7000}}
	for port, want := range map[int]int{80: 8080, 443: 8443, 25: 8025, 9090: 9090, 31400: 7000} {
		if got := p.hostPort(port); got != want {
			t.Errorf("port %d is %d on the host, want %d", port, got, want)
		}
	}
}

func TestEventsAreBoundedAndNumbered(t *testing.T) {
	t.Parallel()
	f := newFeed()
	for range maxEvents * 3 {
		f.add(false, "Kind", "", "")
	}
	events, _ := f.after(0)
	if len(events) > maxEvents || events[len(events)-1].Seq != maxEvents*3 {
		t.Errorf("%d events, the last is number %d", len(events), events[len(events)-1].Seq)
	}
	for i := 1; i < len(events); i++ {
		if events[i].Seq != events[i-1].Seq+1 {
			t.Fatalf("number %d follows %d", events[i].Seq, events[i-1].Seq)
		}
	}
	if got, _ := f.after(maxEvents*3 - 2); len(got) != 2 {
		t.Errorf("the last two are %d", len(got))
	}
}

func newRuntime() *Runtime {
	return New(Options{Network: namespaced.New(node.DefaultNetwork(), nil), Domain: "cluster.local", Log: slog.New(slog.DiscardHandler)})
}

func TestFollowedEventsEndWithTheReader(t *testing.T) {
	t.Parallel()
	r := newRuntime()
	seen := make(chan api.Event)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- r.Events(ctx, 0, true, func(e api.Event) error { seen <- e; return nil })
	}()
	r.Event(true, "Test", "x", "first")
	if e := <-seen; e.Message != "first" || !e.Warning {
		t.Errorf("got %+v", e)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v", err)
	}
	if err := r.Events(t.Context(), 0, true, func(api.Event) error { return io.EOF }); !errors.Is(err, io.EOF) {
		t.Errorf("a reader's error is %v", err)
	}
}

func TestPodAddresses(t *testing.T) {
	t.Parallel()
	r := newRuntime()
	seen := map[netip.Addr]bool{}
	network := node.DefaultNetwork().Gateway.Masked()
	for range 60000 {
		ip, ok := r.freeIP()
		if !ok || seen[ip] || !network.Contains(ip) || ip == r.opts.Network.Gateway() {
			t.Fatalf("address %s %t, seen before: %t", ip, ok, seen[ip])
		}
		seen[ip] = true
	}
}

// A wish for replicas holds until the object itself asks for another number.
func TestScalingHoldsUntilTheObjectSaysOtherwise(t *testing.T) {
	t.Parallel()
	object := func(replicas string) []*resource.Object {
		objects, ds := resource.Decode("in.yaml", []byte(`
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: `+replicas+`
  selector: {matchLabels: {app: web}}
  template: {metadata: {labels: {app: web}}, spec: {containers: [{name: c, image: web}]}}
`), resource.Options{})
		if len(objects) != 1 {
			t.Fatal(ds)
		}
		return objects
	}
	r := newRuntime()
	r.SetObjects(object("2"))
	key := controller.WorkloadKey{Kind: "Deployment", Namespace: "default", Name: "web"}
	if err := r.Scale(key, 5); err != nil {
		t.Fatal(err)
	}
	r.SetObjects(object("2"))
	if r.scale[key].replicas != 5 {
		t.Errorf("the wish is forgotten: %v", r.scale)
	}
	r.SetObjects(object("3"))
	if len(r.scale) != 0 {
		t.Errorf("the wish overrules the object: %v", r.scale)
	}
	for _, wrong := range []struct {
		key controller.WorkloadKey
		n   int
	}{{key, -1}, {key, 1 << 20}, {controller.WorkloadKey{Kind: "Pod", Namespace: "default", Name: "web"}, 1}, {controller.WorkloadKey{Kind: "Deployment", Namespace: "other", Name: "web"}, 1}} {
		if err := r.Scale(wrong.key, wrong.n); err == nil {
			t.Errorf("scaled %s to %d", wrong.key, wrong.n)
		}
	}
}
