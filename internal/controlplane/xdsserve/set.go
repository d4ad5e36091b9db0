package xdsserve

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"iter"
	"slices"
	"strings"
)

// Set is everything of one type that a class of proxies may get: immutable and
// sorted by name. The nil Set is empty.
//
// It is kept in chunks of about 32 resources. Where a chunk ends depends on the
// names alone, so a change touches one chunk, and the Sets of two generations
// share the others: comparing them is comparing pointers.
type Set struct {
	chunks  []*chunk
	len     int
	version string
}

type chunk struct {
	items []*Resource
	sum   [8]byte // of names and versions
}

const chunkMask = 31

// endsChunk hashes a name (FNV-1a) to decide where chunks end.
func endsChunk(name string) bool {
	h := uint32(2166136261)
	for i := range len(name) {
		h = (h ^ uint32(name[i])) * 16777619
	}
	return (h^h>>15)&chunkMask == 0
}

// maxChunk bounds a chunk when names are unlucky, or chosen to be.
const maxChunk = 256

// NewSet makes a Set of resources, in any order. Chunks that prev already has
// are shared; prev may be nil. Two resources of one name are an error.
func NewSet(prev *Set, resources []*Resource) (*Set, error) {
	sorted := resources
	byName := func(a, b *Resource) int { return strings.Compare(a.name, b.name) }
	if !slices.IsSortedFunc(sorted, byName) {
		sorted = slices.SortedFunc(slices.Values(resources), byName)
	}
	for i := 1; i < len(sorted); i++ {
		if sorted[i].name == sorted[i-1].name {
			return nil, fmt.Errorf("two resources of type %s are named %q", sorted[i].typeURL, sorted[i].name)
		}
	}
	return build(prev, sorted), nil
}

// With returns the Set with resources added or replaced and names removed.
func (s *Set) With(set []*Resource, removed []string) *Set {
	edits := make(map[string]*Resource, len(set)+len(removed))
	for _, name := range removed {
		edits[name] = nil
	}
	for _, r := range set {
		edits[r.name] = r
	}
	items := make([]*Resource, 0, s.Len()+len(set))
	for r := range s.All() {
		now, edited := edits[r.name]
		switch {
		case !edited:
			items = append(items, r)
		case now != nil:
			items = append(items, now)
		}
		delete(edits, r.name)
	}
	for _, r := range edits {
		if r != nil {
			items = append(items, r)
		}
	}
	slices.SortFunc(items, func(a, b *Resource) int { return strings.Compare(a.name, b.name) })
	return build(s, items)
}

// build cuts sorted items into chunks, and takes those of prev that are the same.
func build(prev *Set, items []*Resource) *Set {
	out := &Set{len: len(items)}
	for len(items) > 0 {
		n := 1
		for n < len(items) && n < maxChunk && !items[n-1].cut {
			n++
		}
		out.chunks = append(out.chunks, prev.chunkOf(items[:n]))
		items = items[n:]
	}
	if prev != nil && slices.Equal(prev.chunks, out.chunks) {
		return prev
	}
	sum := sha256.New()
	for _, c := range out.chunks {
		sum.Write(c.sum[:])
	}
	out.version = hex.EncodeToString(sum.Sum(nil)[:8])
	return out
}

// chunkOf returns the chunk of s that holds the same resources, or a new one. A
// resource that was made again with equal bytes counts as the same.
func (s *Set) chunkOf(items []*Resource) *chunk {
	if i, ok := s.findChunk(items[0].name); ok {
		same := func(a, b *Resource) bool { return a == b || (a.name == b.name && a.version == b.version) }
		if c := s.chunks[i]; slices.EqualFunc(c.items, items, same) {
			return c
		}
	}
	sum := sha256.New()
	for _, r := range items {
		sum.Write([]byte(r.name))
		sum.Write([]byte{0})
		sum.Write([]byte(r.version))
	}
	c := &chunk{items: slices.Clone(items)}
	copy(c.sum[:], sum.Sum(nil))
	return c
}

// findChunk returns the chunk that would hold a name, and whether there is one.
func (s *Set) findChunk(name string) (int, bool) {
	if s == nil || len(s.chunks) == 0 {
		return 0, false
	}
	i, exact := slices.BinarySearchFunc(s.chunks, name, func(c *chunk, n string) int { return strings.Compare(c.items[0].name, n) })
	if exact {
		return i, true
	}
	return i - 1, i > 0
}

// Len returns the number of resources.
func (s *Set) Len() int {
	if s == nil {
		return 0
	}
	return s.len
}

// Version is a hash of all names and versions, equal in all replicas; "" when empty.
func (s *Set) Version() string {
	if s == nil || s.len == 0 {
		return ""
	}
	return s.version
}

// Get returns the resource of a name.
func (s *Set) Get(name string) (*Resource, bool) {
	i, ok := s.findChunk(name)
	if !ok {
		return nil, false
	}
	items := s.chunks[i].items
	j, ok := slices.BinarySearchFunc(items, name, func(r *Resource, n string) int { return strings.Compare(r.name, n) })
	if !ok {
		return nil, false
	}
	return items[j], true
}

// All visits the resources in the order of their names.
func (s *Set) All() iter.Seq[*Resource] {
	return func(yield func(*Resource) bool) {
		if s == nil {
			return
		}
		for _, c := range s.chunks {
			for _, r := range c.items {
				if !yield(r) {
					return
				}
			}
		}
	}
}

// Diff visits, in the order of names, what differs between two Sets: old is nil
// for an addition, now is nil for a removal. Shared chunks are skipped.
func Diff(before, after *Set, visit func(old, now *Resource)) {
	if before == after {
		return
	}
	a, b := cursor{set: before}, cursor{set: after}
	for {
		for a.at == 0 && b.at == 0 && a.chunk() != nil && a.chunk() == b.chunk() {
			a.next++
			b.next++
		}
		x, y := a.peek(), b.peek()
		switch {
		case x == nil && y == nil:
			return
		case y == nil || (x != nil && x.name < y.name):
			visit(x, nil)
			a.step()
		case x == nil || y.name < x.name:
			visit(nil, y)
			b.step()
		default:
			if x != y && x.version != y.version {
				visit(x, y)
			}
			a.step()
			b.step()
		}
	}
}

// cursor walks a Set.
type cursor struct {
	set  *Set
	next int // chunk
	at   int // item in it
}

func (c *cursor) chunk() *chunk {
	if c.set == nil || c.next >= len(c.set.chunks) {
		return nil
	}
	return c.set.chunks[c.next]
}

func (c *cursor) peek() *Resource {
	if ch := c.chunk(); ch != nil {
		return ch.items[c.at]
	}
	return nil
}

func (c *cursor) step() {
	if c.at++; c.at == len(c.chunk().items) {
		c.next, c.at = c.next+1, 0
	}
}
