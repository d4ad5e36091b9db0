package analyze

import (
	"fmt"

	networking "istio.io/api/networking/v1alpha3"
	security "istio.io/api/security/v1beta1"

	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/resource"
)

// authn finds what workloads demand of connections.
type authn struct {
	w           *world
	byNamespace map[string][]*mesh.PeerAuthentication
}

func (w *world) authn() authn {
	a := authn{w, map[string][]*mesh.PeerAuthentication{}}
	for o, s := range each[*security.PeerAuthentication](w, resource.KindPeerAuthentication) {
		p := &mesh.PeerAuthentication{Origin: originOf(o), Spec: s}
		a.byNamespace[o.Key.Namespace] = append(a.byNamespace[o.Key.Namespace], p)
	}
	return a
}

// switchesOff reports whether any workload is without mTLS.
func (a authn) switchesOff() bool {
	for _, all := range a.byNamespace {
		for _, p := range all {
			if p.Spec.GetMtls().GetMode() == security.PeerAuthentication_MutualTLS_DISABLE {
				return true
			}
		}
	}
	return false
}

// of is what a pod demands.
func (a authn) of(p *pod) mesh.AuthnPolicy {
	all := a.byNamespace[p.namespace]
	if p.namespace != a.w.root {
		all = append(all[:len(all):len(all)], a.byNamespace[a.w.root]...)
	}
	return mesh.EffectiveAuthn(all, a.w.root, p.namespace, p.labels)
}

// deciding names the object that decides, for messages.
func deciding(p mesh.AuthnPolicy) string {
	if len(p.Origins) == 0 {
		return "no PeerAuthentication"
	}
	return "PeerAuthentication " + p.Origins[0].Namespace + "/" + p.Origins[0].Name
}

// mtlsContradictions reports DestinationRules whose TLS settings the workloads of
// their host refuse.
func mtlsContradictions(w *world, f *findings) {
	demands := w.authn()
	for _, r := range w.rules() {
		for _, s := range w.servicesOf(r.host) {
			pods := w.selected(s.object.Key.Namespace, s.kube.Spec.Selector)
			if len(s.kube.Spec.Selector) == 0 || len(pods) == 0 {
				continue
			}
			p := pods[0]
			demanded := demands.of(p)
			r.policies(func(path string, t *networking.TrafficPolicy) {
				for i, port := range s.kube.Spec.Ports {
					mode := demanded.Mode(targetNumber(p, s, i))
					tls, at := tlsFor(t, path, uint32(port.Port))
					if text, wrong := contradiction(tls, mode, s.host, deciding(demanded)); wrong {
						f.add(r.object, codeMTLSContradiction, at, text)
						return
					}
				}
			})
		}
	}
}

// servicesOf lists the Services of a host, which may be a wildcard.
func (w *world) servicesOf(host string) []*service {
	if s := w.kubeOf(host); s != nil {
		return []*service{s}
	}
	var out []*service
	if mesh.IsWildcard(host) {
		for _, s := range w.services.all {
			if s.kube != nil && mesh.HostMatches(host, s.host) {
				out = append(out, s)
			}
		}
	}
	return out
}

// targetNumber is the port of a pod that a Service's port leads to; 0 when it is a
// name that the pod does not have.
func targetNumber(p *pod, s *service, i int) uint32 {
	sp := &s.kube.Spec.Ports[i]
	if p.spec == nil {
		return uint32(sp.Port)
	}
	var n uint32
	_, _ = fmt.Sscan(p.target(sp), &n) // a name stays 0
	return n
}

// tlsFor is the TLS setting for a port, and where it is written.
func tlsFor(t *networking.TrafficPolicy, path string, port uint32) (*networking.ClientTLSSettings, string) {
	for i, s := range t.PortLevelSettings {
		if s.GetPort().GetNumber() == port {
			return s.GetTls(), at(path+".portLevelSettings", i) + ".tls"
		}
	}
	return t.GetTls(), path + ".tls"
}

// contradiction compares what a client does with what the workload demands.
func contradiction(tls *networking.ClientTLSSettings, mode mesh.MTLSMode, host, who string) (text, bool) {
	if tls == nil {
		return text{}, false
	}
	mutual := tls.Mode == networking.ClientTLSSettings_ISTIO_MUTUAL
	switch {
	case mode == mesh.MTLSStrict && !mutual:
		return text{
			fmt.Sprintf("TLS mode %s to %s, but %s demands mTLS of the mesh (STRICT)", tls.Mode, host, who),
			"connections to the host are refused: requests get 503", "use ISTIO_MUTUAL, or leave tls out: mTLS is used where it is demanded",
		}, true
	case mode == mesh.MTLSDisable && mutual:
		return text{
			fmt.Sprintf("TLS mode ISTIO_MUTUAL to %s, but %s switches mTLS off (DISABLE)", host, who),
			"the TLS handshake fails: requests get 503", "leave tls out of the DestinationRule, or use PERMISSIVE in the PeerAuthentication",
		}, true
	}
	return text{}, false
}
