package hpack

import (
	"hash/maphash"

	"github.com/meshctl/meshctl/internal/proxy/header"
)

const (
	// MaxTable is the largest dynamic table the encoder uses, in bytes, even when
	// the peer offers more.
	MaxTable = 4096

	findSlots = 256 // places of the pair finder
	seenSets  = 8   // sets of the memory for pairs seen once,
	seenWays  = 8   // of so many places each, the last pair first
)

// Encoder encodes the header blocks of one direction of a connection. Use
// NewEncoder. It belongs to one goroutine. A block is Begin followed by a Field
// call for each field.
//
// It finds indexed fields in two ways: by the last entry of each known name,
// and by a lossy hash table of pairs. A miss of either costs bytes, not
// correctness: every hit is compared with the table.
type Encoder struct {
	tab    table
	seed   maphash.Seed
	lowest uint32 // smallest table size set since the last block
	update bool   // the peer must be told the table size
	last   [header.NumIDs]uint32
	find   []uint32 // hash -> seq; made with the first entry
	seen   [seenSets][seenWays]uint32
}

// NewEncoder makes an encoder with the table size every connection starts with.
func NewEncoder() *Encoder {
	e := &Encoder{}
	e.Init()
	return e
}

// Init makes e like a new encoder.
func (e *Encoder) Init() {
	*e = Encoder{seed: maphash.MakeSeed()}
	e.tab.max = MaxTable
}

// SetLimit follows the peer's SETTINGS_HEADER_TABLE_SIZE, in bytes.
func (e *Encoder) SetLimit(n uint32) {
	n = min(n, MaxTable)
	if n == e.tab.max {
		return
	}
	if !e.update || n < e.lowest {
		e.lowest = n
	}
	e.update = true
	e.tab.setMax(n)
}

// Begin starts a header block.
func (e *Encoder) Begin(dst []byte) []byte {
	if !e.update {
		return dst
	}
	e.update = false
	if e.lowest < e.tab.max {
		dst = appendInt(dst, 0x20, 5, e.lowest)
	}
	return appendInt(dst, 0x20, 5, e.tab.max)
}

// Field appends one field. The name must be in lower case and id its number.
func (e *Encoder) Field(dst []byte, id header.ID, name, value []byte, sensitive bool) []byte {
	p := policyOf(id, name, value, sensitive)
	if p == never || p == literal {
		prefix := byte(0)
		if p == never {
			prefix = 0x10
		}
		return e.literal(dst, prefix, 4, e.findName(id, name), name, value)
	}
	if i := findStaticPair(id, value); i != 0 {
		return append(dst, 0x80|byte(i))
	}
	if p == unique {
		return e.unique(dst, id, name, value)
	}
	if id != header.Other { // the last value of this name is mostly this one
		if i := e.tab.next - e.last[id]; i-1 < e.tab.count() {
			if t := e.tab.at(i); t.id == id && string(e.tab.value(t)) == string(value) {
				return appendInt(dst, 0x80, 7, staticLen+i)
			}
		}
	}
	h := e.hashPair(id, name, value)
	if i := e.findPair(h, id, name, value); i != 0 {
		return appendInt(dst, 0x80, 7, staticLen+i)
	}
	at := e.findName(id, name)
	fits := uint32(len(name)+len(value)+entryOverhead) <= e.tab.max/2
	if !fits || p == second && !e.seenBefore(h) {
		return e.literal(dst, 0, 4, at, name, value)
	}
	dst = e.literal(dst, 0x40, 6, at, name, value)
	e.insert(h, id, name, value)
	return dst
}

// unique encodes a field whose value is not worth a place in the table. Its
// name is, once, if the static table does not have it. Such values (request
// and trace ids) are sent plain: Huffman coding would save a fifth of their
// bytes and cost half of the time of a block, on each side.
func (e *Encoder) unique(dst []byte, id header.ID, name, value []byte) []byte {
	at := e.findName(id, name)
	first, prefix := byte(0), uint(4)
	if add := at == 0 && uint32(len(name)+len(value)+entryOverhead) <= e.tab.max/8; add {
		first, prefix = 0x40, 6
	}
	dst = appendInt(dst, first, prefix, at)
	if at == 0 {
		dst = appendString(dst, name)
	}
	dst = appendInt(dst, 0, 7, uint32(len(value)))
	dst = append(dst, value...)
	if first == 0 {
		return dst
	}
	e.insert(e.hashPair(id, name, value), id, name, value)
	return dst
}

func (e *Encoder) insert(h uint64, id header.ID, name, value []byte) {
	seq := e.tab.next
	if !e.tab.add(id, name, value, 0) {
		return
	}
	e.last[id] = seq
	if e.find == nil {
		e.find = make([]uint32, findSlots)
	}
	s := h % findSlots // two places; the one with the older entry is given up
	if o := s ^ 1; e.tab.next-e.find[o] > e.tab.next-e.find[s] {
		s = o
	}
	e.find[s] = seq
}

func (e *Encoder) hashPair(id header.ID, name, value []byte) uint64 {
	h := maphash.Bytes(e.seed, value)
	if id != header.Other {
		return h ^ (uint64(id)+1)*0x9e3779b97f4a7c15
	}
	return h ^ maphash.Bytes(e.seed, name)*0x9e3779b97f4a7c15
}

// findPair returns the dynamic index of a field, 0 when it is not found.
func (e *Encoder) findPair(h uint64, id header.ID, name, value []byte) uint32 {
	if e.find == nil {
		return 0
	}
	s := h % findSlots
	for _, s := range [2]uint64{s, s ^ 1} {
		i := e.tab.next - e.find[s]
		if i-1 >= e.tab.count() {
			continue
		}
		t := e.tab.at(i)
		if t.id == id && string(e.tab.value(t)) == string(value) &&
			(id != header.Other || string(e.tab.name(t)) == string(name)) {
			return i
		}
	}
	return 0
}

// findName returns the index of an entry with this name, 0 when there is none.
func (e *Encoder) findName(id header.ID, name []byte) uint32 {
	if i := findStaticName(id, name); i != 0 {
		return uint32(i)
	}
	if i := e.tab.next - e.last[id]; i-1 < e.tab.count() {
		t := e.tab.at(i)
		if t.id == id && (id != header.Other || string(e.tab.name(t)) == string(name)) {
			return staticLen + i
		}
	}
	return 0
}

// seenBefore reports whether a pair was seen lately, and remembers it. A set has
// many places: with one place for each hash, two fields of a request that fall on
// it would push each other out for the whole life of a connection.
func (e *Encoder) seenBefore(h uint64) bool {
	set := &e.seen[h>>8%seenSets]
	mark := uint32(h>>32) | 1
	for i := range set {
		if set[i] == mark {
			set[i] = 0
			return true
		}
	}
	copy(set[1:], set[:])
	set[0] = mark
	return false
}

func (e *Encoder) literal(dst []byte, first byte, prefix uint, at uint32, name, value []byte) []byte {
	dst = appendInt(dst, first, prefix, at)
	if at == 0 {
		dst = appendString(dst, name)
	}
	return appendString(dst, value)
}

// appendString appends a string literal in its shorter form.
func appendString(dst, s []byte) []byte {
	if n := huffmanLen(s); n < len(s) {
		dst = appendInt(dst, 0x80, 7, uint32(n))
		return appendHuffman(dst, s)
	}
	dst = appendInt(dst, 0, 7, uint32(len(s)))
	return append(dst, s...)
}
