package xdsgen

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	networking "istio.io/api/networking/v1alpha3"

	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/mesh"
)

// OutboundListeners makes virtualOutbound and the listeners that it hands
// connections to:
//
//   - 0.0.0.0_<port> for all HTTP services of a port, told apart by Host; what is
//     not HTTP goes on to where it wanted.
//   - <virtual address>_<port> for a TCP service, or one that is sniffed.
//   - <endpoint>_<port> for each endpoint of such a service without a virtual
//     address; where there are no addresses at all, chains of 0.0.0.0_<port> by
//     server name or by network, and at most one without any condition.
//   - <bind>_<port> for an egress listener of a Sidecar that names a port.
//   - 127.0.0.1_<port>, an HTTP proxy, where MeshConfig or the proxy asks for it.
//
// Without capture (NONE) there is no virtualOutbound; listeners are bound to the
// virtual addresses themselves, or where Node.Bound says instead.
//
// Of several services that want the same, the first in the order of Origin gets it.
func OutboundListeners(in OutboundInput) ([]*listenerv3.Listener, []diag.Diagnostic) {
	b := newOutbound(in)
	var out []*listenerv3.Listener
	if in.Node.Interception != mesh.InterceptNone {
		out = append(out, b.virtualOutbound())
	}
	for _, k := range slices.SortedFunc(maps.Keys(b.slots), compareSlots) {
		if l := b.slots[k].listener(b, k); l != nil {
			out = append(out, l)
		}
	}
	if l := b.httpProxy(); l != nil {
		out = append(out, l)
	}
	return out, b.list
}

// OutboundRouteNames are the route configurations that the listeners use, sorted.
func OutboundRouteNames(in OutboundInput) []string {
	b := newOutbound(in)
	names := map[string]bool{}
	if b.httpProxyPort() != 0 {
		names[HTTPProxyRoutes] = true
	}
	for k, s := range b.slots {
		if s.http {
			names[s.routes(k)] = true
		}
		for _, c := range s.chains {
			if c.route != "" {
				names[c.route] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// slotKey is where a listener is bound.
type slotKey struct {
	bind string
	port uint32
}

func compareSlots(a, b slotKey) int {
	return cmp.Or(cmp.Compare(a.port, b.port), strings.Compare(a.bind, b.bind))
}

// slot collects what a listener must do.
type slot struct {
	http    bool   // requests are told apart by Host, by the routes of the port
	own     string // http: other routes, those of one service
	chains  []slotChain
	sniff   bool // the first bytes tell HTTP from others
	inspect bool // server names matter
	bound   bool // clients connect to it themselves
}

// slotChain is a filter chain in the making.
type slotChain struct {
	names    []string // server names
	networks []string // destination networks
	sources  []string // source networks
	route    string   // HTTP: route configuration; "" is TCP
	tcp      tcpChain
	service  *mesh.Service
	origin   mesh.Origin // of the object that decided
	rule     string      // the field of it
}

// outboundBuilder plans listeners.
type outboundBuilder struct {
	OutboundInput
	findings
	slots map[slotKey]*slot
}

func newOutbound(in OutboundInput) *outboundBuilder {
	b := &outboundBuilder{OutboundInput: in, slots: map[slotKey]*slot{}}
	services := slices.Clone(in.Services)
	slices.SortFunc(services, func(x, y OutboundService) int {
		return cmp.Or(compareOrigins(x.Service.Origin, y.Service.Origin), strings.Compare(x.Service.Host, y.Service.Host), strings.Compare(x.Service.Namespace, y.Service.Namespace))
	})
	b.VirtualServices = slices.Clone(in.VirtualServices)
	slices.SortFunc(b.VirtualServices, mesh.CompareVirtualServices)
	for _, s := range services {
		for _, p := range s.Service.Ports {
			b.plan(s, p)
		}
	}
	b.egress(services)
	return b
}

func compareOrigins(a, b mesh.Origin) int {
	switch {
	case a.Before(b):
		return -1
	case b.Before(a):
		return 1
	default:
		return 0
	}
}

func (b *outboundBuilder) slot(bind string, port uint32) *slot {
	k := slotKey{bind, port}
	s := b.slots[k]
	if s == nil {
		s = &slot{}
		b.slots[k] = s
	}
	return s
}

// plan finds places for one port of a service.
func (b *outboundBuilder) plan(s OutboundService, p mesh.Port) {
	switch {
	case p.Protocol == mesh.ProtocolUDP || p.Number == 0 || p.Number > 65535 || !b.imported(p.Number, s.Service):
		return
	case p.Protocol.IsHTTP():
		b.web(s.Service, p)
		return
	}
	sniff := p.Protocol == mesh.ProtocolAuto
	vips := s.Service.VIPs()
	if s.Service.Headless {
		vips = nil
		for _, e := range s.Endpoints {
			if e.ServicePort == p.Number {
				vips = append(append(vips, e.Address), e.Additional...)
			}
		}
		vips = sortedSet(vips)
	}
	routed := b.routed(s.Service, p)
	for _, v := range vips {
		k, ok := b.place(v, p.Number)
		switch {
		case !ok || !b.Node.reaches(v):
		case isAddress(v):
			sl := b.slot(k.bind, k.port)
			for _, c := range routed {
				b.put(sl, k, c)
			}
			b.put(sl, k, b.plain(s, p))
			b.sniffed(sl, s.Service, p, nil)
		case isPrefix(v):
			sl := b.slot(anyAddress, p.Number)
			for _, c := range routed {
				if len(c.networks) == 0 {
					c.networks = []string{v}
				}
				b.put(sl, slotKey{anyAddress, p.Number}, c)
			}
			c := b.plain(s, p)
			c.networks = []string{v}
			b.put(sl, slotKey{anyAddress, p.Number}, c)
			b.sniffed(sl, s.Service, p, []string{v})
		}
	}
	if len(vips) == 0 && !s.Service.Headless && !b.Node.Bound.IsValid() {
		b.withoutAddress(s, p, routed, sniff)
	}
}

// web makes requests to a port find their service by Host.
func (b *outboundBuilder) web(s *mesh.Service, p mesh.Port) {
	if b.Node.Interception != mesh.InterceptNone {
		b.slot(anyAddress, p.Number).http = true
		return
	}
	for _, v := range s.VIPs() {
		if k, ok := b.place(v, p.Number); ok && isAddress(v) && b.Node.reaches(v) {
			sl := b.slot(k.bind, k.port)
			if sl.http = true; b.Node.Bound.IsValid() {
				sl.own = hostPort(s.Host, p.Number) // by the address, whatever a request calls it
			}
		}
	}
}

// place is where clients find a port of a virtual address: there, or where the
// proxy listens for it. false: nowhere.
func (b *outboundBuilder) place(virtual string, port uint32) (slotKey, bool) {
	if !b.Node.Bound.IsValid() {
		return slotKey{virtual, port}, true
	}
	a, ok := b.Node.Bound.Service(virtual)
	return slotKey{a.String(), mesh.BoundPort(port)}, ok
}

// reaches tells whether clients on the node can call an address: a listener for one
// of an IP version that the pod does not have could not be bound.
func (n Node) reaches(address string) bool { return n.IPv6 || !mesh.IsIPv6(address) }

// routes are those of the slot's requests.
func (s *slot) routes(k slotKey) string { return cmp.Or(s.own, decimal(k.port)) }

// imported reports whether a port of a service is reached: where a Sidecar names
// the port, its hosts decide, else those of entries without port did already.
func (b *outboundBuilder) imported(port uint32, s *mesh.Service) bool {
	named := false
	for _, l := range b.Egress {
		if l.Port.GetNumber() == port {
			if l.Imports(s.Namespace, s.Host) {
				return true
			}
			named = true
		}
	}
	return !named
}

// egress opens the listeners that a Sidecar names.
func (b *outboundBuilder) egress(services []OutboundService) {
	for _, l := range b.Egress {
		n := l.Port.GetNumber()
		bind := l.Bind
		if bind == "" {
			switch bind = anyAddress; {
			case b.Node.Bound.IsValid():
				bind = b.Node.Bound.Workload().String()
			case l.Capture == networking.CaptureMode_NONE || b.Node.Interception == mesh.InterceptNone:
				bind = "127.0.0.1"
			}
		}
		if n == 0 || n > 65535 || !isAddress(bind) {
			b.add(codeUnsupported, source{}, "spec.egress", "the listener is not opened", "give a port, and an IP address to bind", "egress listener %s is not supported", listenerName(bind, n))
			continue
		}
		http := mesh.ParseProtocol(l.Port.GetProtocol()).IsHTTP()
		if !http && bind == anyAddress {
			continue // the services themselves have made it
		}
		sl := b.slot(bind, n)
		sl.bound = sl.bound || l.Capture == networking.CaptureMode_NONE
		if http {
			sl.http = true
			continue
		}
		for _, s := range services {
			if p, ok := s.Service.Port(n); ok && l.Imports(s.Service.Namespace, s.Service.Host) {
				b.put(sl, slotKey{bind, n}, b.plain(s, p))
			}
		}
	}
}

// withoutAddress is for a service that only its name tells: requests by Host, TLS
// by server name, and for bytes the whole port.
func (b *outboundBuilder) withoutAddress(s OutboundService, p mesh.Port, routed []slotChain, sniff bool) {
	k := slotKey{anyAddress, p.Number}
	sl := b.slot(k.bind, k.port)
	sl.http = sl.http || sniff
	for _, c := range routed {
		b.put(sl, k, c)
	}
	c := b.plain(s, p)
	if p.Protocol.IsTLS() {
		if hasNames(routed) {
			return
		}
		if s.Service.Host != "*" {
			c.names = []string{s.Service.Host}
		}
	}
	b.put(sl, k, c)
}

func hasNames(l []slotChain) bool {
	return slices.ContainsFunc(l, func(c slotChain) bool { return len(c.names) > 0 })
}

// sniffed adds the HTTP side of a port whose protocol is not known.
func (b *outboundBuilder) sniffed(sl *slot, s *mesh.Service, p mesh.Port, networks []string) {
	if p.Protocol != mesh.ProtocolAuto {
		return
	}
	c := slotChain{route: hostPort(s.Host, p.Number), networks: networks, service: s, origin: s.Origin}
	if !slices.ContainsFunc(sl.chains, func(x slotChain) bool { return x.route != "" && slices.Equal(x.networks, networks) }) {
		sl.chains = append(sl.chains, c)
		sl.sniff = true
	}
}

// plain leads all bytes to the service.
func (b *outboundBuilder) plain(s OutboundService, p mesh.Port) slotChain {
	name := ClusterName(p.Number, "", s.Service.Host)
	t := b.chain()
	t.policy = s.Policy.Policy(p.Number, "")
	return slotChain{tcp: t.to(name), service: s.Service, origin: s.Service.Origin}
}

func (b *outboundBuilder) chain() tcpChain {
	return tcpChain{Common: b.Common, side: outboundSide, telemetry: b.Telemetry, findings: &b.findings}
}

// put adds a chain unless another has the same conditions.
func (b *outboundBuilder) put(sl *slot, k slotKey, c slotChain) {
	key := c.key()
	for _, x := range sl.chains {
		if x.key() != key {
			continue
		}
		if x.service.Host != c.service.Host || x.service.Namespace != c.service.Namespace {
			b.warn(codePortConflict, source{origin: c.origin}, "", "connections to port "+decimal(k.port)+" of "+c.service.Host+" are taken by "+x.service.Host,
				"give the two services different addresses or ports", "%s is already taken on %s by %s", c.service.Host, listenerName(k.bind, k.port), x.service.Host)
		}
		return
	}
	if len(c.names) > 0 {
		sl.inspect = true
	}
	sl.chains = append(sl.chains, c)
}

// key identifies the conditions of a chain.
func (c slotChain) key() string {
	proto := "tcp"
	if c.route != "" {
		proto = "http"
	}
	return strings.Join([]string{
		proto, strings.Join(sortedSet(c.names), ","), strings.Join(sortedSet(c.networks), ","), strings.Join(sortedSet(c.sources), ","),
	}, "|")
}

func (b *outboundBuilder) virtualOutbound() *listenerv3.Listener {
	port := portOr(b.Mesh.GetProxyListenPort(), outboundCapture)
	l := &listenerv3.Listener{
		Name: VirtualOutbound, Address: tcpAddress(anyAddress, port), AdditionalAddresses: alsoBound(b.Node, anyAddress, port), TrafficDirection: corev3.TrafficDirection_OUTBOUND,
		UseOriginalDst: boolean(true), AccessLog: noChainLogs(b.Common, b.Telemetry, outboundSide, &b.findings),
		FilterChains: []*listenerv3.FilterChain{
			blackholeChain(b.Common, VirtualOutbound+"-blackhole", port, outboundSide, b.Telemetry, &b.findings),
			{Name: VirtualOutbound + "-catchall-tcp", Filters: b.chain().to(b.unknown()).filters()},
		},
	}
	if b.Node.Interception == mesh.InterceptTPROXY {
		l.Transparent = boolean(true)
	}
	return l
}

// unknown is where connections go that no service has. Without capture nobody
// knows where they wanted.
func (b *outboundBuilder) unknown() string {
	if b.RegistryOnly || b.Node.Interception == mesh.InterceptNone {
		return BlackHole
	}
	return Passthrough
}

func (b *outboundBuilder) http(name, routes string) *listenerv3.Filter {
	return httpManager{
		Common: b.Common, node: b.Node, side: outboundSide, statPrefix: statName("outbound_" + name),
		telemetry: b.Telemetry, findings: &b.findings, routeName: routes,
	}.filter()
}
