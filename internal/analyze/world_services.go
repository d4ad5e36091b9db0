package analyze

import (
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"

	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/resource"
)

// service is a host: a Service, or one host of a ServiceEntry.
type service struct {
	object *resource.Object
	host   string // full, in lower case
	kube   *corev1.Service
	entry  *networking.ServiceEntry
}

// services finds services by host without looking at each.
type services struct {
	all     []*service
	byHost  map[string][]*service
	named   map[string][]*service // Services by the first part of their host
	inFront map[*pod][]*service   // Services that select a pod
	odd     []*service            // hosts such as *-x.example.com, which no key finds
}

func (w *world) indexServices() {
	x := &w.services
	x.byHost, x.named, x.inFront = map[string][]*service{}, map[string][]*service{}, map[*pod][]*service{}
	add := func(s *service) {
		x.all = append(x.all, s)
		x.byHost[s.host] = append(x.byHost[s.host], s)
		if mesh.IsWildcard(s.host) && s.host != "*" && !strings.HasPrefix(s.host, "*.") {
			x.odd = append(x.odd, s)
		}
	}
	for _, o := range w.of(resource.KindService) {
		if s := kubeService(o); s != nil {
			one := &service{object: o, host: w.hostOf(o.Key.Name, o.Key.Namespace), kube: s}
			add(one)
			x.named[o.Key.Name] = append(x.named[o.Key.Name], one)
			if len(s.Spec.Selector) > 0 {
				for _, p := range w.selected(o.Key.Namespace, s.Spec.Selector) {
					x.inFront[p] = append(x.inFront[p], one)
				}
			}
		}
	}
	for o, e := range each[*networking.ServiceEntry](w, resource.KindServiceEntry) {
		for _, h := range e.Hosts {
			add(&service{object: o, host: strings.ToLower(h), entry: e})
		}
	}
}

// hostOf is the full host of a Service.
func (w *world) hostOf(name, namespace string) string {
	return name + "." + namespace + ".svc." + w.domain
}

// find lists the services that have a host, or a wildcard that covers it.
func (x *services) find(host string) []*service {
	for _, h := range mesh.HostPatterns(host) {
		if found := x.byHost[h]; len(found) > 0 && h != "*" {
			return found
		}
	}
	var out []*service
	for _, s := range x.odd {
		if mesh.HostMatches(s.host, host) {
			out = append(out, s)
		}
	}
	return out
}

// covers reports whether there is a service with a host, or, when the host is a
// wildcard, one that it covers.
func (x *services) covers(host string) bool {
	if len(x.find(host)) > 0 {
		return true
	}
	return mesh.IsWildcard(host) && slices.ContainsFunc(x.all, func(s *service) bool { return mesh.HostsOverlap(host, s.host) })
}

// kubeOf finds the Service of a full host; nil when there is none.
func (w *world) kubeOf(host string) *service {
	for _, s := range w.services.byHost[host] {
		if s.kube != nil {
			return s
		}
	}
	return nil
}

// port is a port of a service.
type port struct {
	number   uint32
	name     string
	protocol mesh.Protocol
}

// ports lists the ports of a service.
func (s *service) ports() []port {
	var out []port
	if s.kube != nil {
		for _, p := range s.kube.Spec.Ports {
			app := ""
			if p.AppProtocol != nil {
				app = *p.AppProtocol
			}
			out = append(out, port{uint32(p.Port), p.Name, mesh.ChooseProtocol(uint32(p.Port), p.Name, app, p.Protocol == corev1.ProtocolUDP)})
		}
		return out
	}
	for _, p := range s.entry.Ports {
		out = append(out, port{p.Number, p.Name, mesh.ParseProtocol(p.Protocol)})
	}
	return out
}
