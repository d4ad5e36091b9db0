package localmesh

import (
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/local/controller"
	"github.com/meshctl/meshctl/internal/resource"
	"github.com/meshctl/meshctl/internal/resource/source"
)

// runtimeOwned are kinds that the runtime publishes in the form a cluster has
// them: Services with their address, and what it makes of workloads.
var runtimeOwned = map[resource.Kind]bool{
	resource.KindService: true, resource.KindPod: true, resource.KindEndpointSlice: true,
}

// objects passes what sources find on to the control plane and to the runtime.
// Where two sources have an object of one key, the source named first in order
// counts.
type objects struct {
	order   []string // sources, the strongest first; file sources come after these
	control source.Sink
	// run is told everything in force after each change.
	run func([]*resource.Object)

	log *slog.Logger
	now func() time.Time
	mu  sync.Mutex
	by  map[resource.Key]map[string]*resource.Object
	// since is when an object of the key came, whatever has become of it since: what
	// a cluster would call its creation. It decides nothing, it is shown.
	since map[resource.Key]time.Time
}

// Apply implements source.Sink.
func (o *objects) Apply(src string, set []*resource.Object, deleted []resource.Key) {
	var mesh []*resource.Object
	var gone []resource.Key
	o.mu.Lock()
	for _, k := range deleted {
		delete(o.by[k], src)
		if len(o.by[k]) == 0 {
			delete(o.by, k)
			delete(o.since, k)
		}
		if !runtimeOwned[k.Kind] {
			gone = append(gone, k)
		}
	}
	for _, x := range set {
		if o.by[x.Key] == nil {
			o.by[x.Key] = map[string]*resource.Object{}
			o.since[x.Key] = o.now()
		}
		o.by[x.Key][src] = x
		if !runtimeOwned[x.Key.Kind] {
			mesh = append(mesh, x)
		}
	}
	all := o.inForce()
	o.mu.Unlock()
	o.control.Apply(src, mesh, gone)
	o.run(all)
}

// Report implements source.Sink.
func (o *objects) Report(src string, ds []diag.Diagnostic) { o.control.Report(src, ds) }

func (o *objects) rank(src string) int {
	if i := slices.Index(o.order, src); i >= 0 {
		return i
	}
	return len(o.order)
}

// winner is the object in force under a key and its source.
func (o *objects) winner(k resource.Key) (*resource.Object, string) {
	var best string
	var found *resource.Object
	for src, x := range o.by[k] {
		if found == nil || o.rank(src) < o.rank(best) || o.rank(src) == o.rank(best) && src < best {
			best, found = src, x
		}
	}
	return found, best
}

// inForce are the objects that count, and what is made for Gateways among them.
func (o *objects) inForce() []*resource.Object {
	out := make([]*resource.Object, 0, len(o.by))
	for k := range o.by {
		x, _ := o.winner(k)
		out = append(out, x)
	}
	slices.SortFunc(out, func(a, b *resource.Object) int { return strings.Compare(a.Key.String(), b.Key.String()) })
	made, err := controller.Automatic(out)
	if err != nil {
		o.log.Error("Gateways are not deployed", "err", err)
		return out
	}
	return append(out, made...)
}

// createdAt is when the object under a key was created, or came; zero for one that
// is not here.
func (o *objects) createdAt(x *resource.Object) time.Time {
	if !x.Meta.Created.IsZero() {
		return x.Meta.Created
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.since[x.Key]
}

// sourceOf tells where the object in force under a key comes from.
func (o *objects) sourceOf(k resource.Key) (*resource.Object, string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.winner(k)
}
