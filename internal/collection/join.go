package collection

// Join unites collections of one type. When several hold a key, the first of
// them in the order of the arguments wins.
func Join[T Item[T]](g *Graph, name string, cs ...Collection[T]) Collection[T] {
	j := &joined[T]{table: newTable[T](g, name), fresh: true}
	reads := make([]member, 0, len(cs))
	for _, c := range cs {
		j.from = append(j.from, c.base())
		reads = append(reads, c.base())
	}
	g.add(j, reads...)
	return j
}

type joined[T Item[T]] struct {
	*table[T]
	from  []*table[T]
	fresh bool
}

func (j *joined[T]) take() {}

func (j *joined[T]) step() {
	if j.fresh {
		j.fresh = false
		for _, t := range j.from {
			t.eachWork(func(c *cell[T]) { j.choose(c.key) })
		}
		return
	}
	for _, t := range j.from {
		for key := range t.changes {
			j.choose(key)
		}
	}
}

// choose may be called more than once for a key: it is the same answer each time.
func (j *joined[T]) choose(key string) {
	for _, t := range j.from {
		if c := t.work(key); c != nil {
			j.apply(key, c)
			return
		}
	}
	j.apply(key, nil)
}

func (j *joined[T]) dump() NodeDump {
	inputs := make([]string, 0, len(j.from))
	for _, t := range j.from {
		inputs = append(inputs, t.name)
	}
	return j.dumpItems("join", inputs)
}
