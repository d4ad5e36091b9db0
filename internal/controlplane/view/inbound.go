package view

import (
	"maps"
	"slices"

	"github.com/meshctl/meshctl/internal/collection"
	"github.com/meshctl/meshctl/internal/controlplane/xdsgen"
	"github.com/meshctl/meshctl/internal/mesh"
)

func inboundKey(class string) string { return "inbound|" + class }

// target is the class as policies select it.
func (v *View) target(c *collection.Ctx, class *Class) mesh.Target {
	t := mesh.Target{Namespace: class.Namespace, Labels: class.Labels}
	for _, s := range v.inFront(c, class) {
		t.Services = append(t.Services, s.Name)
	}
	if class.Type == mesh.Router {
		for _, g := range v.gatewaysOf(c, class) {
			t.Gateways = append(t.Gateways, g.PolicyTarget())
		}
	}
	return t
}

// inFront are the services whose selector selects the class, whether or not an
// endpoint is ready: a proxy must know its ports before its workload is.
func (v *View) inFront(c *collection.Ctx, class *Class) []*mesh.Service {
	var out []*mesh.Service
	for _, s := range collection.FetchIndex(c, v.m.ServicesByNamespace, class.Namespace) {
		if len(s.Selector) > 0 && mesh.Selects(s.Selector, class.Labels) {
			out = append(out, s)
		}
	}
	return out
}

// targetPort is the port of the class behind a service port.
func targetPort(p mesh.Port, class *Class) (uint32, bool) {
	return p.On(class.NamedPorts, class.Machine)
}

// inboundBundles derives the inbound side of each class of sidecars.
func (v *View) inboundBundles() collection.Collection[*Bundle] {
	return collection.Derive(v.g, "inbound-bundles", v.Classes, func(c *collection.Ctx, class *Class) (*Bundle, bool) {
		common, ok := v.common(c, class.Dialect)
		if !ok || class.Type != mesh.Sidecar {
			return nil, false
		}
		b := &Bundle{Key: inboundKey(class.Key)}
		in := v.inboundInput(c, class, common)
		for _, ps := range [][]*mesh.AuthorizationPolicy{in.Authz.Deny, in.Authz.Allow, in.Authz.Audit, in.Authz.DryRunDeny, in.Authz.DryRunAllow} {
			for _, p := range ps {
				b.blame(p.Origin)
			}
		}
		b.blame(in.Authn.Origins...)
		for _, r := range in.Tokens {
			b.blame(r.Origin)
		}
		b.guard("inbound clusters", func() {
			for _, cl := range xdsgen.InboundClusters(in) {
				b.add(cl.Name, cl)
			}
		})
		b.guard(xdsgen.VirtualInbound, func() {
			ls, ds := xdsgen.InboundListeners(in)
			b.Findings = append(b.Findings, ds...)
			for _, l := range ls {
				b.add(l.Name, l)
			}
		})
		return b, true
	})
}

func (v *View) inboundInput(c *collection.Ctx, class *Class, common xdsgen.Common) xdsgen.InboundInput {
	root := common.Mesh.GetRootNamespace()
	t := v.target(c, class)
	in := xdsgen.InboundInput{
		Common: common,
		Node: xdsgen.Node{
			Type: class.Type, Namespace: class.Namespace, DNSDomain: class.DNSDomain, Labels: class.Labels,
			Interception: class.Interception, Bound: class.Bound, HTTP10: class.HTTP10, IPv6: class.IPv6,
		},
		Authn: mesh.EffectiveAuthn(collection.FetchAll(c, v.m.Authn), root, class.Namespace, class.Labels),
		Authz: mesh.SelectAuthz(collection.FetchAll(c, v.m.Authz), root, t), Tokens: v.m.Tokens(c, root, t),
	}
	in.Telemetry, _ = mesh.EffectiveTelemetry(collection.FetchAll(c, v.m.Telemetry), common.Mesh, t)
	sidecar := mesh.NewSidecarScope(v.sidecarOf(c, class, common.Mesh), class.Namespace)
	in.ConnectionPool = sidecar.InboundConnectionPool
	if len(sidecar.Ingress) > 0 {
		for _, l := range sidecar.Ingress {
			in.Ports = append(in.Ports, xdsgen.InboundPort{
				Port: l.GetPort().GetNumber(), Name: l.GetPort().GetName(), Ingress: l,
				Protocol: mesh.ParseProtocol(l.GetPort().GetProtocol()),
			})
		}
		return in
	}
	in.Ports = inboundPorts(v.inFront(c, class), class)
	return in
}

// inboundPorts are the workload's ports behind services. Where several services lead to
// one port the first, in the order in which objects compete, decides about its protocol.
func inboundPorts(services []*mesh.Service, class *Class) []xdsgen.InboundPort {
	services = slices.SortedFunc(slices.Values(services), func(a, b *mesh.Service) int { return order(a.Origin, b.Origin) })
	ports := map[uint32]*xdsgen.InboundPort{}
	for _, s := range services {
		for _, p := range s.Ports {
			n, ok := targetPort(p, class)
			if !ok || p.Protocol == mesh.ProtocolUDP {
				continue
			}
			if ports[n] == nil {
				ports[n] = &xdsgen.InboundPort{Port: n, Name: p.Name, Protocol: p.Protocol, ServicePort: p.Number}
			}
			ports[n].Services = append(ports[n].Services, xdsgen.ServiceRef{Host: s.Host, Name: s.Name, Namespace: s.Namespace})
		}
	}
	var out []xdsgen.InboundPort
	for _, n := range slices.Sorted(maps.Keys(ports)) {
		out = append(out, *ports[n])
	}
	return out
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
