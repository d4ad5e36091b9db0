package compile

import (
	"hash/maphash"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// pieceKey identifies bytes: a seeded hash (nobody outside can make two pieces
// collide) and their length.
type pieceKey struct {
	sum  uint64
	size int
}

func (c *Compiler) keyOf(b []byte) pieceKey { return pieceKey{maphash.Bytes(c.seed, b), len(b)} }

// piece is a compiled part of a resource, kept while its bytes stay the same.
type piece[T any] struct {
	key       pieceKey
	obj       T
	deps      deps
	published bool
}

// entry is the newest good version of a resource.
type entry[T any] struct {
	key      pieceKey
	obj      T
	deps     deps
	released bool // published although something is missing
}

// store holds the resources of one kind.
type store[T any] struct {
	entries map[string]*entry[T]
	dirty   map[string]bool // changed since the last snapshot
	waiting map[string]bool // not published in their newest version
	wanted  map[string]int  // how many refer to a name
	recount bool            // names were added to or removed from wanted or what is published
}

func newStore[T any]() store[T] {
	return store[T]{entries: map[string]*entry[T]{}, dirty: map[string]bool{}, waiting: map[string]bool{}, wanted: map[string]int{}}
}

func (s *store[T]) refer(names names, n int) {
	for _, name := range names {
		have := s.wanted[name]
		if s.wanted[name] = have + n; have+n <= 0 {
			delete(s.wanted, name)
		}
		s.recount = s.recount || have == 0 || have+n <= 0
	}
}

// refer counts (n = 1) or uncounts (-1) references.
func (c *Compiler) refer(d *deps, n int) {
	c.tables.refer(d.routes, n)
	c.assignments.refer(d.endpoints, n)
	c.clusters.refer(d.clusters, n)
	c.secrets.refer(d.secrets, n)
	for _, s := range d.inline {
		i := c.inlines[s.Name]
		if i == nil {
			i = &inlineSecret{secret: s}
			c.inlines[s.Name] = i
		}
		i.refs += n
		c.secrets.dirty[s.Name] = true
		if i.refs <= 0 {
			delete(c.inlines, s.Name)
		}
	}
}

// inlineSecret is a secret given in place, with the number of its users.
type inlineSecret struct {
	secret *snapshot.Secret
	refs   int
}

// same reports whether a resource is unchanged.
func same[T any](s *store[T], name string, k pieceKey) bool {
	e := s.entries[name]
	return e != nil && e.key == k
}

// put stores a new good version.
func put[T any](c *Compiler, s *store[T], name string, e *entry[T]) {
	c.refer(&e.deps, 1)
	if old := s.entries[name]; old != nil {
		c.refer(&old.deps, -1)
	}
	s.entries[name] = e
	s.dirty[name] = true
	c.changed = true
}

func removeFrom[T any](c *Compiler, s *store[T], name string) {
	e := s.entries[name]
	if e == nil {
		return
	}
	c.refer(&e.deps, -1)
	delete(s.entries, name)
	s.dirty[name] = true
	c.changed = true
}

// split takes the length-delimited fields with given numbers out of a message,
// in order; rest is what remains. Bad bytes are left in rest for the decoder to
// complain about.
func split(b []byte, nums ...protowire.Number) (rest []byte, parts []part) {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return append(rest, b...), parts
		}
		m := protowire.ConsumeFieldValue(num, typ, b[n:])
		if m < 0 {
			return append(rest, b...), parts
		}
		taken := false
		if typ == protowire.BytesType {
			for _, want := range nums {
				if num == want {
					v, _ := protowire.ConsumeBytes(b[n:])
					parts = append(parts, part{num, v})
					taken = true
				}
			}
		}
		if !taken {
			rest = append(rest, b[:n+m]...)
		}
		b = b[n+m:]
	}
	return rest, parts
}

type part struct {
	num   protowire.Number
	bytes []byte
}
