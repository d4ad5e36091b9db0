package whatif

import (
	"fmt"
	"net/netip"
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

// populate adds what a cluster's controllers would make of the objects: pods that
// are ready, addresses of services, endpoints. It leaves objects that hold pods
// alone: running is true then. The default gateway is added when the objects use
// one and bring none.
func populate(objects []*resource.Object) (all []*resource.Object, running bool, err error) {
	if slices.ContainsFunc(objects, func(o *resource.Object) bool { return o.Key.Kind == resource.KindPod && hasAddress(o) }) {
		return objects, true, nil
	}
	if uses(objects, resource.KindGateway) && !controller.HasGateway(objects) {
		gateway, err := controller.DefaultGateway()
		if err != nil {
			return nil, false, fmt.Errorf("add the default gateway: %w", err)
		}
		objects = append(slices.Clone(objects), gateway...)
	}
	pods := pods(objects)
	services, _ := controller.NewAllocator(serviceNetwork).Services(objects)
	made := make([]metav1.Object, 0, len(services)+2*len(pods))
	for _, s := range services {
		made = append(made, s)
	}
	for _, p := range pods {
		made = append(made, controller.PodObject(p, nodeName, nodeAddress))
	}
	for _, e := range controller.EndpointSlices(services, pods, nodeName, func(_ controller.Pod, port int32) int32 { return port }) {
		made = append(made, e)
	}
	written := map[resource.Key]*resource.Object{}
	for _, o := range objects {
		written[o.Key] = o
	}
	for _, m := range made {
		o, err := resource.FromKube(m)
		if err != nil {
			return nil, false, fmt.Errorf("make %s/%s: %w", m.GetNamespace(), m.GetName(), err)
		}
		if from := written[o.Key]; from != nil {
			o.Pos, o.Fields = from.Pos, from.Fields // findings point at what the user wrote
		}
		written[o.Key] = o
	}
	out := make([]*resource.Object, 0, len(written))
	for _, o := range written {
		out = append(out, o)
	}
	return out, false, nil
}

func uses(objects []*resource.Object, k resource.Kind) bool {
	return slices.ContainsFunc(objects, func(o *resource.Object) bool { return o.Key.Kind == k })
}

func hasAddress(o *resource.Object) bool {
	p, ok := o.Spec.(*corev1.Pod)
	return ok && p.Status.PodIP != ""
}

// pods are those that the workloads would have once all are ready. Replicas are
// alike: two show that there are several, and more would only cost time.
func pods(objects []*resource.Object) []controller.Pod {
	namespaces := map[string]map[string]string{}
	for _, o := range objects {
		if o.Key.Kind == resource.KindNamespace {
			namespaces[o.Key.Name] = o.Meta.Labels
		}
	}
	workloads, _ := controller.Workloads(objects, nil)
	next := podNetwork.Addr().Next() // the node's own
	var out []controller.Pod
	for _, wl := range workloads {
		wl.Replicas = min(wl.Replicas, 2)
		for _, spec := range controller.Rollout(wl, nil, namespaces[wl.Key.Namespace]).Start {
			next = next.Next()
			out = append(out, controller.Pod{
				PodSpec: spec, UID: controller.NewUID(spec, 0),
				PodStatus: controller.PodStatus{IP: next, Phase: corev1.PodRunning, Ready: true, Started: time.Unix(1, 0)},
			})
		}
	}
	return out
}
