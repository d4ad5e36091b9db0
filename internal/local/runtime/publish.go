package runtime

import (
	"encoding/json"
	"hash/fnv"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meshctl/meshctl/internal/local/controller"
	"github.com/meshctl/meshctl/internal/local/vip"
	"github.com/meshctl/meshctl/internal/resource"
)

// publish tells the control plane what changed since the last time.
func (r *Runtime) publish(services []*corev1.Service, pods []controller.Pod, endpoints []*discoveryv1.EndpointSlice) {
	r.mu.Lock()
	publisher := r.cp.Publisher
	origin := map[string]*resource.Object{}
	for _, o := range r.objects {
		if o.Key.Kind.Kind == "Service" && o.Key.Kind.Group == "" {
			origin[o.Key.Namespace+"/"+o.Key.Name] = o
		}
	}
	r.mu.Unlock()
	if publisher == nil {
		return
	}
	hostIP := r.opts.Network.Gateway().String()
	var values []metav1.Object
	for _, s := range services {
		values = append(values, s)
	}
	for _, p := range pods {
		values = append(values, controller.PodObject(p, r.opts.NodeName, hostIP))
	}
	for _, e := range endpoints {
		values = append(values, e)
	}
	var set []*resource.Object
	now := make(map[resource.Key]uint64, len(values))
	for _, v := range values {
		key, hash, err := identify(v)
		if err != nil {
			r.opts.Log.Error("object not published", "resource", v.GetNamespace()+"/"+v.GetName(), "err", err)
			continue
		}
		now[key] = hash
		if before, ok := r.published[key]; ok && before == hash {
			continue
		}
		o, err := resource.FromKube(v)
		if err != nil {
			r.opts.Log.Error("object not published", "resource", key.String(), "err", err)
			delete(now, key)
			continue
		}
		if from := origin[v.GetNamespace()+"/"+v.GetName()]; from != nil && key.Kind.Kind == "Service" {
			o.Pos, o.Fields = from.Pos, from.Fields // a finding about it points at what the user wrote
		}
		set = append(set, o)
	}
	var deleted []resource.Key
	for key := range r.published {
		if _, ok := now[key]; !ok {
			deleted = append(deleted, key)
		}
	}
	r.published = now
	if len(set)+len(deleted) > 0 {
		publisher.Publish(set, deleted)
	}
}

// identify is the key and a hash of the content, cheaper than making an Object.
func identify(v metav1.Object) (resource.Key, uint64, error) {
	kind := resource.Kind{Kind: "Service"}
	switch v.(type) {
	case *corev1.Pod:
		kind.Kind = "Pod"
	case *discoveryv1.EndpointSlice:
		kind = resource.Kind{Group: "discovery.k8s.io", Kind: "EndpointSlice"}
	}
	b, err := json.Marshal(v)
	if err != nil {
		return resource.Key{}, 0, err
	}
	h := fnv.New64a()
	_, _ = h.Write(b)
	return resource.Key{Kind: kind, Namespace: v.GetNamespace(), Name: v.GetName()}, h.Sum64(), nil
}

// vipPorts is what the virtual addresses lead to.
func vipPorts(services []*corev1.Service, endpoints []*discoveryv1.EndpointSlice) []vip.Port {
	ready := readyEndpoints(endpoints)
	var all []vip.Port
	for _, s := range services {
		ip, err := netip.ParseAddr(s.Spec.ClusterIP)
		if err != nil {
			continue
		}
		for _, p := range s.Spec.Ports {
			if p.Protocol == corev1.ProtocolSCTP {
				continue
			}
			all = append(all, vip.Port{
				Address: netip.AddrPortFrom(ip, uint16(p.Port)), UDP: p.Protocol == corev1.ProtocolUDP,
				Endpoints: ready[s.Namespace+"/"+s.Name+":"+p.Name],
			})
		}
	}
	return all
}

// readyEndpoints lists addresses by "namespace/service:port name".
func readyEndpoints(endpoints []*discoveryv1.EndpointSlice) map[string][]netip.AddrPort {
	all := map[string][]netip.AddrPort{}
	for _, slice := range endpoints {
		for _, p := range slice.Ports {
			key := slice.Namespace + "/" + slice.Labels[discoveryv1.LabelServiceName] + ":" + *p.Name
			for _, e := range slice.Endpoints {
				if e.Conditions.Ready != nil && !*e.Conditions.Ready {
					continue
				}
				for _, a := range e.Addresses {
					if ip, err := netip.ParseAddr(a); err == nil {
						all[key] = append(all[key], netip.AddrPortFrom(ip, uint16(*p.Port)))
					}
				}
			}
		}
	}
	return all
}
