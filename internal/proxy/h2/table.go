package h2

// streamTable finds open streams by number: open addressing with linear
// probing. The zero value is empty. Numbers of one side grow by two, so their
// upper bits spread them well.
type streamTable struct {
	slots []*stream // length is a power of two
	n     int
}

func (t *streamTable) slot(id uint32) int { return int(id>>1) & (len(t.slots) - 1) }

func (t *streamTable) get(id uint32) *stream {
	if t.n == 0 {
		return nil
	}
	for i := t.slot(id); ; i = (i + 1) & (len(t.slots) - 1) {
		if s := t.slots[i]; s == nil || s.id == id {
			return s
		}
	}
}

func (t *streamTable) put(s *stream) {
	if 4*(t.n+1) > 3*len(t.slots) {
		old := t.slots
		t.slots = make([]*stream, max(8, 2*len(old)))
		t.n = 0
		for _, o := range old {
			if o != nil {
				t.put(o)
			}
		}
	}
	i := t.slot(s.id)
	for t.slots[i] != nil {
		i = (i + 1) & (len(t.slots) - 1)
	}
	t.slots[i] = s
	t.n++
}

func (t *streamTable) remove(id uint32) {
	if t.n == 0 {
		return
	}
	mask := len(t.slots) - 1
	i := t.slot(id)
	for t.slots[i] == nil || t.slots[i].id != id {
		if t.slots[i] == nil {
			return
		}
		i = (i + 1) & mask
	}
	t.n--
	for j := i; ; { // close the gap: move up what could not lie in its own place
		t.slots[i] = nil
		for {
			j = (j + 1) & mask
			s := t.slots[j]
			if s == nil {
				return
			}
			if home := t.slot(s.id); (j-home)&mask >= (j-i)&mask {
				t.slots[i], i = s, j
				break
			}
		}
	}
}
