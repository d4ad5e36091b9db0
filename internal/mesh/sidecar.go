package mesh

import (
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
)

// Client is what decides which objects a caller gets.
type Client struct {
	Namespace string
	Labels    map[string]string
}

// HostPattern is one entry of a Sidecar's egress hosts, namespace/dnsName.
type HostPattern struct {
	Namespace string // "*" for any, "~" for none
	Host      string
}

// Matches reports whether the pattern imports a host defined in a namespace.
func (p HostPattern) Matches(namespace, host string) bool {
	return (p.Namespace == "*" || p.Namespace == namespace) && HostsOverlap(p.Host, host)
}

// EgressListener is one egress entry of a Sidecar.
type EgressListener struct {
	Port    *networking.SidecarPort // nil: all ports not named by other entries
	Bind    string
	Capture networking.CaptureMode
	Hosts   []HostPattern
}

// Imports reports whether an object's host is visible through this entry.
func (l EgressListener) Imports(namespace, host string) bool {
	return slices.ContainsFunc(l.Hosts, func(p HostPattern) bool { return p.Matches(namespace, host) })
}

// SidecarScope is what a workload imports, and how it leaves the mesh. Read-only.
type SidecarScope struct {
	// Origin is the deciding Sidecar object, zero when none applies.
	Origin    Origin
	Namespace string // of the workload
	Egress    []EgressListener
	// Ingress are the user's own inbound listeners; nil means: as the services say.
	Ingress []*networking.IstioIngressListener
	// InboundConnectionPool is for inbound upstreams; may be nil.
	InboundConnectionPool *networking.ConnectionPoolSettings
	// Outbound decides about destinations that nothing in the mesh names; nil
	// means: as MeshConfig says.
	Outbound *networking.OutboundTrafficPolicy
	Hash     uint64
}

// Imports reports whether an object (service or virtual service) of a namespace
// with a host is visible through any entry. exportTo is another matter.
func (s *SidecarScope) Imports(namespace, host string) bool {
	return slices.ContainsFunc(s.Egress, func(l EgressListener) bool { return l.Imports(namespace, host) })
}

// DefaultSidecarScope is what holds for a namespace without any Sidecar object:
// everything that is exported to it.
func DefaultSidecarScope(namespace string) *SidecarScope {
	return &SidecarScope{Namespace: namespace, Egress: []EgressListener{{Hosts: []HostPattern{{"*", "*"}}}}}
}

// SelectSidecar finds the Sidecar that decides for a workload: one of its
// namespace that selects it, else the namespace's own without selector, else the
// one of the root namespace without selector; nil when none applies. Of several
// the oldest decides.
func SelectSidecar(all []*SidecarConfig, rootNamespace, namespace string, labels map[string]string) *SidecarConfig {
	best, bestRank := (*SidecarConfig)(nil), 4
	for _, s := range all {
		rank := sidecarRank(s, rootNamespace, namespace, labels)
		if rank < bestRank || rank == bestRank && rank < 4 && s.Origin.Before(best.Origin) {
			best, bestRank = s, rank
		}
	}
	return best
}

func sidecarRank(s *SidecarConfig, root, namespace string, labels map[string]string) int {
	selector := s.Spec.GetWorkloadSelector().GetLabels()
	switch {
	case s.Origin.Namespace == namespace && len(selector) > 0 && Selects(selector, labels):
		return 1
	case s.Origin.Namespace == namespace && len(selector) == 0:
		return 2
	case s.Origin.Namespace == root && len(selector) == 0:
		return 3
	default:
		return 4
	}
}

// NewSidecarScope applies a Sidecar to a namespace; nil gives the default.
func NewSidecarScope(s *SidecarConfig, namespace string) *SidecarScope {
	if s == nil {
		return DefaultSidecarScope(namespace)
	}
	scope := &SidecarScope{
		Origin: s.Origin, Namespace: namespace, Ingress: s.Spec.Ingress, Hash: s.Hash,
		InboundConnectionPool: s.Spec.InboundConnectionPool, Outbound: s.Spec.OutboundTrafficPolicy,
	}
	for _, e := range s.Spec.Egress {
		l := EgressListener{Port: e.Port, Bind: e.Bind, Capture: e.CaptureMode}
		for _, h := range e.Hosts {
			l.Hosts = append(l.Hosts, parseHostPattern(h, namespace))
		}
		scope.Egress = append(scope.Egress, l)
	}
	if len(scope.Egress) == 0 { // a Sidecar about ingress only
		scope.Egress = DefaultSidecarScope(namespace).Egress
	}
	return scope
}

// parseHostPattern reads namespace/dnsName; "." is the workload's namespace.
func parseHostPattern(s, namespace string) HostPattern {
	ns, host, ok := strings.Cut(s, "/")
	if !ok {
		ns, host = "*", s
	}
	if ns == "." {
		ns = namespace
	}
	return HostPattern{ns, strings.ToLower(host)}
}
