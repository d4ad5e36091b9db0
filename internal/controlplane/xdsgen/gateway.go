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

// GatewayListeners makes a listener for each address and port of the servers.
// Servers of one port are told apart by server name; of two that want the same
// name, the first in the order of Origin gets it.
func GatewayListeners(in GatewayInput) ([]*listenerv3.Listener, []diag.Diagnostic) {
	b := newGateway(in)
	groups := map[slotKey][]mesh.GatewayServer{}
	for _, s := range b.Servers {
		bind := cmp.Or(s.Server.GetBind(), anyAddress)
		if !isAddress(bind) {
			b.add(codeBadValue, gatewaySource(s), "spec.servers.bind", "the server is not opened", "use an IP address", "bind %q is not an IP address", bind)
			continue
		}
		k := slotKey{bind, s.BindPort}
		if b.Node.Bound.IsValid() {
			k = slotKey{b.Node.Bound.Workload().String(), mesh.BoundPort(s.BindPort)}
		}
		groups[k] = append(groups[k], s)
	}
	var out []*listenerv3.Listener
	for _, k := range slices.SortedFunc(maps.Keys(groups), compareSlots) {
		if l := b.listener(k, groups[k]); l != nil {
			out = append(out, l)
		}
	}
	return out, b.list
}

// gatewayBuilder holds what listeners and routes of a gateway share.
type gatewayBuilder struct {
	GatewayInput
	findings
}

func newGateway(in GatewayInput) *gatewayBuilder {
	b := &gatewayBuilder{GatewayInput: in}
	b.Servers = slices.Clone(in.Servers)
	slices.SortFunc(b.Servers, func(x, y mesh.GatewayServer) int {
		return cmp.Or(compareOrigins(x.Origin, y.Origin), strings.Compare(x.Gateway, y.Gateway), cmp.Compare(x.Index, y.Index))
	})
	b.VirtualServices = slices.Clone(in.VirtualServices)
	slices.SortFunc(b.VirtualServices, mesh.CompareVirtualServices)
	return b
}

func gatewaySource(s mesh.GatewayServer) source { return source{origin: s.Origin} }

// serverKind is what a server does with connections.
type serverKind int

const (
	plainWebServer serverKind = iota // HTTP
	tlsWebServer                     // HTTPS, ended here
	tlsServer                        // TLS ended here, bytes behind it
	sniServer                        // TLS passed through
	tcpServer
)

func kindOf(s mesh.GatewayServer) serverKind {
	t := s.Server.GetTls()
	switch p := s.Protocol; {
	case p.IsHTTP():
		if t != nil && (t.GetMode() != networking.ServerTLSSettings_PASSTHROUGH || len(credentials(t)) > 0 || t.GetServerCertificate() != "") {
			return tlsWebServer
		}
		return plainWebServer // at most with httpsRedirect
	case p == mesh.ProtocolHTTPS && t.GetMode() != networking.ServerTLSSettings_PASSTHROUGH && t.GetMode() != networking.ServerTLSSettings_AUTO_PASSTHROUGH:
		return tlsWebServer
	case p.IsTLS() && t.GetMode() != networking.ServerTLSSettings_PASSTHROUGH && t.GetMode() != networking.ServerTLSSettings_AUTO_PASSTHROUGH:
		return tlsServer
	case p.IsTLS():
		return sniServer
	default:
		if t != nil && t.GetMode() != networking.ServerTLSSettings_PASSTHROUGH {
			return tlsServer
		}
		return tcpServer
	}
}

// httpRouteName is the route configuration of all plain HTTP servers of a port.
func httpRouteName(bindPort uint32) string { return "http." + decimal(bindPort) }

// httpsRouteName is that of one HTTPS server.
func httpsRouteName(s mesh.GatewayServer) string {
	ns, name, _ := strings.Cut(s.Gateway, "/")
	return strings.Join([]string{"https", decimal(s.Port), s.Server.GetPort().GetName(), name, ns}, ".")
}

// listener makes the listener of all servers of an address and port; nil when
// none of them can be opened.
func (b *gatewayBuilder) listener(k slotKey, servers []mesh.GatewayServer) *listenerv3.Listener {
	name := listenerName(k.bind, k.port)
	l := &listenerv3.Listener{
		Name: name, Address: tcpAddress(k.bind, k.port), AdditionalAddresses: alsoBound(b.Node, k.bind, k.port), TrafficDirection: corev3.TrafficDirection_OUTBOUND,
		AccessLog: noChainLogs(b.Common, b.Telemetry, gatewaySide, &b.findings),
	}
	used := map[string]mesh.GatewayServer{} // conditions of chains
	anyTLS := slices.ContainsFunc(servers, func(s mesh.GatewayServer) bool {
		k := kindOf(s)
		return k == tlsWebServer || k == tlsServer || k == sniServer
	})
	for _, s := range servers {
		for _, c := range b.chains(name, s, anyTLS) {
			if c = b.claim(c, s, used); c != nil {
				l.FilterChains = append(l.FilterChains, c)
			}
		}
	}
	if len(l.FilterChains) == 0 {
		return nil
	}
	if anyTLS {
		l.ListenerFilters = []*listenerv3.ListenerFilter{tlsInspector(nil)}
	}
	return l
}

// claim takes from a chain the names that others have; nil when none is left.
func (b *gatewayBuilder) claim(c *listenerv3.FilterChain, s mesh.GatewayServer, used map[string]mesh.GatewayServer) *listenerv3.FilterChain {
	m := c.GetFilterChainMatch()
	rest := m.GetTransportProtocol()
	for _, p := range slices.Concat(m.GetPrefixRanges(), m.GetSourcePrefixRanges()) {
		rest += "|" + p.String()
	}
	names := m.GetServerNames()
	if len(names) == 0 {
		names = []string{""}
	}
	var keep []string
	for _, n := range names {
		key := n + "|" + rest
		if other, taken := used[key]; taken {
			if kindOf(other) != plainWebServer || kindOf(s) != plainWebServer { // those share one chain
				b.warn(codePortConflict, gatewaySource(s), s.Field, "the server of "+other.Gateway+" gets these connections",
					"use another port or other hosts", "%s on port %d is already served by %s", cmp.Or(n, "any name"), s.BindPort, other.Gateway)
			}
			continue
		}
		used[key] = s
		keep = append(keep, n)
	}
	if len(keep) == 0 {
		return nil
	}
	if len(m.GetServerNames()) > 0 {
		m.ServerNames = keep
	}
	return c
}

// chains are those of one server.
func (b *gatewayBuilder) chains(name string, s mesh.GatewayServer, anyTLS bool) []*listenerv3.FilterChain {
	switch kindOf(s) {
	case plainWebServer:
		c := &listenerv3.FilterChain{Filters: []*listenerv3.Filter{b.http(name, s, httpRouteName(s.BindPort))}}
		if anyTLS {
			c.FilterChainMatch = &listenerv3.FilterChainMatch{TransportProtocol: rawTransport}
		}
		return []*listenerv3.FilterChain{c}
	case tlsWebServer:
		c := &listenerv3.FilterChain{Filters: []*listenerv3.Filter{b.http(name, s, httpsRouteName(s))}}
		return b.secure(c, s, true)
	case tlsServer:
		var out []*listenerv3.FilterChain
		for _, r := range b.tcpRoutes(s) {
			out = append(out, b.secure((&slot{}).tcpChain(r), s, false)...)
		}
		if !s.Granted {
			return out // Istio's tls routes are for connections that are passed on
		}
		for _, r := range b.tlsRoutes(s) {
			names := r.names
			for _, c := range b.secure((&slot{}).tcpChain(r), s, false) {
				c.FilterChainMatch.ServerNames = names
				out = append(out, c)
			}
		}
		return out
	case sniServer:
		return b.passthrough(s)
	default:
		var out []*listenerv3.FilterChain
		for _, r := range b.tcpRoutes(s) {
			c := (&slot{}).tcpChain(r)
			if anyTLS {
				if c.FilterChainMatch == nil {
					c.FilterChainMatch = &listenerv3.FilterChainMatch{}
				}
				c.FilterChainMatch.TransportProtocol = rawTransport
			}
			out = append(out, c)
		}
		return out
	}
}

func (b *gatewayBuilder) http(name string, s mesh.GatewayServer, routes string) *listenerv3.Filter {
	return httpManager{
		Common: b.Common, node: b.Node, side: gatewaySide, statPrefix: statName("outbound_" + name), protocol: s.Protocol,
		telemetry: b.Telemetry, tokens: tokenFilter(b.Common, b.Node, b.Tokens, &b.findings), authz: httpAuthz(b.Common, b.Node, b.Authz), findings: &b.findings, routeName: routes,
	}.filter()
}

// secure puts TLS before a chain, for the server's hosts.
func (b *gatewayBuilder) secure(c *listenerv3.FilterChain, s mesh.GatewayServer, http bool) []*listenerv3.FilterChain {
	sock, ok := serverTLS{Common: b.Common, findings: &b.findings, source: gatewaySource(s), field: "spec.servers.tls", http: http, unverified: s.Unverified}.socket(s.Server.GetTls())
	if !ok {
		return nil
	}
	if c.FilterChainMatch == nil {
		c.FilterChainMatch = &listenerv3.FilterChainMatch{}
	}
	c.FilterChainMatch.TransportProtocol = tlsTransport
	c.FilterChainMatch.ServerNames = serverNames(s.Hosts)
	c.TransportSocket, c.TransportSocketConnectTimeout = sock, seconds(15)
	return []*listenerv3.FilterChain{c}
}

// serverNames are the hosts by which a connection finds a server; nil for any.
func serverNames(hosts []mesh.HostPattern) []string {
	var out []string
	for _, h := range hosts {
		if h.Host == "*" {
			return nil
		}
		out = append(out, h.Host)
	}
	return sortedSet(out)
}

// passthrough leads TLS on by server name, without ending it.
func (b *gatewayBuilder) passthrough(s mesh.GatewayServer) []*listenerv3.FilterChain {
	if s.Server.GetTls().GetMode() == networking.ServerTLSSettings_AUTO_PASSTHROUGH {
		return b.bySNI(s)
	}
	var out []*listenerv3.FilterChain
	for _, c := range b.tlsRoutes(s) {
		fc := (&slot{}).tcpChain(c)
		if fc.FilterChainMatch == nil {
			fc.FilterChainMatch = &listenerv3.FilterChainMatch{}
		}
		fc.FilterChainMatch.TransportProtocol = tlsTransport
		out = append(out, fc)
	}
	return out
}

// bySNI leads connections of sidecars in other networks on by the server names that
// they use, one for each port and subset of a service, without ending TLS.
func (b *gatewayBuilder) bySNI(s mesh.GatewayServer) []*listenerv3.FilterChain {
	var out []*listenerv3.FilterChain
	for _, d := range b.Passed {
		if len(intersect(d.Service.Host, s.Hosts, d.Service.Namespace)) == 0 {
			continue
		}
		for _, p := range d.Service.Ports {
			if p.Protocol == mesh.ProtocolUDP {
				continue
			}
			subsets := []string{""}
			if d.Policy != nil {
				for _, sub := range d.Policy.Subsets {
					subsets = append(subsets, sub.Name)
				}
			}
			for _, subset := range subsets {
				name := SNIClusterName(p.Number, subset, d.Service.Host)
				chain := tcpChain{Common: b.Common, side: gatewaySide, telemetry: b.Telemetry, findings: &b.findings}
				out = append(out, &listenerv3.FilterChain{
					FilterChainMatch: &listenerv3.FilterChainMatch{
						TransportProtocol: tlsTransport, ServerNames: []string{name}, ApplicationProtocols: meshProtocols(),
					},
					Filters: chain.to(name).filters(),
				})
			}
		}
	}
	return out
}

// meshProtocols are those that sidecars offer each other in TLS.
func meshProtocols() []string {
	return []string{peerExchange, "istio", "istio-http/1.0", "istio-http/1.1", "istio-h2"}
}

// PassesBySNI reports whether a server passes connections of other networks on to a host
// of a namespace.
func PassesBySNI(s mesh.GatewayServer, host, namespace string) bool {
	return s.Protocol.IsTLS() && s.Server.GetTls().GetMode() == networking.ServerTLSSettings_AUTO_PASSTHROUGH && len(intersect(host, s.Hosts, namespace)) > 0
}

// tlsRoutes are the routes by name of a server, with the names that it serves.
func (b *gatewayBuilder) tlsRoutes(s mesh.GatewayServer) []slotChain {
	var out []slotChain
	for _, v := range b.VirtualServices {
		if !b.bound(v, s) {
			continue
		}
		for _, c := range b.routesOf(v, s).tls("") {
			if c.names = covered(c.names, s.Hosts, v.Origin.Namespace); len(c.names) == 0 {
				continue
			}
			if slices.Contains(c.names, "*") {
				c.names = nil
			}
			out = append(out, c)
		}
	}
	return out
}

// covered are the parts of names that a server serves; no names mean all.
func covered(names []string, hosts []mesh.HostPattern, namespace string) []string {
	if len(names) == 0 {
		names = []string{"*"}
	}
	var out []string
	for _, n := range names {
		out = append(out, intersect(n, hosts, namespace)...)
	}
	return sortedSet(out)
}

// intersect are the names that both a host of a virtual service and a server's
// hosts cover, for virtual services of a namespace.
func intersect(host string, hosts []mesh.HostPattern, namespace string) []string {
	var out []string
	for _, h := range hosts {
		if h.Namespace != "*" && h.Namespace != namespace {
			continue
		}
		switch {
		case mesh.HostMatches(h.Host, host):
			out = append(out, host)
		case mesh.HostMatches(host, h.Host):
			out = append(out, h.Host)
		}
	}
	return sortedSet(out)
}

// bound reports whether a virtual service applies to the gateway of a server and
// has a host that the server serves.
func (b *gatewayBuilder) bound(v *mesh.VirtualService, s mesh.GatewayServer) bool {
	return v.AppliesTo(s.Gateway) && slices.ContainsFunc(v.Hosts, func(h string) bool {
		return len(intersect(h, s.Hosts, v.Origin.Namespace)) > 0
	})
}

// tcpRoutes are the routes of a server that does not look at names.
func (b *gatewayBuilder) tcpRoutes(s mesh.GatewayServer) []slotChain {
	var out []slotChain
	for _, v := range b.VirtualServices {
		if b.bound(v, s) {
			out = append(out, b.routesOf(v, s).tcp()...)
		}
	}
	return out
}

func (b *gatewayBuilder) routesOf(v *mesh.VirtualService, s mesh.GatewayServer) tcpRoutes {
	return tcpRoutes{
		Common: b.Common, node: b.Node, gateways: []string{s.Gateway}, port: s.Port, destinations: b.Destinations, vs: v, findings: &b.findings,
		base: tcpChain{Common: b.Common, side: gatewaySide, telemetry: b.Telemetry, findings: &b.findings, authz: tcpAuthz(b.Common, b.Node, b.Authz, listenerName(anyAddress, s.BindPort))},
	}
}

// GatewaySecretNames are the secrets that servers ask for, sorted: their listeners, and
// the clusters that they show a certificate to.
func GatewaySecretNames(servers []mesh.GatewayServer) []string {
	var out []string
	for _, s := range servers {
		if s.ClientCertificate != "" {
			out = append(out, SecretName(s.ClientCertificate, false))
		}
		t := s.Server.GetTls()
		switch t.GetMode() {
		case networking.ServerTLSSettings_MUTUAL, networking.ServerTLSSettings_OPTIONAL_MUTUAL:
			if n := caCredential(t); n != "" && t.GetCaCertificates() == "" {
				out = append(out, n)
			}
		case networking.ServerTLSSettings_SIMPLE:
		default:
			continue
		}
		for _, n := range credentials(t) {
			out = append(out, SecretName(n, false))
		}
	}
	return sortedSet(out)
}
