package upstream

import (
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// resolvedHost is an address of a name, with the endpoint that asked for it.
type resolvedHost struct {
	addr     netip.AddrPort
	priority uint32
	endpoint *snapshot.Endpoint
}

// resolution keeps the names of a DNS cluster resolved, in a goroutine of its own
// as long as the cluster exists. The last good answer stays in force.
type resolution struct {
	cluster *snapshot.Cluster
	eps     *snapshot.Endpoints
	done    chan struct{}
	once    sync.Once

	mu    sync.Mutex
	hosts []resolvedHost
	gen   uint64
}

func (r *resolution) stop() { r.once.Do(func() { close(r.done) }) }

// Refresh rates.
const (
	defaultRefresh = 5 * time.Second
	minRefresh     = 250 * time.Millisecond
	maxResolved    = 1024
)

// resolve gives the addresses known, starting the resolution at first use and
// when the cluster's endpoints have changed. The generation tells changes.
func (c *ClusterState) resolve(res Resolver, cl *snapshot.Cluster, eps *snapshot.Endpoints, log *slog.Logger) ([]resolvedHost, uint64) {
	c.mu.Lock()
	r := c.names
	if r == nil || r.eps != eps {
		next := &resolution{cluster: cl, eps: eps, done: make(chan struct{})}
		if r != nil {
			r.stop()
			r.mu.Lock()
			next.hosts, next.gen = r.hosts, r.gen+1
			r.mu.Unlock()
		}
		r, c.names = next, next
		if res != nil && eps != nil {
			// The first answer is waited for by nobody: requests before it find no host.
			go r.run(c, res, log)
		}
	}
	c.mu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.hosts, r.gen
}

func (r *resolution) run(c *ClusterState, res Resolver, log *slog.Logger) {
	failures := 0
	for {
		wait, ok := r.lookup(c, res, log)
		if ok {
			failures = 0
		} else {
			// A name may become known any moment: the first tries come quickly.
			wait = min(wait, minRefresh<<min(failures, 6))
			failures++
		}
		t := time.NewTimer(wait + rand.N(wait/10+1))
		select {
		case <-r.done:
			t.Stop()
			return
		case <-t.C:
		}
	}
}

// lookup resolves every name once and returns when to do so again, and whether
// all could be resolved.
func (r *resolution) lookup(c *ClusterState, res Resolver, log *slog.Logger) (wait time.Duration, ok bool) {
	wait, ok = defaultRefresh, true
	respectTTL := false
	if d := r.cluster.DNS; d != nil {
		if d.Refresh > 0 {
			wait = d.Refresh
		}
		respectTTL = d.RespectTTL
	}
	var hosts []resolvedHost
	for i := range r.eps.Localities {
		l := &r.eps.Localities[i]
		for j := range l.Endpoints {
			e := &l.Endpoints[j]
			if e.Addr.IsValid() {
				hosts = append(hosts, resolvedHost{e.Addr, l.Priority, e})
				continue
			}
			addrs, ttl, err := res.Lookup(e.Host)
			if err != nil {
				ok = false
				c.Stats.DNSFailed.Add(1)
				log.Debug("name not resolved", "cluster", c.Name, "name", e.Host, "err", err)
				hosts = append(hosts, r.known(e)...)
				continue
			}
			if respectTTL && ttl > 0 {
				wait = min(max(ttl, minRefresh), wait)
			}
			slices.SortFunc(addrs, netip.Addr.Compare)
			if r.cluster.Discovery == snapshot.DiscoverLogicalDNS && len(addrs) > 1 {
				addrs = addrs[:1]
			}
			for _, a := range addrs[:min(len(addrs), maxResolved)] {
				hosts = append(hosts, resolvedHost{netip.AddrPortFrom(a.Unmap(), e.Port), l.Priority, e})
			}
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Equal(r.hosts, hosts) || r.gen == 0 {
		r.hosts = hosts
		r.gen++
	}
	return wait, ok
}

// known are the addresses a name had when it last could be resolved.
func (r *resolution) known(e *snapshot.Endpoint) []resolvedHost {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []resolvedHost
	for _, h := range r.hosts {
		if h.endpoint == e || h.endpoint.Host == e.Host && h.endpoint.Port == e.Port {
			out = append(out, resolvedHost{h.addr, h.priority, e})
		}
	}
	return out
}
