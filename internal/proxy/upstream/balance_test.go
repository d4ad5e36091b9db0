package upstream

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/meshctl/meshctl/internal/proxy/codec"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

func addr(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 80)
}

// cluster makes a view of hosts with the given weights, all healthy.
func cluster(lb snapshot.LB, weights ...uint32) *view {
	eps := &snapshot.Endpoints{Localities: []snapshot.Locality{{}}}
	for i, w := range weights {
		eps.Localities[0].Endpoints = append(eps.Localities[0].Endpoints, snapshot.Endpoint{Addr: addr(i), Weight: w, Health: snapshot.Healthy})
	}
	v := &view{state: NewShared().State("c"), cluster: &snapshot.Cluster{Name: "c", LB: lb}}
	v.build(eps, nil)
	return v
}

func counts(v *view, n int, r *Request) map[netip.AddrPort]int {
	rnd := rand.New(rand.NewPCG(1, 2))
	got := map[netip.AddrPort]int{}
	for range n {
		if h := v.pick(r, rnd, time.Unix(0, 0)); h != nil {
			got[h.addr]++
		}
	}
	return got
}

func TestEveryPolicySpreadsByWeight(t *testing.T) {
	t.Parallel()
	const n = 60_000
	weights := []uint32{1, 2, 3}
	for _, c := range []struct {
		policy snapshot.LBPolicy
		within float64
	}{{snapshot.LBRoundRobin, 0.001}, {snapshot.LBLeastRequest, 0.02}, {snapshot.LBRandom, 0.02}, {snapshot.LBRingHash, 0.15}, {snapshot.LBMaglev, 0.02}} {
		got := counts(cluster(snapshot.LB{Policy: c.policy}, weights...), n, &Request{})
		for i, w := range weights {
			want := float64(w) / 6
			if have := float64(got[addr(i)]) / n; math.Abs(have-want) > c.within {
				t.Errorf("policy %d, host %d: %.3f of the requests, want %.3f", c.policy, i, have, want)
			}
		}
	}
}

func TestLeastRequestAvoidsTheBusy(t *testing.T) {
	t.Parallel()
	v := cluster(snapshot.LB{Policy: snapshot.LBLeastRequest}, 1, 1, 1)
	v.prios[0].all[0].active.Store(1000)
	got := counts(v, 9000, &Request{})
	if got[addr(0)] > 1200 { // only when both draws are the busy one
		t.Errorf("the busy host got %d of 9000", got[addr(0)])
	}
}

func TestHashingIsStableAndLosesLittleWhenAHostGoes(t *testing.T) {
	t.Parallel()
	for _, policy := range []snapshot.LBPolicy{snapshot.LBRingHash, snapshot.LBMaglev} {
		rapid.Check(t, func(t *rapid.T) {
			n := rapid.IntRange(3, 20).Draw(t, "hosts")
			ws := make([]uint32, n)
			for i := range ws {
				ws[i] = 1
			}
			lb := snapshot.LB{Policy: policy, TableSize: 4099}
			before, after := cluster(lb, ws...), cluster(lb, ws[:n-1]...)
			rnd := rand.New(rand.NewPCG(uint64(n), 0))
			const requests = 3000
			moved := 0
			for i := range requests {
				r := &Request{HasHash: true, Hash: rapidHash(i)}
				a, b := before.pick(r, rnd, time.Time{}), after.pick(r, rnd, time.Time{})
				if a != before.pick(r, rnd, time.Time{}) && a.addr != before.pick(r, rnd, time.Time{}).addr {
					t.Fatal("the same hash found two hosts")
				}
				if a.addr != b.addr {
					moved++
				}
			}
			// The lost host's share must move; others' only a little.
			if most := requests/n*2 + requests/10; moved > most {
				t.Fatalf("%d of %d hosts: %d requests moved, at most %d expected", policy, n, moved, most)
			}
		})
	}
}

func rapidHash(i int) uint64 {
	x := uint64(i+1) * 0x9E3779B97F4A7C15
	x ^= x >> 29
	return x * 0xBF58476D1CE4E5B9
}

func TestUnhealthyHostsAreLeftOutAndPrioritiesSpillOver(t *testing.T) {
	t.Parallel()
	loc := func(prio uint32, from int, hs ...snapshot.Health) snapshot.Locality {
		l := snapshot.Locality{Priority: prio}
		for i, h := range hs {
			l.Endpoints = append(l.Endpoints, snapshot.Endpoint{Addr: addr(from + i), Weight: 1, Health: h})
		}
		return l
	}
	v := &view{state: NewShared().State("c"), cluster: &snapshot.Cluster{Name: "c"}}
	// Half of priority 0 is healthy: it bears 70 %, the rest spills over.
	v.build(&snapshot.Endpoints{Localities: []snapshot.Locality{
		loc(0, 0, snapshot.Healthy, snapshot.Unhealthy), loc(1, 10, snapshot.Healthy),
	}}, nil)
	got := counts(v, 10_000, &Request{})
	if got[addr(1)] != 0 || got[addr(0)] < 6700 || got[addr(0)] > 7300 || got[addr(0)]+got[addr(10)] != 10_000 {
		t.Errorf("%v", got)
	}
	// Nobody is healthy and panic is off: no host.
	v.build(&snapshot.Endpoints{Localities: []snapshot.Locality{loc(0, 0, snapshot.Unhealthy, snapshot.Draining)}}, nil)
	if h := v.pick(&Request{}, rand.New(rand.NewPCG(1, 1)), time.Time{}); h != nil {
		t.Errorf("picked %v", h.addr)
	}
	// With a panic threshold all are tried.
	v.cluster = &snapshot.Cluster{Name: "c", LB: snapshot.LB{PanicPercent: 50}}
	if h := v.pick(&Request{}, rand.New(rand.NewPCG(1, 1)), time.Time{}); h == nil {
		t.Error("panic found no host")
	}
}

func TestRetriesGoToAnotherHost(t *testing.T) {
	t.Parallel()
	v := cluster(snapshot.LB{}, 1, 1)
	first := v.prios[0].all[0]
	got := counts(v, 1000, &Request{Avoid: []*Host{first}, HostAttempts: 12})
	if got[first.addr] > 5 {
		t.Errorf("the host to be avoided got %d of 1000", got[first.addr])
	}
}

func TestEjectedHostsGetNothingUntilTheirTimeIsOver(t *testing.T) {
	t.Parallel()
	for _, policy := range []snapshot.LBPolicy{snapshot.LBRoundRobin, snapshot.LBLeastRequest, snapshot.LBRandom, snapshot.LBRingHash, snapshot.LBMaglev} {
		t.Run(fmt.Sprint(policy), func(t *testing.T) {
			t.Parallel()
			v := cluster(snapshot.LB{Policy: policy}, 1, 1, 1)
			cfg := &snapshot.Outlier{Consecutive5xx: 3, Enforce5xx: 100, BaseEjection: 10 * time.Second, MaxEjectionPercent: 50}
			h, now := v.prios[0].all[1], time.Unix(1000, 0)
			for range 2 {
				v.state.observe(cfg, h, Result{Status: 500}, now)
			}
			if h.Ejected(now) {
				t.Fatal("ejected too early")
			}
			v.state.observe(cfg, h, Result{Reset: codec.ResetConnectFailure}, now)
			if !h.Ejected(now) {
				t.Fatal("not ejected after three failures in a row")
			}
			rnd := rand.New(rand.NewPCG(3, 4))
			for range 500 {
				if got := v.pick(&Request{}, rnd, now); got == h || got == nil {
					t.Fatalf("picked %v", got)
				}
			}
			// Not more than half may be ejected.
			other := v.prios[0].all[0]
			for range 3 {
				v.state.observe(cfg, other, Result{Status: 503}, now)
			}
			if other.Ejected(now) {
				t.Error("more hosts ejected than allowed")
			}
			if later := now.Add(11 * time.Second); h.Ejected(later) {
				t.Error("still ejected after its time")
			}
		})
	}
}

func TestPickDoesNotAllocate(t *testing.T) {
	for _, policy := range []snapshot.LBPolicy{snapshot.LBRoundRobin, snapshot.LBLeastRequest, snapshot.LBRandom, snapshot.LBRingHash, snapshot.LBMaglev} {
		v := cluster(snapshot.LB{Policy: policy}, 1, 2, 3)
		rnd, r := rand.New(rand.NewPCG(1, 2)), &Request{}
		v.pick(r, rnd, time.Time{})
		if n := testing.AllocsPerRun(100, func() { v.pick(r, rnd, time.Time{}) }); n != 0 {
			t.Errorf("policy %d: %v allocations", policy, n)
		}
	}
}

// Warmup was taken and did nothing: a new host got its full share at once.
func TestNewHostsWarmUp(t *testing.T) {
	t.Parallel()
	const n = 20_000
	start := time.Unix(1_000_000, 0)
	for _, policy := range []snapshot.LBPolicy{snapshot.LBRoundRobin, snapshot.LBLeastRequest} {
		v := cluster(snapshot.LB{Policy: policy, SlowStart: &snapshot.SlowStart{Window: 100 * time.Second, Aggression: 1, MinPercent: 10}}, 1, 1)
		for _, h := range v.prios[0].all {
			h.born = start.Add(-time.Hour)
		}
		fresh := v.prios[0].all[1]
		fresh.born = start
		v.state.youngest.Store(start.UnixNano())
		last := 0.0
		for _, c := range []struct {
			age       time.Duration
			low, high float64
		}{{time.Second, 0.001, 0.12}, {50 * time.Second, 0.2, 0.36}, {101 * time.Second, 0.48, 0.52}} {
			rnd, got := rand.New(rand.NewPCG(1, 2)), 0
			for range n {
				if v.pick(&Request{}, rnd, start.Add(c.age)) == fresh {
					got++
				}
			}
			share := float64(got) / n
			if share < c.low || share > c.high || share <= last {
				t.Errorf("policy %d after %s: %.3f of the requests", policy, c.age, share)
			}
			last = share
		}
	}
}

// A host that went with more than one empty pool (HTTP/1 and HTTP/2, say) ended
// the worker's update halfway: each pool leaves the list that was walked.
func TestHostGoesWithSeveralPools(t *testing.T) {
	t.Parallel()
	m := &Manager{pools: map[*Host][]*pool{}}
	h := &Host{addr: addr(1)}
	for range 3 {
		m.pools[h] = append(m.pools[h], &pool{m: m, host: h})
	}
	h.gone.Store(true)
	m.Update(&snapshot.Snapshot{})
	if len(m.pools) != 0 {
		t.Errorf("%d pools are left", len(m.pools[h]))
	}
}
