package header

// What a Pool keeps at most.
const (
	keepLists = 256
	keepArena = 8 << 10 // bytes of one list; what an unusual head needs goes
)

// Pool is the memory of lists that are not in use, for one goroutine: connections
// at rest hold none. The zero value works; with a nil Pool lists keep their own.
type Pool struct{ free []List }

// Take gives l memory if it has none.
func (p *Pool) Take(l *List) {
	if p == nil || cap(l.arena) > 0 || len(p.free) == 0 {
		return
	}
	n := len(p.free) - 1
	*l = p.free[n]
	p.free[n] = List{}
	p.free = p.free[:n]
}

// Give takes the memory of l, which is empty afterwards.
func (p *Pool) Give(l *List) {
	l.Reset()
	switch {
	case cap(l.arena) > keepArena:
	case p == nil:
		return
	case len(p.free) < keepLists && cap(l.arena) > 0:
		p.free = append(p.free, *l)
	}
	*l = List{}
}
