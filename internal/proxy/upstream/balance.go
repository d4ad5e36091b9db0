package upstream

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// pick chooses a host for a request. It allocates nothing, but for the tables
// that consistent hashing makes once per host set.
func (v *view) pick(r *Request, rnd *rand.Rand, now time.Time) *Host {
	if len(v.prios) == 0 {
		return nil
	}
	attempts := 1
	if len(r.Avoid) > 0 {
		attempts = max(r.HostAttempts, 1)
	}
	var h *Host
	for i := range attempts {
		if h = v.pickOnce(r, rnd, now, uint64(i)); h == nil || !avoid(r.Avoid, h) {
			break
		}
	}
	return h
}

func avoid(tried []*Host, h *Host) bool {
	return slices.Contains(tried, h)
}

func (v *view) pickOnce(r *Request, rnd *rand.Rand, now time.Time, attempt uint64) *Host {
	seed := rnd.Uint32()
	if r.HasHash {
		seed = uint32(r.Hash>>32) ^ uint32(r.Hash)
	}
	p := &v.prios[v.choosePriority(seed)]
	hosts, ok := v.candidates(p, now)
	if !ok {
		return nil
	}
	if len(r.MetadataMatch) > 0 {
		if hosts = subset(hosts, r.MetadataMatch); len(hosts) == 0 {
			return nil
		}
	}
	if len(hosts) == 1 {
		return v.alive(hosts[0], now)
	}
	switch v.cluster.LB.Policy {
	case snapshot.LBRingHash, snapshot.LBMaglev:
		return v.pickHash(p, hosts, r, rnd, now, attempt)
	case snapshot.LBRandom:
		return v.pickRandom(p, hosts, rnd, now)
	case snapshot.LBRoundRobin:
		return v.pickTurn(p, hosts, now)
	default:
		return v.pickLeast(p, hosts, rnd, now)
	}
}

// subset are the hosts whose metadata (envoy.lb) has all the values asked for.
func subset(hosts []*Host, want []snapshot.MetadataCriterion) []*Host {
	var out []*Host
next:
	for _, h := range hosts {
		e := h.Endpoint()
		if e == nil || e.Info == nil {
			continue
		}
		for _, w := range want {
			found := false
			for _, have := range e.Info.LB {
				found = found || have == w
			}
			if !found {
				continue next
			}
		}
		out = append(out, h)
	}
	return out
}

func (v *view) alive(h *Host, now time.Time) *Host {
	if v.state.ejected.Load() > 0 && h.Ejected(now) && v.cluster.LB.PanicPercent == 0 {
		return nil
	}
	return h
}

// usable reports whether h may be taken: not ejected.
func (v *view) usable(h *Host, now time.Time) bool {
	return v.state.ejected.Load() == 0 || !h.Ejected(now)
}

// pickTurn is round robin, smooth by weight (as nginx does it) when weights differ.
func (v *view) pickTurn(p *hostSet, hosts []*Host, now time.Time) *Host {
	warming := v.warming(now)
	if !p.weights && !warming {
		for range hosts {
			p.next++
			if h := hosts[int(p.next)%len(hosts)]; v.usable(h, now) {
				return h
			}
		}
		return hosts[int(p.next)%len(hosts)]
	}
	if len(p.current) != len(hosts) {
		p.current = make([]int64, len(hosts))
	}
	best, total := -1, int64(0)
	for i, h := range hosts {
		if !v.usable(h, now) {
			continue
		}
		w := int64(v.weigh(h, warming, now))
		p.current[i] += w
		total += w
		if best < 0 || p.current[i] > p.current[best] {
			best = i
		}
	}
	if best < 0 {
		return hosts[0]
	}
	p.current[best] -= total
	return hosts[best]
}

func (v *view) pickRandom(p *hostSet, hosts []*Host, rnd *rand.Rand, now time.Time) *Host {
	var h *Host
	for range 4 {
		if h = v.draw(p, hosts, rnd, false, now); v.usable(h, now) {
			return h
		}
	}
	return v.firstUsable(hosts, rnd, now)
}

// draw takes a host at random, by weight.
func (v *view) draw(p *hostSet, hosts []*Host, rnd *rand.Rand, warming bool, now time.Time) *Host {
	if !p.weights && !warming {
		return hosts[rnd.IntN(len(hosts))]
	}
	var total uint64
	for _, h := range hosts {
		total += v.weigh(h, warming, now)
	}
	n := rnd.Uint64N(total)
	for _, h := range hosts {
		w := v.weigh(h, warming, now)
		if n < w {
			return h
		}
		n -= w
	}
	return hosts[len(hosts)-1]
}

func (v *view) firstUsable(hosts []*Host, rnd *rand.Rand, now time.Time) *Host {
	from := rnd.IntN(len(hosts))
	for i := range hosts {
		if h := hosts[(from+i)%len(hosts)]; v.usable(h, now) {
			return h
		}
	}
	return hosts[from]
}

// pickLeast draws a few hosts and takes the one with the fewest active requests
// in proportion to its weight (power of two choices).
func (v *view) pickLeast(p *hostSet, hosts []*Host, rnd *rand.Rand, now time.Time) *Host {
	warming := v.warming(now)
	choices := max(int(v.cluster.LB.Choices), 2)
	var best *Host
	var bestLoad float64
	for range choices {
		h := v.draw(p, hosts, rnd, warming, now)
		if !v.usable(h, now) {
			continue
		}
		// By weight already drawn, idle hosts are alike.
		load := float64(h.active.Load()) / float64(v.weigh(h, warming, now))
		if best == nil || load < bestLoad {
			best, bestLoad = h, load
		}
	}
	if best == nil {
		return v.firstUsable(hosts, rnd, now)
	}
	return best
}
