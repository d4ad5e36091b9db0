package whatif

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// upstream sends the request to a cluster; e is nil for bytes.
func (x *walk) upstream(c *connection, name string, e *exchange) error {
	cl := c.px.snap.Clusters[name]
	if c.server {
		return x.program(c)
	}
	if cl == nil {
		x.end(x.failure(Outcome{Kind: Unavailable, Flag: "NC", Reason: fmt.Sprintf("the cluster %q does not exist", name)}))
		return nil
	}
	s := c.hop.step(Step{Name: "target", What: name, Decided: x.w.destinationRule(cl.Mesh)})
	x.tellTarget(s, cl)
	if len(cl.Mesh.Services) > 0 {
		x.sentHost = cl.Mesh.Services[0].Host
	}
	x.sentSubset = cl.Mesh.Subset
	if cl.Discovery == snapshot.DiscoverOriginalDst {
		s.What += ": the address that the program asked for"
		return x.arrive(c, cl, &snapshot.Endpoint{Addr: c.dst}, e)
	}
	groups, total := x.endpoints(c.px.snap, cl)
	if total == 0 {
		reason := "no endpoint of " + cmp.Or(x.sentHost, name) + " is ready"
		if x.sentSubset != "" {
			reason += " in subset " + x.sentSubset
		}
		switch {
		case name == "BlackHoleCluster" && e != nil && e.trace.Route != nil && e.trace.Route.Config != "":
			reason = "the rule leads to a host, port or subset that does not exist"
		case name == "BlackHoleCluster":
			reason = "the connection leads nowhere: only hosts of the mesh may be called (outboundTrafficPolicy REGISTRY_ONLY)"
		}
		x.end(x.failure(Outcome{Kind: Unavailable, Flag: "UH", Reason: reason, Decided: s.Decided}))
		return nil
	}
	for _, g := range groups {
		s.set("endpoints of "+g.name, "%s", strings.Join(g.addrs, ", "))
	}
	for _, g := range groups {
		if err := x.branch(g.weight/total).arrive(c, cl, g.first, e); err != nil {
			return err
		}
	}
	return nil
}

// destinationRule names the rule behind a cluster, and the subset of it.
func (w *World) destinationRule(m snapshot.MeshInfo) *Decision {
	o := w.objects[m.Config]
	if o == nil {
		return nil
	}
	field := ""
	if spec, ok := o.Spec.(*networking.DestinationRule); ok && m.Subset != "" {
		i := slices.IndexFunc(spec.Subsets, func(s *networking.Subset) bool { return s.Name == m.Subset })
		if i >= 0 {
			field = fmt.Sprintf("spec.subsets[%d]", i)
		}
	}
	return decision(o, field)
}

// failure gives the status that a client of HTTP sees.
func (x *walk) failure(o Outcome) Outcome {
	if x.scheme != "tcp" {
		o.Status = 503
	} else if o.Kind == Unavailable {
		o.Kind = Refused
	}
	o.Host, o.Subset = x.sentHost, x.sentSubset
	return o
}

// group are the endpoints of one workload.
type group struct {
	name   string
	weight float64
	addrs  []string
	first  *snapshot.Endpoint
}

// endpoints groups those that get requests: the usable ones of the first priority
// that has any.
func (x *walk) endpoints(s *snapshot.Snapshot, cl *snapshot.Cluster) (groups []*group, total float64) {
	all := s.EndpointsOf(cl)
	if all == nil {
		return nil, 0
	}
	best := ^uint32(0)
	usable := func(l *snapshot.Locality) bool {
		return slices.ContainsFunc(l.Endpoints, func(e snapshot.Endpoint) bool { return e.Health.Usable() })
	}
	for i := range all.Localities {
		if usable(&all.Localities[i]) {
			best = min(best, all.Localities[i].Priority)
		}
	}
	for i := range all.Localities {
		l := &all.Localities[i]
		if l.Priority != best {
			continue
		}
		for j := range l.Endpoints {
			e := &l.Endpoints[j]
			if !e.Health.Usable() {
				continue
			}
			weight := float64(e.Weight)
			if cl.LB.LocalityWeighted && l.Weight > 0 {
				weight = float64(l.Weight) / float64(len(l.Endpoints))
			}
			name := x.nameOf(e)
			k := slices.IndexFunc(groups, func(g *group) bool { return g.name == name })
			if k < 0 {
				k = len(groups)
				groups = append(groups, &group{name: name, first: e})
			}
			groups[k].weight += weight
			groups[k].addrs = append(groups[k].addrs, address(e))
			total += weight
		}
	}
	slices.SortStableFunc(groups, func(a, b *group) int { return cmp.Compare(a.name, b.name) })
	return groups, total
}

func address(e *snapshot.Endpoint) string {
	switch {
	case e.Addr.IsValid():
		return e.Addr.String()
	case e.Info != nil && e.Info.Pipe != "":
		return e.Info.Pipe
	default:
		return fmt.Sprintf("%s:%d", e.Host, e.Port)
	}
}

// nameOf is the workload that an endpoint belongs to, or its address.
func (x *walk) nameOf(e *snapshot.Endpoint) string {
	if p := x.w.byIP[e.Addr.Addr()]; p != nil {
		return p.owner + "." + p.namespace
	}
	if e.Info != nil && e.Info.Workload.Name != "" {
		return e.Info.Workload.Name + "." + e.Info.Workload.Namespace
	}
	return address(e)
}

// balancing in the words of DestinationRule.
var balancing = [...]string{"ROUND_ROBIN", "LEAST_REQUEST", "RANDOM", "consistent hash (ring)", "consistent hash (maglev)", "PASSTHROUGH"}

// tellTarget says what is in force for requests to a cluster.
func (x *walk) tellTarget(s *Step, cl *snapshot.Cluster) {
	s.Settings = append(s.Settings, ClusterSettings(cl)...)
}

// ClusterSettings are what is in force for requests to a cluster, in the words of
// DestinationRule.
func ClusterSettings(cl *snapshot.Cluster) []Setting {
	var s Step
	if cl.Discovery != snapshot.DiscoverOriginalDst {
		s.set("balancing", "%s", balancing[cl.LB.Policy])
	}
	s.set("connect timeout", "%s", cl.ConnectTimeout)
	if o := cl.Outlier; o != nil {
		s.set("outlier detection", "%d consecutive 5xx, out for %s", o.Consecutive5xx, o.BaseEjection)
	}
	for _, limit := range []struct {
		name  string
		value uint32
	}{
		{"connections at most", cl.Breakers.Default.Connections},
		{"pending requests at most", cl.Breakers.Default.Pending},
		{"requests at most", cl.Breakers.Default.Requests},
		{"retries at most", cl.Breakers.Default.Retries},
	} {
		if limit.value != ^uint32(0) {
			s.set(limit.name, "%d", limit.value)
		}
	}
	return s.Settings
}

// arrive is the request on its way to an endpoint.
func (x *walk) arrive(c *connection, cl *snapshot.Cluster, ep *snapshot.Endpoint, e *exchange) error {
	_, tls := cl.Transport(ep)
	dst := netip.AddrPortFrom(ep.Addr.Addr().Unmap(), ep.Addr.Port())
	to := x.w.byIP[dst.Addr()]
	if to == nil {
		x.outsideOf(ep, tls)
		return nil
	}
	next := &connection{dst: dst, src: c.src, alpn: x.speaks()}
	if x.source != nil {
		next.src = netip.AddrPortFrom(x.source.addrs[0], 0)
	}
	if x.scheme == "https" && tls == nil {
		next.tls, next.sni = true, c.sni
	}
	if tls != nil {
		if ok := x.handshake(c, cl, tls, to, next, e); !ok {
			return nil
		}
	}
	return x.meet(to, next)
}

// handshake says what the client side of TLS offers; false when it cannot succeed.
func (x *walk) handshake(c *connection, cl *snapshot.Cluster, tls *snapshot.ClientTLS, to *pod, next *connection, e *exchange) bool {
	next.tls, next.sni, next.alpn = true, tls.SNI, tls.ALPN
	if e != nil && e.alpn != nil && cl.Mesh.ALPNOverride != "false" {
		next.alpn = e.alpn
	}
	mutual := slices.Contains(tls.Certificates, "default")
	s := c.hop.step(Step{Name: "transport", What: "TLS"})
	if mutual {
		s.What = "mutual TLS as " + x.w.identityOf(c.px.pod)
		next.peer = &snapshot.Peer{Presented: true, Verified: true, URISANs: []string{x.w.identityOf(c.px.pod)}}
		x.mtls = true
	}
	if to.role == plain {
		x.end(x.failure(Outcome{Kind: Unavailable, Flag: "UF", Reason: to.owner + " has no proxy that could end TLS"}))
		return false
	}
	id := x.w.identityOf(to)
	named := len(tls.SANs) == 0
	for i := range tls.SANs {
		named = named || tls.SANs[i].MatchString(id)
	}
	if !named {
		x.end(x.failure(Outcome{Kind: Unavailable, Flag: "UF", Reason: "the certificate of " + to.owner + " names " + id + ", which the client does not expect"}))
		return false
	}
	return true
}

// meet is the request at a pod.
func (x *walk) meet(to *pod, next *connection) error {
	switch to.role {
	case plain:
		next.hop = &Hop{}
		next.px = &proxy{pod: to}
		return x.program(next)
	case gateway:
		return x.gateway(to, next)
	case sidecar:
	}
	px, err := x.w.server(x.ctx, to)
	if err != nil {
		return err
	}
	next.px, next.server, next.hop = px, true, x.hop("server", to)
	if next.listener = px.listener(inboundPort); next.listener == nil {
		return fmt.Errorf("the sidecar of %s has no inbound listener", to)
	}
	return x.connect(next)
}

// program is the end of the way: the workload's own program answers.
func (x *walk) program(c *connection) error {
	p := c.px.pod
	x.end(Outcome{
		Kind: Forwarded, By: p.owner + "." + p.namespace, Host: x.sentHost, Subset: x.sentSubset, MTLS: x.mtls,
	})
	return nil
}

// outsideOf is a request that leaves what the objects say.
func (x *walk) outsideOf(ep *snapshot.Endpoint, tls *snapshot.ClientTLS) {
	o := Outcome{Kind: Forwarded, By: address(ep), Host: x.sentHost, Subset: x.sentSubset, Reason: "the address is outside of the mesh"}
	if ep.Addr.Addr() == elsewhere {
		o.By, o.Kind = fmt.Sprintf("%s:%d", x.host, x.port), Forwarded
		o.Reason = "the host is outside of the mesh: its address is what DNS says"
		if !strings.Contains(x.host, ".") {
			o.Reason = "no service that the caller may see has this name: it fails, unless DNS outside of the mesh knows a name without a dot"
		}
	}
	if tls != nil {
		o.Reason += "; the sidecar opens TLS"
	}
	x.end(o)
}
