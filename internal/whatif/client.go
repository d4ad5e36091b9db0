package whatif

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// Ports on which a sidecar takes over redirected connections.
const (
	outboundPort = 15001
	inboundPort  = 15006
)

// elsewhere stands for the address of a name that only DNS outside knows (RFC 5737).
var elsewhere = netip.MustParseAddr("198.51.100.1")

// leave walks the request out of a pod.
func (x *walk) leave(p *pod) error {
	px, err := x.w.caller(x.ctx, p)
	if err != nil {
		return err
	}
	if p.role == plain {
		return x.leavePlain(px)
	}
	hop := x.hop("client", p)
	dst := x.lookup(hop, px)
	l := px.snap.VirtualFor(dst)
	if l == nil {
		l = px.listener(outboundPort)
	}
	if l == nil {
		return fmt.Errorf("the sidecar of %s has no outbound listener", p)
	}
	conn := &connection{px: px, hop: hop, listener: l, dst: dst, src: netip.AddrPortFrom(x.client, 0), tls: x.scheme == "https", alpn: x.speaks()}
	if conn.tls {
		conn.sni = strings.ToLower(x.host)
	}
	return x.connect(conn)
}

// lookup resolves the host as the pod's DNS proxy does.
func (x *walk) lookup(hop *Hop, px *proxy) netip.AddrPort {
	if a, err := netip.ParseAddr(x.host); err == nil {
		return netip.AddrPortFrom(a.Unmap(), x.port)
	}
	name, info, ok := px.resolve(x.host, x.w.domain)
	s := hop.step(Step{Name: "name"})
	if ok {
		for _, ip := range info.IPs {
			if a, err := netip.ParseAddr(ip); err == nil {
				s.What = fmt.Sprintf("%s is %s, %s", x.host, name, strings.Join(info.IPs, ", "))
				s.Decided = x.w.service(info.Namespace, info.Shortname)
				return netip.AddrPortFrom(a.Unmap(), x.port)
			}
		}
	}
	s.What = fmt.Sprintf("%s is no name of the mesh that %s may see; the address is what DNS outside says", x.host, px.pod.owner)
	return netip.AddrPortFrom(elsewhere, x.port)
}

// service names a Kubernetes Service.
func (w *World) service(namespace, name string) *Decision {
	for _, o := range w.objects {
		if o.Key.Kind.Group == "" && o.Key.Kind.Kind == "Service" && o.Key.Namespace == namespace && o.Key.Name == name {
			return decision(o, "")
		}
	}
	return nil
}

// speaks is what the program's first bytes, or its TLS handshake, say it speaks.
func (x *walk) speaks() []string {
	switch x.scheme {
	case "http":
		return []string{"http/1.1"}
	case "grpc":
		return []string{"h2c"}
	case "https":
		return []string{"h2", "http/1.1"}
	default:
		return nil
	}
}

// connection is one that a proxy accepted.
type connection struct {
	px       *proxy
	hop      *Hop
	listener *snapshot.Listener
	dst, src netip.AddrPort
	tls      bool
	sni      string
	alpn     []string
	peer     *snapshot.Peer // of mutual TLS
	server   bool           // inbound side of a sidecar
}

// facts are what chains are chosen by: what the listener's inspectors find out.
func (c *connection) facts() *snapshot.ConnFacts {
	f := &snapshot.ConnFacts{Destination: c.dst, Source: c.src, DirectSource: c.src.Addr(), Transport: snapshot.RawBuffer}
	inspects := func(i *snapshot.Inspector) bool { return i != nil && !i.DisabledFor(c.dst.Port()) }
	if c.tls && inspects(c.listener.TLSInspector) {
		f.Transport, f.ServerName = snapshot.TLSTransport, []byte(c.sni)
	}
	if c.tls == (f.Transport == snapshot.TLSTransport) && (c.tls || inspects(c.listener.HTTPInspector)) {
		for _, a := range c.alpn {
			f.ALPN = append(f.ALPN, []byte(a))
		}
	}
	return f
}

// connect chooses the chain and follows it.
func (x *walk) connect(c *connection) error {
	chain := c.listener.Match(c.facts())
	s := c.hop.step(Step{Name: "listener", What: c.listener.Name, Decided: x.w.decided(c.listener.Config, "")})
	if chain == nil {
		x.end(x.noChain(c))
		return nil
	}
	s.What += ", chain " + chainName(chain)
	if d := x.w.decided(chain.Config, chain.Rule); d != nil {
		s.Decided = d
	}
	if c.server {
		mutual := c.peer != nil
		x.authentication(c, chain)
		if x.unended(c, chain, mutual) {
			return nil
		}
	}
	if done := x.networkPolicies(c, chain); done {
		return nil
	}
	switch {
	case chain.HTTP != nil && x.scheme != "tcp":
		return x.http(c, chain)
	case chain.HTTP != nil:
		x.end(Outcome{Kind: Refused, Flag: "DPE", Reason: "the port speaks HTTP, and the bytes are none"})
		return nil
	case chain.TCP != nil:
		return x.relay(c, chain)
	default:
		x.end(Outcome{Kind: Refused, Reason: "the chain closes every connection"})
		return nil
	}
}

// unended is what happens to TLS that the two sides do not agree on. Where the
// workload's proxy does not end what the client's opened, the program gets a handshake, and speaks plain text. A port that is
// declared to speak TLS, or nothing, may end it; mutual TLS of the mesh no program does.
func (x *walk) unended(c *connection, chain *snapshot.Chain, mutual bool) bool {
	if c.tls && chain.TLS != nil && chain.TLS.RequireClientCert && !mutual {
		_, d := x.w.authn(c.px.pod, c.dst.Port())
		x.end(x.failure(Outcome{Kind: Unavailable, Flag: "UF", Decided: d, Reason: "the workload asks for a certificate of the mesh, and the client shows none"}))
		return true
	}
	if !c.tls || chain.TLS != nil || x.scheme == "https" {
		return false
	}
	p := x.w.declared(c.px.pod, uint32(c.dst.Port()))
	if !mutual && (p.IsTLS() || p == mesh.ProtocolAuto || p == mesh.ProtocolTCP) {
		return false
	}
	mode, d := x.w.authn(c.px.pod, c.dst.Port())
	o := Outcome{Kind: Unavailable, Flag: "UF", Decided: d, Reason: fmt.Sprintf("the client opens TLS, and the port speaks plain %s", p)}
	if mutual {
		o.Reason = fmt.Sprintf("the client opens mutual TLS, and the workload does not end it (%s)", mode)
	}
	x.end(x.failure(o))
	return true
}

// declared is the protocol of a pod's port, as the first service with it says.
func (w *World) declared(p *pod, port uint32) mesh.Protocol {
	for _, s := range w.cp.Mesh().Services.List() {
		if s.Namespace != p.namespace || len(s.Selector) == 0 || !mesh.Selects(s.Selector, p.labels) {
			continue
		}
		for _, sp := range s.Ports {
			target := sp.Target
			if target == 0 {
				target = sp.Number
			}
			if wl, ok := w.cp.Mesh().Workloads.Get(mesh.WorkloadKey("", "Pod", p.namespace, p.name)); ok && sp.TargetName != "" {
				target = wl.Ports[sp.TargetName]
			}
			if target == port {
				return sp.Protocol
			}
		}
	}
	return mesh.ProtocolAuto
}

func chainName(c *snapshot.Chain) string {
	if c.Name != "" {
		return c.Name
	}
	switch {
	case c.HTTP != nil:
		return "for HTTP"
	case c.TCP != nil:
		return "for bytes"
	default:
		return "that closes"
	}
}

// noChain is what happens to a connection that no chain wants.
func (x *walk) noChain(c *connection) Outcome {
	o := Outcome{Kind: Refused, Flag: "NR", Reason: "no filter chain of the listener takes the connection"}
	if c.server {
		mode, d := x.w.authn(c.px.pod, c.dst.Port())
		if !c.tls && mode == "STRICT" {
			o.Reason, o.Decided = "the workload takes mutual TLS only (STRICT), and the connection is plain text", d
			c.hop.step(Step{Name: "authentication", What: "STRICT: plain text is refused", Decided: d})
		}
		if x.scheme != "tcp" {
			o.Status, o.Flag = 503, "UC"
		}
	}
	return o
}

// relay follows a chain that passes bytes on.
func (x *walk) relay(c *connection, chain *snapshot.Chain) error {
	t := chain.TCP
	s := c.hop.step(Step{Name: "relay", What: "bytes are passed on"})
	if t.IdleTimeout > 0 {
		s.set("idle timeout", "%s", t.IdleTimeout)
	}
	if len(t.Weighted) == 0 {
		return x.upstream(c, t.Cluster, nil)
	}
	for _, tw := range t.Weighted {
		if err := x.branch(float64(tw.Weight)/float64(t.TotalWeight)).upstream(c, tw.Cluster, nil); err != nil {
			return err
		}
	}
	return nil
}

// leavePlain walks a request out of a pod without a proxy: names resolve and
// services balance as in any cluster, and nothing of the mesh is in force before
// the server's side.
func (x *walk) leavePlain(px *proxy) error {
	hop := x.hop("client", px.pod)
	hop.step(Step{Name: "proxy", What: px.pod.owner + " has no sidecar: no routes, no mutual TLS, no identity"})
	dst := x.lookup(hop, px)
	next := &connection{src: netip.AddrPortFrom(x.client, 0), alpn: x.speaks(), tls: x.scheme == "https"}
	if next.tls {
		next.sni = strings.ToLower(x.host)
	}
	if to := x.w.byIP[dst.Addr()]; to != nil {
		next.dst = dst
		return x.meet(to, next)
	}
	name, _, known := px.resolve(x.host, x.w.domain)
	cl := px.snap.Clusters[fmt.Sprintf("outbound|%d||%s", x.port, name)]
	if !known || cl == nil {
		x.outsideOf(&snapshot.Endpoint{Addr: dst}, nil)
		return nil
	}
	x.sentHost = name
	groups, total := x.endpoints(px.snap, cl)
	if total == 0 {
		x.end(Outcome{Kind: Refused, Host: name, Reason: "no endpoint of " + name + " is ready"})
		return nil
	}
	for _, g := range groups {
		y, c := x.branch(g.weight/total), *next
		to := x.w.byIP[g.first.Addr.Addr()]
		if to == nil {
			y.outsideOf(g.first, nil)
			continue
		}
		c.dst = g.first.Addr
		if err := y.meet(to, &c); err != nil {
			return err
		}
	}
	return nil
}
