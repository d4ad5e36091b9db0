package header

import "testing"

func TestPool(t *testing.T) {
	t.Parallel()
	var p Pool
	var l, big, other List
	l.AddString("x-secret", "of one request")
	big.AddString("x-big", string(make([]byte, keepArena)))
	p.Give(&l)
	p.Give(&big)
	if l.Cap() != 0 || big.Cap() != 0 || len(p.free) != 1 {
		t.Errorf("%d and %d bytes stay, %d lists are kept", l.Cap(), big.Cap(), len(p.free))
	}
	p.Take(&other)
	if other.Cap() == 0 || other.Len() != 0 || other.Has(Host) {
		t.Errorf("%d bytes, %d fields", other.Cap(), other.Len())
	}
	other.AddString("a", "b")
	p.Give(&l) // has nothing to give
	before := other.Cap()
	if p.Take(&other); other.Cap() != before || other.Len() != 1 {
		t.Error("a list in use was replaced")
	}
	var none *Pool
	if none.Take(&l); l.Cap() != 0 {
		t.Error("memory from nowhere")
	}
	if none.Give(&other); other.Len() != 0 || other.Cap() != before {
		t.Errorf("without a pool %d fields and %d bytes are left", other.Len(), other.Cap())
	}
	big.AddString("x-big", string(make([]byte, keepArena)))
	if none.Give(&big); big.Cap() != 0 {
		t.Error("a large list stays")
	}
}
