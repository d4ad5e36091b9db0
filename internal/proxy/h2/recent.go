package h2

import "slices"

// keepResets is how many reset streams a connection remembers.
const keepResets = 256

// resetRing remembers streams that were reset lately: frames for those we reset
// may still be under way and are ignored, frames for those the peer reset are
// its error (RFC 9113 §5.1).
type resetRing struct {
	ids []uint32 // number<<1, plus 1 if we reset it
	at  int
}

func (r *resetRing) add(id uint32, local bool) {
	v := id << 1
	if local {
		v |= 1
	}
	if len(r.ids) < keepResets {
		r.ids = append(r.ids, v)
		return
	}
	r.ids[r.at] = v
	r.at = (r.at + 1) % keepResets
}

func (r *resetRing) find(id uint32) (found, local bool) {
	for _, v := range slices.Backward(r.ids) {
		if v>>1 == id {
			return true, v&1 != 0
		}
	}
	return false, false
}
