package whatif

import (
	"hash/fnv"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meshctl/meshctl/internal/local/controller"
	"github.com/meshctl/meshctl/internal/resource"
)

// unused is a network of which no mesh has addresses (RFC 1112's class E).
var unused = netip.MustParsePrefix("240.240.0.0/16")

// complete adds to the objects of a running mesh what its controllers would make
// of Services that are not applied yet: an address, and endpoints among the pods
// that run. A Service that was there before keeps its address; endpoints of one
// that is gone go with it.
func (a *addresses) complete(objects []*resource.Object) ([]*resource.Object, error) {
	services := map[[2]string]*corev1.Service{}
	served := map[[2]string]bool{}
	taken := map[string]bool{}
	for _, o := range objects {
		switch x := o.Spec.(type) {
		case *corev1.Service:
			services[[2]string{o.Key.Namespace, o.Key.Name}] = x
			taken[x.Spec.ClusterIP] = true
		case *discoveryv1.EndpointSlice:
			served[[2]string{o.Key.Namespace, o.Meta.Labels[discoveryv1.LabelServiceName]}] = true
		}
	}
	var fresh []*corev1.Service
	again := map[[2]string]bool{} // whose endpoints are made anew
	for id, s := range services {
		old := a.serviceBefore(id)
		moved := old != nil && (!equality.Semantic.DeepEqual(old.Spec.Selector, s.Spec.Selector) || !equality.Semantic.DeepEqual(targets(old), targets(s)))
		needsIP := s.Spec.ClusterIP == "" && s.Spec.Type != corev1.ServiceTypeExternalName
		if !needsIP && !moved && served[id] {
			continue
		}
		s = s.DeepCopy()
		s.Namespace, s.Name = id[0], id[1]
		if needsIP {
			s.Spec.ClusterIP = free(id, taken)
			if old != nil {
				s.Spec.ClusterIP = old.Spec.ClusterIP
			}
			s.Spec.ClusterIPs = []string{s.Spec.ClusterIP}
		}
		again[id] = moved || !served[id]
		fresh = append(fresh, s)
	}
	objects = slices.DeleteFunc(slices.Clone(objects), func(o *resource.Object) bool {
		if o.Key.Kind != resource.KindEndpointSlice {
			return false
		}
		id := [2]string{o.Key.Namespace, o.Meta.Labels[discoveryv1.LabelServiceName]}
		return again[id] || services[id] == nil && a.serviceBefore(id) != nil
	})
	if len(fresh) == 0 {
		return objects, nil
	}
	made := make([]metav1.Object, 0, len(fresh))
	var pods []controller.Pod
	for _, o := range objects {
		if p, ok := o.Spec.(*corev1.Pod); ok && o.Key.Kind == resource.KindPod {
			pods = append(pods, running(o, p))
		}
	}
	for _, s := range fresh {
		made = append(made, s)
		if again[[2]string{s.Namespace, s.Name}] {
			for _, e := range controller.EndpointSlices([]*corev1.Service{s}, pods, nodeName, samePort) {
				made = append(made, e)
			}
		}
	}
	return a.withMade(objects, made)
}

func (a *addresses) serviceBefore(id [2]string) *corev1.Service {
	o := a.before[resource.Key{Kind: resource.KindService, Namespace: id[0], Name: id[1]}]
	if o == nil {
		return nil
	}
	s, _ := o.Spec.(*corev1.Service)
	return s
}

// targets are the ports as endpoints have them.
func targets(s *corev1.Service) []corev1.ServicePort {
	var out []corev1.ServicePort
	for _, p := range s.Spec.Ports {
		p.NodePort = 0
		if p.Protocol == "" {
			p.Protocol = corev1.ProtocolTCP
		}
		if p.TargetPort.String() == "0" {
			p.TargetPort.IntVal = p.Port
		}
		out = append(out, p)
	}
	return out
}

// running is a pod as the endpoint controller sees it.
func running(o *resource.Object, p *corev1.Pod) controller.Pod {
	ip, _ := netip.ParseAddr(p.Status.PodIP)
	ready := slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
	return controller.Pod{
		PodSpec:   controller.PodSpec{Namespace: o.Key.Namespace, Name: o.Key.Name, Labels: o.Meta.Labels, Spec: p.Spec},
		PodStatus: controller.PodStatus{IP: ip, Phase: p.Status.Phase, Ready: ready},
	}
}

// free makes an address up, the same for the same name unless it is taken.
func free(id [2]string, taken map[string]bool) string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(id[0] + "/" + id[1]))
	b := unused.Addr().As4()
	for n := h.Sum32(); ; n++ {
		b[2], b[3] = byte(n>>8), byte(n)
		ip := netip.AddrFrom4(b).String()
		if !taken[ip] {
			taken[ip] = true
			return ip
		}
	}
}
