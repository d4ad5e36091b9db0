package upstream

import (
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// Shared is what all workers know of clusters and hosts. Safe for concurrent use.
type Shared struct {
	mu       sync.RWMutex
	clusters map[string]*ClusterState
}

// NewShared makes an empty Shared.
func NewShared() *Shared { return &Shared{clusters: map[string]*ClusterState{}} }

// ClusterState is the state of a cluster. Its identity is the cluster's name.
type ClusterState struct {
	Name  string
	Stats ClusterStats

	breakers [2]breaker // default and high priority
	ejected  atomic.Int64
	youngest atomic.Int64 // when the last host came

	mu    sync.Mutex
	hosts map[netip.AddrPort]*Host
	names *resolution // DNS clusters
}

// breaker counts what circuit breakers bound.
type breaker struct {
	conns, pending, requests, retries atomic.Int64
}

// ClusterStats are the counters of a cluster, under Envoy's names.
type ClusterStats struct {
	CxTotal, CxConnectFail, CxConnectTimeout, CxOverflow, CxDestroy        atomic.Uint64
	CxHTTP1, CxHTTP2                                                       atomic.Uint64
	CxActive                                                               atomic.Int64
	RqTotal, RqPendingTotal, RqPendingOverflow, RqPendingFailure, RqRetry  atomic.Uint64
	RqTimeout, RqCancelled, RqRxReset, RqTxReset, RqCompleted, RqOverflow  atomic.Uint64
	Rq2xx, Rq3xx, Rq4xx, Rq5xx                                             atomic.Uint64
	RqActive, RqPendingActive                                              atomic.Int64
	NoneHealthy, UpdateSuccess, MaxHostWeight, OutlierEjections, DNSFailed atomic.Uint64
}

// State finds or makes the state of a cluster.
func (s *Shared) State(name string) *ClusterState {
	s.mu.RLock()
	c := s.clusters[name]
	s.mu.RUnlock()
	if c != nil {
		return c
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if c = s.clusters[name]; c == nil {
		c = &ClusterState{Name: name, hosts: map[netip.AddrPort]*Host{}}
		s.clusters[name] = c
	}
	return c
}

// Find is State without making one; nil if the cluster was never used.
func (s *Shared) Find(name string) *ClusterState {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.clusters[name]
}

// Prune forgets the state of clusters that are in no snapshot any more.
func (s *Shared) Prune(snap *snapshot.Snapshot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for n, c := range s.clusters {
		if snap.Clusters[n] != nil {
			continue
		}
		c.mu.Lock()
		if r := c.names; r != nil {
			r.stop()
			c.names = nil
		}
		c.mu.Unlock()
		delete(s.clusters, n)
	}
}

// Resolve begins to resolve the names of DNS clusters that are new in snap, so
// that addresses are known when the first request comes.
func (s *Shared) Resolve(snap *snapshot.Snapshot, res Resolver, log *slog.Logger) {
	for name, c := range snap.Clusters {
		if c.Discovery == snapshot.DiscoverStrictDNS || c.Discovery == snapshot.DiscoverLogicalDNS {
			s.State(name).resolve(res, c, snap.EndpointsOf(c), log)
		}
	}
}

// Hosts are the known hosts by address.
func (c *ClusterState) Hosts() []*Host {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make([]*Host, 0, len(c.hosts))
	for _, h := range c.hosts {
		out = append(out, h)
	}
	slices.SortFunc(out, func(a, b *Host) int { return a.addr.Compare(b.addr) })
	return out
}

// host finds or makes the host at addr and gives it its present configuration.
func (c *ClusterState) host(addr netip.AddrPort, e *snapshot.Endpoint) *Host {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.hosts[addr]
	if h == nil {
		h = &Host{addr: addr, born: time.Now()}
		c.youngest.Store(h.born.UnixNano())
		c.hosts[addr] = h
	}
	if e != nil {
		h.endpoint.Store(e)
	}
	h.gone.Store(false)
	return h
}

// keep forgets hosts that are not among those in use.
func (c *ClusterState) keep(in map[netip.AddrPort]bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for a, h := range c.hosts {
		if !in[a] {
			h.gone.Store(true)
			if h.Ejected(timeZero) || h.outlier.until.Load() != 0 {
				h.outlier.clear(c)
			}
			delete(c.hosts, a)
		}
	}
}

// forget drops an original destination that nobody is connected to: there is no
// list of endpoints that it could be missing from.
func (c *ClusterState) forget(h *Host) {
	if h.Stats.CxActive.Load() > 0 || h.active.Load() > 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.hosts[h.addr] == h {
		h.outlier.clear(c)
		delete(c.hosts, h.addr)
	}
}
