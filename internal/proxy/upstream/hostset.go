package upstream

import (
	"net/netip"
	"time"

	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// hostSet are the hosts of one priority.
type hostSet struct {
	all     []*Host
	usable  []*Host // healthy or degraded, as the control plane says
	weights bool    // weights differ
	table   hashTable
	next    uint32 // round robin
	current []int64
}

// view is one worker's picture of a cluster under one snapshot.
type view struct {
	cluster *snapshot.Cluster
	eps     *snapshot.Endpoints
	names   uint64 // generation of resolved names
	state   *ClusterState
	prios   []hostSet
	load    []uint32 // share of each priority in percent
	total   int
}

// build makes the host sets of a cluster from its endpoints, or from resolved
// names for DNS clusters.
func (v *view) build(eps *snapshot.Endpoints, resolved []resolvedHost) {
	v.prios = v.prios[:0]
	in := map[netip.AddrPort]bool{}
	add := func(prio uint32, e *snapshot.Endpoint, addr netip.AddrPort) {
		if !addr.IsValid() || prio > 127 {
			return
		}
		for int(prio) >= len(v.prios) {
			v.prios = append(v.prios, hostSet{})
		}
		p := &v.prios[prio]
		h := v.state.host(addr, e)
		in[addr] = true
		p.all = append(p.all, h)
		if e.Health.Usable() {
			p.usable = append(p.usable, h)
		}
		p.weights = p.weights || e.Weight > 1 && (len(p.all) > 1 || e.Weight != p.all[0].weight()) || p.all[0].weight() != h.weight()
	}
	if resolved != nil {
		for i := range resolved {
			add(resolved[i].priority, resolved[i].endpoint, resolved[i].addr)
		}
	} else if eps != nil {
		for i := range eps.Localities {
			l := &eps.Localities[i]
			for j := range l.Endpoints {
				add(l.Priority, &l.Endpoints[j], l.Endpoints[j].Addr)
			}
		}
	}
	v.state.keep(in)
	v.total = len(in)
	v.spread(eps)
}

// spread distributes the load over priorities by their health: a priority takes
// what its healthy share, overprovisioned by 1.4, can bear, the rest spills over
// (Envoy: priority levels).
func (v *view) spread(eps *snapshot.Endpoints) {
	over := uint32(140)
	if eps != nil && eps.Overprovisioning > 0 {
		over = eps.Overprovisioning
	}
	v.load = v.load[:0]
	left := uint32(100)
	var sum uint32
	for i := range v.prios {
		p := &v.prios[i]
		var health uint32
		if len(p.all) > 0 {
			health = min(100, over*uint32(len(p.usable))/uint32(len(p.all)))
		}
		take := min(left, health)
		v.load = append(v.load, take)
		left -= take
		sum += take
	}
	if left > 0 && sum > 0 { // all priorities together are short: in proportion
		for i := range v.load {
			v.load[i] = v.load[i] * 100 / sum
		}
	}
}

// choosePriority picks a priority by load; hash makes the choice stable.
func (v *view) choosePriority(r uint32) int {
	if len(v.load) <= 1 {
		return 0
	}
	r %= 100
	for i, l := range v.load {
		if r < l {
			return i
		}
		r -= l
	}
	for i := range v.prios {
		if len(v.prios[i].usable) > 0 {
			return i
		}
	}
	return 0
}

// candidates are the hosts of a priority that requests may go to: the usable
// ones, or all of them in panic (too few are healthy to believe it).
func (v *view) candidates(p *hostSet, now time.Time) (hosts []*Host, ok bool) {
	if len(p.all) == 0 {
		return nil, false
	}
	panicBelow := v.cluster.LB.PanicPercent
	healthy := len(p.usable)
	if v.state.ejected.Load() > 0 {
		for _, h := range p.usable {
			if h.Ejected(now) {
				healthy--
			}
		}
	}
	if panicBelow > 0 && float64(healthy)*100 < panicBelow*float64(len(p.all)) {
		if v.cluster.LB.FailOnPanic {
			return nil, false
		}
		return p.all, true
	}
	return p.usable, healthy > 0
}
