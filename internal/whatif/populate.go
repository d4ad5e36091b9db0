package whatif

import (
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meshctl/meshctl/internal/local/controller"
	"github.com/meshctl/meshctl/internal/resource"
)

// Addresses of pods and services that are made up; those of a local mesh.
var (
	podNetwork     = netip.MustParsePrefix("10.244.0.0/16")
	serviceNetwork = netip.MustParsePrefix("10.96.0.0/16")
	nodeAddress    = "10.244.0.1"
)

const nodeName = "local"

// addresses are those that were made up. A world that comes after another gives
// what is in both the same ones, or everything would seem to have changed.
type addresses struct {
	services *controller.Allocator
	pods     map[string]netip.Addr // by namespace/name
	last     netip.Addr
	// before are the objects of the world before; nil: there was none.
	before map[resource.Key]*resource.Object
	// made are the objects that were made; those of the world before are used again.
	made, again map[string]madeObject
}

// madeObject is an object that a controller would make.
type madeObject struct {
	by   metav1.Object
	from *resource.Object // what is written under the same key; nil for nothing
	out  *resource.Object
}

func newAddresses(before *World) addresses {
	a := addresses{
		services: controller.NewAllocator(serviceNetwork), pods: map[string]netip.Addr{}, last: podNetwork.Addr().Next(), // the node's own
		made: map[string]madeObject{},
	}
	if before == nil {
		return a
	}
	a.again = before.made.made
	// An address is found by the name's hash first: giving them out in the order of
	// before makes the same ones.
	a.before = map[resource.Key]*resource.Object{}
	var services []*resource.Object
	for _, o := range before.objects {
		a.before[o.Key] = o
		if o.Key.Kind == resource.KindService {
			services = append(services, o)
		}
	}
	a.services.Services(services)
	maps.Copy(a.pods, before.made.pods)
	a.last = before.made.last
	return a
}

// pod gives a pod its address.
func (a *addresses) pod(id string) netip.Addr {
	if ip, ok := a.pods[id]; ok {
		return ip
	}
	a.last = a.last.Next()
	a.pods[id] = a.last
	return a.last
}

// populate adds what a cluster's controllers would make of the objects: pods that
// are ready, addresses of services, endpoints. Where objects hold pods already,
// only what is missing for Services is added: running is true then. The default
// gateway is added when the objects use one, or with ingress, and bring none.
func (a *addresses) populate(objects []*resource.Object, ingress bool) (all []*resource.Object, running bool, err error) {
	if slices.ContainsFunc(objects, func(o *resource.Object) bool { return o.Key.Kind == resource.KindPod && hasAddress(o) }) {
		all, err = a.complete(objects)
		return all, true, err
	}
	if (ingress || uses(objects, resource.KindGateway) || uses(objects, resource.KindIngress)) && !controller.HasGateway(objects) {
		gateway, err := controller.DefaultGateway()
		if err != nil {
			return nil, false, fmt.Errorf("add the default gateway: %w", err)
		}
		objects = append(slices.Clone(objects), gateway...)
	}
	automatic, err := controller.Automatic(objects)
	if err != nil {
		return nil, false, err
	}
	objects = append(slices.Clone(objects), automatic...)
	pods := a.podsOf(objects)
	services, _ := a.services.Services(objects)
	made := make([]metav1.Object, 0, len(services)+2*len(pods))
	for _, s := range services {
		made = append(made, s)
	}
	for _, p := range pods {
		made = append(made, controller.PodObject(p, nodeName, nodeAddress))
	}
	for _, e := range controller.EndpointSlices(services, pods, nodeName, samePort) {
		made = append(made, e)
	}
	all, err = a.withMade(objects, made)
	return all, false, err
}

// samePort: pods are reached where they listen.
func samePort(_ controller.Pod, port int32) int32 { return port }

// withMade adds objects that controllers make; one takes the place of what is
// written under the same key.
func (a *addresses) withMade(objects []*resource.Object, made []metav1.Object) ([]*resource.Object, error) {
	written := map[resource.Key]*resource.Object{}
	for _, o := range objects {
		written[o.Key] = o
	}
	for _, m := range made {
		id := fmt.Sprintf("%T %s/%s", m, m.GetNamespace(), m.GetName())
		if old, ok := a.again[id]; ok && written[old.out.Key] == old.from && reflect.DeepEqual(m, old.by) {
			a.made[id], written[old.out.Key] = old, old.out
			continue
		}
		o, err := resource.FromKube(m)
		if err != nil {
			return nil, fmt.Errorf("make %s/%s: %w", m.GetNamespace(), m.GetName(), err)
		}
		from := written[o.Key]
		if from != nil {
			o.Pos, o.Fields = from.Pos, from.Fields // findings point at what the user wrote
		}
		a.made[id] = madeObject{m, from, o}
		written[o.Key] = o
	}
	out := make([]*resource.Object, 0, len(written))
	for _, o := range written {
		out = append(out, o)
	}
	return out, nil
}

func uses(objects []*resource.Object, k resource.Kind) bool {
	return slices.ContainsFunc(objects, func(o *resource.Object) bool { return o.Key.Kind == k })
}

func hasAddress(o *resource.Object) bool {
	p, ok := o.Spec.(*corev1.Pod)
	return ok && p.Status.PodIP != ""
}

// podsOf are those that the workloads would have once all are ready. Replicas are
// alike: two show that there are several, and more would only cost time.
func (a *addresses) podsOf(objects []*resource.Object) []controller.Pod {
	namespaces := map[string]map[string]string{}
	for _, o := range objects {
		if o.Key.Kind == resource.KindNamespace {
			namespaces[o.Key.Name] = o.Meta.Labels
		}
	}
	workloads, _ := controller.Workloads(objects, nil)
	var out []controller.Pod
	for _, wl := range workloads {
		wl.Replicas = min(wl.Replicas, 2)
		for _, spec := range controller.Rollout(wl, nil, namespaces[wl.Key.Namespace]).Start {
			out = append(out, controller.Pod{
				PodSpec: spec, UID: controller.NewUID(spec, 0),
				PodStatus: controller.PodStatus{IP: a.pod(spec.ID()), Phase: corev1.PodRunning, Ready: true, Started: time.Unix(1, 0)},
			})
		}
	}
	return out
}
