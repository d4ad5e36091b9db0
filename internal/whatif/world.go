package whatif

import (
	"cmp"
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/meshctl/meshctl/internal/controlplane"
	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/resource"
)

// Input is the mesh to ask about.
type Input struct {
	// Objects are all objects of the mesh. With Pods among them, they are taken to be
	// those of a running mesh; without, pods are made of the workloads' templates.
	Objects []*resource.Object
	// ClusterDomain is cluster.local when empty.
	ClusterDomain string
	Logger        *slog.Logger // nil discards
	// Ingress says that the default gateway of a local mesh is there, even when no
	// Gateway uses it.
	Ingress bool
	// Before is the world that this one comes after: what is in both keeps its
	// addresses. Unless nil.
	Before *World
}

// World is a mesh that can be asked. It belongs to one goroutine.
type World struct {
	cp      *controlplane.ControlPlane
	domain  string
	given   []*resource.Object
	running bool                        // the objects hold pods
	objects map[string]*resource.Object // by the path that generated configuration names them by
	pods    []*pod                      // ordered by namespace and name
	byIP    map[netip.Addr]*pod
	proxies map[proxyKey]*proxy
	servers map[proxyKey]*proxy // compiled inbound sides
	made    addresses
}

const sourceName = "whatif"

// New derives a world of objects.
func New(ctx context.Context, in Input) (*World, error) {
	w := &World{
		given: slices.Clone(in.Objects), domain: cmp.Or(in.ClusterDomain, "cluster.local"), objects: map[string]*resource.Object{},
		byIP: map[netip.Addr]*pod{}, proxies: map[proxyKey]*proxy{}, servers: map[proxyKey]*proxy{},
		made: newAddresses(in.Before),
	}
	objects, running, err := w.made.populate(in.Objects, in.Ingress)
	if err != nil {
		return nil, err
	}
	w.running = running
	w.cp, err = controlplane.New(controlplane.Settings{
		ClusterDomain: w.domain, AllowPlaintext: true, Sources: []string{sourceName}, Logger: in.Logger, MeshConfigMap: meshConfigMap(objects),
	})
	if err != nil {
		return nil, err
	}
	w.cp.Sink().Apply(sourceName, objects, nil)
	if _, err := w.cp.Flush(ctx); err != nil {
		return nil, err
	}
	for _, o := range objects {
		w.objects[mesh.Origin{Group: o.Key.Kind.Group, Kind: o.Key.Kind.Kind, Namespace: o.Key.Namespace, Name: o.Key.Name}.ConfigPath()] = o
		if p := podOf(o); p != nil {
			w.pods = append(w.pods, p)
			for _, a := range p.addrs {
				w.byIP[a] = p
			}
		}
	}
	slices.SortFunc(w.given, func(a, b *resource.Object) int { return cmp.Compare(a.Key.String(), b.Key.String()) })
	slices.SortFunc(w.pods, func(a, b *pod) int {
		return cmp.Or(cmp.Compare(a.namespace, b.namespace), cmp.Compare(a.name, b.name))
	})
	return w, nil
}

// Workloads names what can be asked from: the owner of each pod, with its
// namespace, each once.
func (w *World) Workloads() []Workload {
	var out []Workload
	for _, p := range w.pods {
		x := Workload{Name: p.owner, Namespace: p.namespace, Proxy: p.role.String()}
		if !slices.Contains(out, x) {
			out = append(out, x)
		}
	}
	return out
}

// Workload is what the user deployed: a Deployment, a single pod.
type Workload struct {
	Name      string `json:"name"`
	Namespace string `json:"namespace"`
	Proxy     string `json:"proxy"` // sidecar, gateway, none
}

func (w Workload) String() string { return w.Name + "." + w.Namespace }

// settings of the mesh, as derived.
func (w *World) config() *mesh.MeshConfig {
	c, _ := w.cp.Mesh().Config.Get("mesh")
	return c
}

// identityOf is the SPIFFE ID of a pod.
func (w *World) identityOf(p *pod) string {
	return "spiffe://" + w.config().GetTrustDomain() + "/ns/" + p.namespace + "/sa/" + p.serviceAccount
}

// meshConfigMap is the ConfigMap with the mesh config: that of the default revision, and
// without one the first of another.
func meshConfigMap(objects []*resource.Object) string {
	const byDefault = "istio"
	name := ""
	for _, o := range objects {
		c, ok := o.Spec.(*corev1.ConfigMap)
		switch {
		case !ok || c.Data["mesh"] == "":
		case o.Key.Name == byDefault:
			return byDefault
		case strings.HasPrefix(o.Key.Name, byDefault+"-") && (name == "" || o.Key.Name < name):
			name = o.Key.Name
		}
	}
	return cmp.Or(name, byDefault)
}
