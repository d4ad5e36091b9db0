package collection

import "slices"

// claims settles which unit provides an output key. Nearly always there is one
// unit; rivals holds the others, so that the next one takes over when the
// winner goes.
type claims[O any] struct {
	owners map[string]owner[O]
	rivals map[string][]owner[O]
	keyOf  func(unit uint32) string
}

type owner[O any] struct {
	unit uint32
	out  *cell[O]
}

func (c *claims[O]) init(keyOf func(uint32) string) {
	c.owners, c.rivals, c.keyOf = map[string]owner[O]{}, map[string][]owner[O]{}, keyOf
}

// winner returns the output in force for a key, or nil.
func (c *claims[O]) winner(key string) *cell[O] { return c.owners[key].out }

// claim records that a unit yields out; the unit with the smallest input key wins.
func (c *claims[O]) claim(unit uint32, out *cell[O]) {
	mine := owner[O]{unit: unit, out: out}
	cur, taken := c.owners[out.key]
	if !taken || cur.unit == unit {
		c.owners[out.key] = mine
		return
	}
	rest := c.rivals[out.key]
	if i := indexUnit(rest, unit); i >= 0 {
		rest[i] = mine
		return
	}
	if c.keyOf(unit) < c.keyOf(cur.unit) {
		c.owners[out.key], mine = mine, cur
	}
	c.rivals[out.key] = append(rest, mine)
}

// withdraw records that a unit no longer yields key.
func (c *claims[O]) withdraw(key string, unit uint32) {
	rest := c.rivals[key]
	if c.owners[key].unit != unit {
		if i := indexUnit(rest, unit); i >= 0 {
			c.setRivals(key, slices.Delete(rest, i, i+1))
		}
		return
	}
	if len(rest) == 0 {
		delete(c.owners, key)
		return
	}
	next := 0
	for i := range rest {
		if c.keyOf(rest[i].unit) < c.keyOf(rest[next].unit) {
			next = i
		}
	}
	c.owners[key] = rest[next]
	c.setRivals(key, slices.Delete(rest, next, next+1))
}

func (c *claims[O]) setRivals(key string, rest []owner[O]) {
	if len(rest) == 0 {
		delete(c.rivals, key)
		return
	}
	c.rivals[key] = rest
}

func indexUnit[O any](os []owner[O], unit uint32) int {
	return slices.IndexFunc(os, func(o owner[O]) bool { return o.unit == unit })
}
