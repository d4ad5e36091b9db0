package netio

import "math/bits"

// Pool keeps buffers of four sizes for one worker. It is not for concurrent use
// and needs no lock. The zero value works.
//
// What it keeps is bounded (4 MiB a size), and Trim gives back what was not
// needed lately.
type Pool struct {
	free [poolClasses][][]byte
	low  [poolClasses]int // fewest free since the last Trim
}

const (
	poolClasses  = 4
	poolMinShift = 12 // 4 KiB, then 16, 64, 256 KiB
	poolKeep     = 4 << 20
	// MaxPooled is the largest size the pool keeps.
	MaxPooled = 1 << (poolMinShift + 2*(poolClasses-1))
)

func classSize(c int) int { return 1 << (poolMinShift + 2*c) }

// classFor is the smallest class that holds n bytes, poolClasses if none does.
func classFor(n int) int {
	if n <= 1<<poolMinShift {
		return 0
	}
	return min((bits.Len(uint(n-1))-poolMinShift+1)/2, poolClasses)
}

// Get returns an empty buffer with room for at least n bytes.
func (p *Pool) Get(n int) []byte {
	c := classFor(n)
	if c == poolClasses {
		return make([]byte, 0, n)
	}
	l := p.free[c]
	if len(l) == 0 {
		return make([]byte, 0, classSize(c))
	}
	b := l[len(l)-1]
	l[len(l)-1] = nil
	p.free[c] = l[:len(l)-1]
	p.low[c] = min(p.low[c], len(l)-1)
	return b
}

// Put takes b back, whoever made it. It must not be used any more.
func (p *Pool) Put(b []byte) {
	if cap(b) < 1<<poolMinShift || cap(b) > 2*MaxPooled {
		return
	}
	c := min((bits.Len(uint(cap(b)))-1-poolMinShift)/2, poolClasses-1)
	if len(p.free[c]) >= poolKeep/classSize(c) {
		return
	}
	p.free[c] = append(p.free[c], b[:0])
}

// Trim drops half of what stayed unused since the last Trim and reports whether
// anything is left to drop.
func (p *Pool) Trim() (more bool) {
	for c := range p.free {
		n := (p.low[c] + 1) / 2
		l := p.free[c]
		for i := len(l) - n; i < len(l); i++ {
			l[i] = nil
		}
		l = l[:len(l)-n]
		if len(l) == 0 {
			l = nil
		}
		p.free[c], p.low[c] = l, len(l)
		more = more || len(l) > 0
	}
	return more
}

// Free is the number of bytes the pool holds.
func (p *Pool) Free() int {
	n := 0
	for c := range p.free {
		n += len(p.free[c]) * classSize(c)
	}
	return n
}
