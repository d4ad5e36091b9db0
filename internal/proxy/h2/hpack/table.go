package hpack

import (
	"github.com/meshctl/meshctl/internal/proxy/header"
)

// entryOverhead is what an entry counts besides its text (RFC 7541 §4.1).
const entryOverhead = 32

// entry is one field of the dynamic table; its text lies in table.buf.
type entry struct {
	off      uint32 // of the name, in bytes inserted since the start (wraps)
	nameLen  uint32
	valueLen uint32
	id       header.ID
	bad      Bad
}

func (e *entry) size() uint32 { return e.nameLen + e.valueLen + entryOverhead }

// table is the dynamic table of one direction: a ring of entries, and their
// text in insertion order in one buffer, which moves its live part to the front
// when it is full. Both grow as needed: an idle connection holds nothing.
//
// Entries are numbered by seq, which counts insertions and wraps; index 1 of
// the dynamic table is seq next-1.
type table struct {
	ring  []entry // length is a power of two
	first uint32  // seq of the oldest entry
	next  uint32  // seq of the entry to come
	buf   []byte
	base  uint32 // offset of buf[0]
	size  uint32
	max   uint32
}

func (t *table) count() uint32 { return t.next - t.first }

// at returns the entry of dynamic index i, which must be in 1..count.
func (t *table) at(i uint32) *entry { return &t.ring[(t.next-i)&uint32(len(t.ring)-1)] }

func (t *table) name(e *entry) []byte {
	o := e.off - t.base
	return t.buf[o : o+e.nameLen : o+e.nameLen]
}

func (t *table) value(e *entry) []byte {
	o := e.off - t.base + e.nameLen
	return t.buf[o : o+e.valueLen : o+e.valueLen]
}

// setMax changes the size limit and evicts what is over it.
func (t *table) setMax(n uint32) {
	t.max = n
	t.evict(0)
	if n == 0 {
		t.ring, t.buf, t.first = nil, nil, t.next
	}
}

// evict makes room for an entry of size need.
func (t *table) evict(need uint32) {
	for t.first != t.next && t.size+need > t.max {
		t.size -= t.ring[t.first&uint32(len(t.ring)-1)].size()
		t.first++
	}
}

// add inserts a field and reports whether it is in the table now; one that is
// larger than the table empties it (RFC 7541 §4.4). The text must not point
// into the table itself.
func (t *table) add(id header.ID, name, value []byte, bad Bad) bool {
	need := uint64(len(name)) + uint64(len(value)) + entryOverhead
	if need > uint64(t.max) {
		t.first, t.size = t.next, 0
		return false
	}
	t.evict(uint32(need))
	if t.count() == uint32(len(t.ring)) {
		t.growRing()
	}
	text := int(need) - entryOverhead
	if len(t.buf)+text > cap(t.buf) {
		t.makeRoom(text)
	}
	e := &t.ring[t.next&uint32(len(t.ring)-1)]
	*e = entry{
		off: t.base + uint32(len(t.buf)), nameLen: uint32(len(name)), valueLen: uint32(len(value)),
		id: id, bad: bad,
	}
	t.buf = append(t.buf, name...)
	t.buf = append(t.buf, value...)
	t.next++
	t.size += uint32(need)
	return true
}

func (t *table) growRing() {
	ring := make([]entry, max(8, 2*len(t.ring)))
	for s := t.first; s != t.next; s++ {
		ring[s&uint32(len(ring)-1)] = t.ring[s&uint32(len(t.ring)-1)]
	}
	t.ring = ring
}

// makeRoom moves the live text to the front, into a larger buffer when it would
// fill more than half of this one, so that moving is paid for by insertions.
func (t *table) makeRoom(text int) {
	live := t.buf[len(t.buf):]
	start := t.base + uint32(len(t.buf))
	if t.first != t.next {
		start = t.ring[t.first&uint32(len(t.ring)-1)].off
		live = t.buf[start-t.base:]
	}
	dst := t.buf[:0]
	if need := 2 * (len(live) + text); need > cap(t.buf) {
		dst = make([]byte, 0, max(256, need))
	}
	t.buf = append(dst, live...)
	t.base = start
}
