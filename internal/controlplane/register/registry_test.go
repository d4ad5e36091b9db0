package register_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	networking "istio.io/api/networking/v1alpha3"
	"pgregory.net/rapid"

	"github.com/meshctl/meshctl/internal/controlplane/register"
	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/resource"
)

// objects is a mesh that holds what sources apply.
type objects struct {
	mu sync.Mutex
	by map[resource.Key]*resource.Object
}

func (o *objects) Apply(_ string, set []*resource.Object, deleted []resource.Key) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, k := range deleted {
		delete(o.by, k)
	}
	for _, x := range set {
		o.by[x.Key] = x
	}
}

func (o *objects) Report(string, []diag.Diagnostic) {}

func (o *objects) Object(k resource.Key) *resource.Object {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.by[k]
}

func (o *objects) ObjectsOf(kind resource.Kind) []*resource.Object {
	o.mu.Lock()
	defer o.mu.Unlock()
	var out []*resource.Object
	for k, x := range o.by {
		if k.Kind == kind {
			out = append(out, x)
		}
	}
	return out
}

// entry prints the one WorkloadEntry of a name, "" when there is none.
func (o *objects) entry(name string) string {
	x := o.Object(resource.Key{Kind: resource.KindWorkloadEntry, Namespace: "shop", Name: name})
	if x == nil {
		return ""
	}
	spec := x.Spec.(*networking.WorkloadEntry)
	a := x.Meta.Annotations
	state := "connected to " + a[register.AnnotationController]
	if a[register.AnnotationDisconnected] != "" {
		state = "left " + a[register.AnnotationController]
	}
	return strings.TrimSpace(fmt.Sprintf("%s %v %s %s", spec.GetAddress(), x.Meta.Labels, state, x.Healthy))
}

const group = `
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: ratings, namespace: shop}
spec:
  metadata:
    labels: {app: ratings, version: v1}
    annotations: {note: x}
  template:
    serviceAccount: bookinfo-ratings
    labels: {version: v0, tier: back}
`

type world struct {
	*objects
	store *register.Memory
	alive sync.Map // names of replicas that run
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{objects: &objects{by: map[resource.Key]*resource.Object{}}}
	os, ds := resource.Decode("group.yaml", []byte(group), resource.Options{})
	if len(os) != 1 {
		t.Fatalf("%v", ds)
	}
	w.Apply("test", os, nil)
	w.store = register.NewMemory("machines", w)
	return w
}

func (w *world) runs(name string) bool {
	_, ok := w.alive.Load(name)
	return ok
}

const grace = 10 * time.Second

// replica runs a registry until stop is called.
func (w *world) replica(name string) (r *register.Registry, stop func()) {
	r = register.New(register.Options{Store: w.store, Mesh: w, Instance: name, Grace: grace, Alive: w.runs})
	w.alive.Store(name, true)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = r.Run(ctx) }()
	return r, func() { cancel(); <-done; w.alive.Delete(name) }
}

func vm(ip string) *mesh.Proxy {
	return &mesh.Proxy{
		Type: mesh.Sidecar, ID: "vm.shop", Name: "vm", Namespace: "shop", ServiceAccount: "bookinfo-ratings", Group: "ratings",
		IPs: []string{ip}, Labels: map[string]string{"app": "forged", "rack": "7"},
	}
}

func join(t testing.TB, r *register.Registry, p *mesh.Proxy) *register.Member {
	t.Helper()
	m, err := r.Join(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// settle lets time pass, and everything that is due happen.
func settle(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func want(t testing.TB, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

const (
	labels = "map[app:ratings rack:7 tier:back version:v1]"
	name   = "ratings-10.0.0.9"
)

func TestAMachineComesAndGoes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		r, stop := w.replica("a")
		defer stop()
		m := join(t, r, vm("10.0.0.9"))
		want(t, "made", w.entry(name), "10.0.0.9 "+labels+" connected to a")
		m.Report(false, "no answer")
		settle(time.Second)
		want(t, "unhealthy", w.entry(name), "10.0.0.9 "+labels+" connected to a False")
		m.Report(true, "")
		settle(time.Second)
		want(t, "healthy", w.entry(name), "10.0.0.9 "+labels+" connected to a True")
		m.Leave()
		settle(time.Second)
		want(t, "left", w.entry(name), "10.0.0.9 "+labels+" left a True")
		settle(grace / 2)
		again := join(t, r, vm("10.0.0.9"))
		settle(2 * grace)
		want(t, "back within the grace", w.entry(name), "10.0.0.9 "+labels+" connected to a True")
		again.Leave()
		settle(2 * grace)
		want(t, "gone", w.entry(name), "")
	})
}

// Two sessions of one machine: the end of the old one is not the end.
func TestANewSessionBeforeTheOldOneEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		r, stop := w.replica("a")
		defer stop()
		old := join(t, r, vm("10.0.0.9"))
		fresh := join(t, r, vm("10.0.0.9"))
		old.Leave()
		old.Leave()
		settle(3 * grace)
		want(t, "still there", w.entry(name), "10.0.0.9 "+labels+" connected to a")
		fresh.Leave()
		settle(2 * grace)
		want(t, "gone", w.entry(name), "")
	})
}

func TestAnotherReplicaTakesOver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a, stopA := w.replica("a")
		b, stopB := w.replica("b")
		defer stopB()
		m := join(t, a, vm("10.0.0.9"))
		n := join(t, b, vm("10.0.0.9"))
		m.Leave()
		settle(3 * grace)
		want(t, "taken over", w.entry(name), "10.0.0.9 "+labels+" connected to b")
		// A replica that crashes marks nothing: another one finds out.
		lost := join(t, a, vm("10.0.0.8"))
		_ = lost
		stopA()
		settle(3 * grace)
		want(t, "orphan", w.entry("ratings-10.0.0.8"), "")
		n.Leave()
		settle(2 * grace)
		want(t, "gone", w.entry(name), "")
	})
}

// What is deleted under a connected machine comes back, with its health.
func TestAnEntryThatIsTakenAwayComesBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		r, stop := w.replica("a")
		defer stop()
		m := join(t, r, vm("10.0.0.9"))
		m.Report(true, "")
		settle(time.Second)
		e, err := w.store.Get(t.Context(), "shop", name)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.store.Delete(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		settle(grace)
		want(t, "back", w.entry(name), "10.0.0.9 "+labels+" connected to a True")
	})
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if err := w.store.Create(t.Context(), register.Entry{Namespace: "shop", Name: "ratings-10.0.0.7", Spec: &networking.WorkloadEntry{Address: "10.0.0.7"}}); err != nil {
		t.Fatal(err)
	}
	r := register.New(register.Options{Store: w.store, Mesh: w, Instance: "a"})
	for says, edit := range map[string]func(*mesh.Proxy){
		"no WorkloadGroup shop/nope":                  func(p *mesh.Proxy) { p.Group = "nope" },
		"no WorkloadGroup other/ratings":              func(p *mesh.Proxy) { p.Namespace = "other" },
		`"thief" may not register`:                    func(p *mesh.Proxy) { p.ServiceAccount = "thief" },
		"cannot reach a machine at the address 127":   func(p *mesh.Proxy) { p.IPs[0] = "127.0.0.1" },
		"cannot reach a machine at the address 169":   func(p *mesh.Proxy) { p.IPs[0] = "169.254.1.1" },
		"ratings-10.0.0.7 is there, and was not made": func(p *mesh.Proxy) { p.IPs[0] = "10.0.0.7" },
	} {
		p := vm("10.0.0.9")
		edit(p)
		_, err := r.Join(t.Context(), p)
		var refused register.RefusedError
		if !errors.As(err, &refused) || !strings.Contains(err.Error(), says) {
			t.Errorf("got %v, want a refusal with %q", err, says)
		}
	}
	if w.entry("ratings-10.0.0.9") != "" || w.entry("ratings-127.0.0.1") != "" {
		t.Error("a refused machine has an entry")
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := register.New(register.Options{Store: w.store, Mesh: w, Instance: "a"})
	for want, edit := range map[string]func(*mesh.Proxy){
		"ratings-10.0.0.9":                     func(*mesh.Proxy) {},
		"ratings-10.0.0.9-net1":                func(p *mesh.Proxy) { p.Network = "net1" },
		"ratings-fd00--9":                      func(p *mesh.Proxy) { p.IPs = []string{"fd00::9"} },
		"10.0.0.9-" + strings.Repeat("n", 244): func(p *mesh.Proxy) { p.Network = strings.Repeat("n", 244) },
	} {
		p := vm("10.0.0.9")
		edit(p)
		if _, err := r.Join(t.Context(), p); err != nil || p.Entry != want {
			t.Errorf("got %q, %v; want %q", p.Entry, err, want)
		}
	}
}

// Whatever the order of sessions on two replicas: in the end there is an entry exactly
// for the machines that have a session somewhere.
func TestEntriesFollowSessions(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			var rs [2]*register.Registry
			for i := range rs {
				r, stop := w.replica(fmt.Sprint("r", i))
				rs[i] = r
				defer stop()
			}
			open := map[string][]*register.Member{}
			for range rapid.IntRange(1, 12).Draw(rt, "steps") {
				ip := rapid.SampledFrom([]string{"10.0.0.1", "10.0.0.2"}).Draw(rt, "machine")
				switch rapid.IntRange(0, 2).Draw(rt, "what") {
				case 0:
					open[ip] = append(open[ip], join(t, rs[rapid.IntRange(0, 1).Draw(rt, "replica")], vm(ip)))
				case 1:
					if n := len(open[ip]); n > 0 {
						open[ip][n-1].Leave()
						open[ip] = open[ip][:n-1]
					}
				case 2:
					settle(time.Duration(rapid.IntRange(0, 15).Draw(rt, "pause")) * time.Second)
				}
			}
			settle(4 * grace)
			for _, ip := range []string{"10.0.0.1", "10.0.0.2"} {
				got := w.entry("ratings-" + ip)
				if (got != "") != (len(open[ip]) > 0) || strings.Contains(got, "left") {
					rt.Fatalf("%s has %d sessions, its entry is %q", ip, len(open[ip]), got)
				}
			}
		})
	})
}
