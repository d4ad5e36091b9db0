package upstream

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"sort"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// hashTable finds hosts by hash; made from a list of hosts, kept while the list
// is the same.
type hashTable struct {
	of     []*Host
	ring   []ringPoint
	maglev []uint32
}

type ringPoint struct {
	at   uint64
	host uint32
}

// pickHash finds the host for the request's hash. A retry goes on to the next
// place; so does a request whose host is ejected.
func (v *view) pickHash(p *hostSet, hosts []*Host, r *Request, rnd *rand.Rand, now time.Time, attempt uint64) *Host {
	t := &p.table
	if !slices.Equal(t.of, hosts) {
		t.build(hosts, &v.cluster.LB)
	}
	hash := r.Hash
	if !r.HasHash {
		hash = rnd.Uint64()
	}
	if attempt > 0 {
		hash ^= ^(attempt - 1)
	}
	for i := range uint64(8) {
		h := t.find(hash + i*0x9E3779B97F4A7C15)
		if v.usable(h, now) {
			return h
		}
	}
	return v.firstUsable(hosts, rnd, now)
}

func (t *hashTable) build(hosts []*Host, lb *snapshot.LB) {
	t.of = slices.Clone(hosts)
	t.ring, t.maglev = nil, nil
	if lb.Policy == snapshot.LBMaglev {
		size := lb.TableSize
		if size == 0 {
			size = 65537
		}
		t.maglev = maglevTable(keysOf(hosts, lb), weightsOf(hosts), size)
		return
	}
	t.ring = hashRing(keysOf(hosts, lb), weightsOf(hosts), lb)
}

func (t *hashTable) find(hash uint64) *Host {
	if t.maglev != nil {
		return t.of[t.maglev[hash%uint64(len(t.maglev))]]
	}
	i := sort.Search(len(t.ring), func(i int) bool { return t.ring[i].at >= hash })
	if i == len(t.ring) {
		i = 0
	}
	return t.of[t.ring[i].host]
}

// keysOf are what hosts are hashed by: an explicit key, the hostname, or the address.
func keysOf(hosts []*Host, lb *snapshot.LB) []string {
	out := make([]string, len(hosts))
	for i, h := range hosts {
		out[i] = h.addr.String()
		e := h.Endpoint()
		if e == nil || e.Info == nil {
			continue
		}
		switch {
		case e.Info.HashKey != "":
			out[i] = e.Info.HashKey
		case lb.HashHostname && e.Info.Hostname != "":
			out[i] = e.Info.Hostname
		}
	}
	return out
}

func weightsOf(hosts []*Host) []uint32 {
	out := make([]uint32, len(hosts))
	for i, h := range hosts {
		out[i] = h.weight()
	}
	return out
}

const (
	defaultRing = 1024
	maxRing     = 8 << 20
)

// hashRing places every host on a ring of 64-bit hashes, in proportion to its
// weight and at least RingMin places in all (ketama).
func hashRing(keys []string, weights []uint32, lb *snapshot.LB) []ringPoint {
	least, most := uint64(lb.RingMin), uint64(lb.RingMax)
	if least == 0 {
		least = defaultRing
	}
	if most == 0 {
		most = maxRing
	}
	var total uint64
	smallest := ^uint32(0)
	for _, w := range weights {
		total += uint64(w)
		smallest = min(smallest, w)
	}
	// The lightest host gets a whole number of places, the ring at least `least`.
	per := (least*uint64(smallest) + total - 1) / total
	scale := min(float64(max(per, 1))*float64(total)/float64(smallest), float64(most))
	ring := make([]ringPoint, 0, int(scale)+len(keys))
	var buf []byte
	for i, k := range keys {
		n := int(scale * float64(weights[i]) / float64(total))
		for j := range max(n, 1) {
			buf = appendUint(append(append(buf[:0], k...), '_'), uint64(j))
			ring = append(ring, ringPoint{xxhash.Sum64(buf), uint32(i)})
		}
	}
	slices.SortFunc(ring, func(a, b ringPoint) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.host, b.host)) })
	return ring
}

func appendUint(b []byte, n uint64) []byte {
	if n >= 10 {
		b = appendUint(b, n/10)
	}
	return append(b, byte('0'+n%10))
}

// maglevTable is the lookup table of Maglev (Eisenbud et al., NSDI 2016, §3.4),
// with turns in proportion to weight. size should be prime.
func maglevTable(keys []string, weights []uint32, size uint32) []uint32 {
	n := len(keys)
	type entry struct {
		offset, skip uint64
		next         uint64
		credit       float64
	}
	m := uint64(size)
	order := make([]int, n) // by key, so that the table does not depend on the order of hosts
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(keys[a], keys[b]) })
	es := make([]entry, n)
	heaviest := uint32(1)
	for i, k := range keys {
		h := xxhash.Sum64String(k)
		h2 := xxhash.Sum64(appendUint([]byte(k), 1))
		es[i] = entry{offset: h % m, skip: h2%(m-1) + 1}
		heaviest = max(heaviest, weights[i])
	}
	table := make([]uint32, size)
	taken := make([]bool, size)
	for filled := uint64(0); ; {
		for _, i := range order {
			e := &es[i]
			e.credit += float64(weights[i]) / float64(heaviest)
			if e.credit < 1 {
				continue
			}
			e.credit--
			c := (e.offset + e.next*e.skip) % m
			for taken[c] {
				e.next++
				c = (e.offset + e.next*e.skip) % m
			}
			e.next++
			table[c], taken[c] = uint32(i), true
			if filled++; filled == m {
				return table
			}
		}
	}
}
