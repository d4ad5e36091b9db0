package header

import "testing"

func TestEveryKnownNameIsFound(t *testing.T) {
	t.Parallel()
	for id := Method; id < numIDs; id++ {
		if id.Name() == "" {
			t.Fatalf("id %d has no name", id)
		}
		if got := Lookup([]byte(id.Name())); got != id {
			t.Errorf("Lookup(%q) = %d, want %d", id.Name(), got, id)
		}
		if got := LookupString(id.Name()); got != id {
			t.Errorf("LookupString(%q) = %d, want %d", id.Name(), got, id)
		}
	}
	for _, n := range []string{"x-other", "", "hosts", "metho", "x-b3-", "a"} {
		if got := LookupString(n); got != Other {
			t.Errorf("LookupString(%q) = %d, want Other", n, got)
		}
	}
}

func TestListChanges(t *testing.T) {
	t.Parallel()
	var l List
	l.AddString("X-A", "1")
	l.AddString("Host", "h")
	l.AddString("x-a", "2")
	l.SetName("x-a", []byte("3"))
	l.SetString(Host, "other")
	l.AddIDString(Cookie, "c=1")
	l.RemoveName("cookie")
	if l.Len() != 2 || string(l.GetName("x-a")) != "3" || string(l.Get(Host)) != "other" || l.Has(Cookie) {
		t.Fatalf("unexpected list: len %d", l.Len())
	}
	var m List
	m.CopyFrom(&l)
	l.Reset()
	if m.Len() != 2 || l.Len() != 0 || l.Get(Host) != nil {
		t.Fatal("copy and reset interfere")
	}
}

func TestChangingAListDoesNotAllocate(t *testing.T) {
	var l List
	v := []byte("value")
	if n := testing.AllocsPerRun(100, func() {
		l.Reset()
		for range 20 {
			l.AddIDString(XRequestID, "abc")
		}
		l.Set(XRequestID, v)
		l.SetName("x-other", v)
	}); n != 0 {
		t.Fatalf("%v allocations, want 0", n)
	}
}

func TestHasToken(t *testing.T) {
	t.Parallel()
	for v, want := range map[string]bool{"close": true, "Keep-Alive, Close": true, "closed": false, "": false, " close ,": true, "a,,close": true} {
		if HasToken([]byte(v), "close") != want {
			t.Errorf("HasToken(%q) = %v", v, !want)
		}
	}
}
