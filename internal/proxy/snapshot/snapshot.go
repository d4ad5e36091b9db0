package snapshot

import "net/netip"

// Snapshot is one generation of the configuration. All maps are read-only.
type Snapshot struct {
	// Generation grows by one with every published snapshot; the first is 1.
	Generation uint64
	// Listeners that own a socket (bind_to_port), in the order of their names.
	Listeners []*Listener
	// Virtual listeners by address: they own no socket and get connections
	// redirected from a listener with UseOriginalDst. Find them by VirtualFor.
	Virtual map[netip.AddrPort]*Listener
	// Routes by name of the route configuration (RDS). Tables given inline in an
	// HTTPManager are not in it.
	Routes map[string]*RouteTable
	// Clusters by name: where requests can be sent.
	Clusters map[string]*Cluster
	// Endpoints by EDS resource name (Cluster.EDSName). A change of endpoints
	// leaves the *Cluster untouched. Use EndpointsOf.
	Endpoints map[string]*Endpoints
	// Secrets by SDS name. Secrets given inline have generated names that begin
	// with "inline:" and the digest of their content.
	Secrets map[string]*Secret
	// Missing lists what is referred to but not there (yet).
	Missing Missing

	delta *Changes // against Generation-1, nil when unknown
}

// Missing names resources that others wait for. Lists are sorted.
type Missing struct {
	Routes    []string // RDS names named by published or warming listeners
	Endpoints []string // EDS names of clusters
	Clusters  []string // clusters named by routes or tcp proxies
	Secrets   []string // SDS names

	// WarmingListeners wait for routes or secrets and are not published yet,
	// or are published in their previous version.
	WarmingListeners []string
	// WarmingClusters wait for endpoints or secrets.
	WarmingClusters []string
	// HeldRoutes are tables whose newest version waits for clusters; the
	// previous version is in force.
	HeldRoutes []string
}

// Empty reports whether nothing is waited for.
func (m *Missing) Empty() bool {
	return len(m.Routes)+len(m.Endpoints)+len(m.Clusters)+len(m.Secrets)+
		len(m.WarmingListeners)+len(m.WarmingClusters)+len(m.HeldRoutes) == 0
}

// VirtualFor finds the listener for a connection whose original destination is
// dst: the exact address first, then the wildcard address of its family and
// port, as Envoy does. nil means that the accepting listener keeps the connection.
func (s *Snapshot) VirtualFor(dst netip.AddrPort) *Listener {
	dst = netip.AddrPortFrom(dst.Addr().Unmap(), dst.Port())
	if l := s.Virtual[dst]; l != nil {
		return l
	}
	wildcard := netip.IPv6Unspecified()
	if a := dst.Addr(); a.Is4() {
		wildcard = netip.IPv4Unspecified()
	}
	return s.Virtual[netip.AddrPortFrom(wildcard, dst.Port())]
}

// EndpointsOf gives the endpoints of c: its own (static, DNS names) or those of
// EDS. nil when none are known (yet).
func (s *Snapshot) EndpointsOf(c *Cluster) *Endpoints {
	if c.Static != nil {
		return c.Static
	}
	return s.Endpoints[c.EDSName]
}

// RoutesOf gives the route table of m: inline or by name. nil when it is unknown.
func (s *Snapshot) RoutesOf(m *HTTPManager) *RouteTable {
	if m.Routes != nil {
		return m.Routes
	}
	return s.Routes[m.RouteName]
}
