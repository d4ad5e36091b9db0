package upstream

import (
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// Host is an endpoint of a cluster: its identity and its state outlive
// snapshots and are shared by all workers.
type Host struct {
	addr     netip.AddrPort
	endpoint atomic.Pointer[snapshot.Endpoint]
	gone     atomic.Bool // not in the cluster any more
	born     time.Time   // when the cluster first had it

	active  atomic.Int64 // requests being served
	outlier outlier
	Stats   HostStats
}

// HostStats are the counters of a host, under Envoy's names.
type HostStats struct {
	CxTotal, CxConnectFail                  atomic.Uint64
	CxActive                                atomic.Int64
	RqTotal, RqSuccess, RqError, RqTimeout  atomic.Uint64
	EjectionsTotal, EjectionsConsecutive5xx atomic.Uint64
}

// Address is where the endpoint listens.
func (h *Host) Address() netip.AddrPort { return h.addr }

// Endpoint is its present configuration; nil for original destinations.
func (h *Host) Endpoint() *snapshot.Endpoint { return h.endpoint.Load() }

// Active is the number of requests being served.
func (h *Host) Active() int64 { return h.active.Load() }

// Ejected reports whether outlier detection keeps requests away at now.
func (h *Host) Ejected(now time.Time) bool { return h.outlier.until.Load() > now.UnixNano() }

// weight is the endpoint's, at least 1.
func (h *Host) weight() uint32 {
	if e := h.endpoint.Load(); e != nil && e.Weight > 1 {
		return e.Weight
	}
	return 1
}
