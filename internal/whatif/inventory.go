package whatif

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	security "istio.io/api/security/v1beta1"

	"github.com/meshctl/meshctl/internal/controlplane/derive"
	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/proxy/compile"
	"github.com/meshctl/meshctl/internal/resource"
)

// Pod is a pod of a world. Read-only.
type Pod struct {
	Namespace, Name string
	Workload        string // name of what the user deployed
	ServiceAccount  string
	Labels          map[string]string
	Addresses       []netip.Addr
	Proxy           string // sidecar, gateway, none
	Object          *resource.Object
}

func (p Pod) String() string { return p.Name + "." + p.Namespace }

func (p *pod) public() Pod {
	return Pod{
		Namespace: p.namespace, Name: p.name, Workload: p.owner, ServiceAccount: p.serviceAccount, Labels: p.labels,
		Addresses: p.addrs, Proxy: p.role.String(), Object: p.source,
	}
}

// Pods are all pods that have an address, ordered by namespace and name.
func (w *World) Pods() []Pod {
	out := make([]Pod, len(w.pods))
	for i, p := range w.pods {
		out[i] = p.public()
	}
	return out
}

// Pod finds one by its name, its workload's, name.namespace or deploy/name.
func (w *World) Pod(name, namespace string) (Pod, error) {
	p, err := w.find(name, namespace)
	if err != nil {
		return Pod{}, err
	}
	return p.public(), nil
}

// Mesh is what was derived of the objects.
func (w *World) Mesh() *derive.Mesh { return w.cp.Mesh() }

// Config are the settings of the mesh.
func (w *World) Config() *mesh.MeshConfig { return w.config() }

// Domain is the DNS suffix of services.
func (w *World) Domain() string { return w.domain }

// Given are the objects that the world was made of, in the order of their keys.
func (w *World) Given() []*resource.Object { return w.given }

// Running reports whether the objects hold pods, as those of a running mesh do;
// else the pods are what the workloads would have, all of them ready.
func (w *World) Running() bool { return w.running }

// Object finds an object, given or made; nil when there is none.
func (w *World) Object(k resource.Kind, namespace, name string) *resource.Object {
	return w.objects[mesh.Origin{Group: k.Group, Kind: k.Kind, Namespace: namespace, Name: name}.ConfigPath()]
}

// Objects are all objects of a kind, ordered by namespace and name.
func (w *World) Objects(k resource.Kind) []*resource.Object {
	var out []*resource.Object
	for _, path := range slices.Sorted(maps.Keys(w.objects)) {
		if o := w.objects[path]; o.Key.Kind == k {
			out = append(out, o)
		}
	}
	return out
}

// At names an object and the place of one of its fields; field may be "".
func (w *World) At(o mesh.Origin, field string) *Decision { return w.decidedBy(o, field) }

// Place names an object that is at hand and the place of one of its fields.
func Place(o *resource.Object, field string) *Decision { return decision(o, field) }

// Identity is the SPIFFE ID of a pod.
func (w *World) Identity(p Pod) string {
	return w.identityOf(&pod{namespace: p.Namespace, serviceAccount: p.ServiceAccount})
}

// Authn is the mode of mutual TLS that a pod demands on one of its ports, and the
// policy that says so; nil when none does.
func (w *World) Authn(p Pod, port uint16) (mesh.MTLSMode, *Decision) {
	mode, d := w.authn(&pod{namespace: p.Namespace, labels: p.Labels}, port)
	return mesh.MTLSMode(mode), d
}

// Refused are the resources that a pod's proxy would not take; none when it has
// no proxy.
func (w *World) Refused(ctx context.Context, p Pod) ([]*compile.ResourceError, error) {
	i := slices.IndexFunc(w.pods, func(q *pod) bool { return q.name == p.Name && q.namespace == p.Namespace })
	if i < 0 || w.pods[i].role == plain {
		return nil, nil
	}
	x, err := w.proxy(ctx, w.pods[i])
	if err != nil {
		return nil, err
	}
	return x.refused, nil
}

// Resolve finds a host as the programs of a pod would: its full name and its
// addresses. ok is false when no host of the mesh that the pod sees has the name.
func (w *World) Resolve(ctx context.Context, p Pod, host string) (full string, addresses []string, ok bool, err error) {
	i := slices.IndexFunc(w.pods, func(q *pod) bool { return q.name == p.Name && q.namespace == p.Namespace })
	if i < 0 {
		return "", nil, false, &UnknownWorkloadError{Name: p.Name, Namespace: p.Namespace}
	}
	x, err := w.caller(ctx, w.pods[i])
	if err != nil {
		return "", nil, false, err
	}
	full, info, ok := x.resolve(host, w.domain)
	return full, info.IPs, ok, nil
}

// authn is the mode that a pod demands on a port, and the policy that says so.
func (w *World) authn(p *pod, port uint16) (string, *Decision) {
	a := mesh.EffectiveAuthn(w.cp.Mesh().Authn.List(), w.config().GetRootNamespace(), p.namespace, p.labels)
	mode := string(a.Mode(uint32(port)))
	if _, own := a.Ports[uint32(port)]; own {
		return mode, w.decidedBy(a.Origins[0], fmt.Sprintf("spec.portLevelMtls[%d]", port))
	}
	for _, o := range a.Origins {
		// Of several levels, the closest that says anything decides.
		policy, _ := w.cp.Mesh().Authn.Get(o.Key())
		if policy != nil && policy.Spec.GetMtls().GetMode() != security.PeerAuthentication_MutualTLS_UNSET {
			return mode, w.decidedBy(o, "spec.mtls")
		}
	}
	return mode, nil
}
