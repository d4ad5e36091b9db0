package header

import (
	"bytes"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// pair is a field of the model: a plain slice of names and values.
type pair struct{ name, value string }

func (l *List) pairs() []pair {
	var p []pair
	l.All(func(id ID, name, value []byte) bool {
		if id != Lookup(name) {
			panic("the number of " + string(name) + " is wrong")
		}
		p = append(p, pair{string(name), string(value)})
		return true
	})
	return p
}

func without(m []pair, name string) []pair {
	var out []pair
	for _, p := range m {
		if p.name != name {
			out = append(out, p)
		}
	}
	return out
}

func set(m []pair, name, value string) []pair {
	var out []pair
	done := false
	for _, p := range m {
		switch {
		case p.name != name:
			out = append(out, p)
		case !done:
			out = append(out, pair{name, value})
			done = true
		}
	}
	if !done {
		out = append(out, pair{name, value})
	}
	return out
}

// TestListBehavesLikeASlice runs random changes on a list and on a plain slice.
func TestListBehavesLikeASlice(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var l, other List
		var m []pair
		name := rapid.SampledFrom([]string{"host", "cookie", "x-a", "x-b", "content-length", "te"})
		value := rapid.SampledFrom([]string{"", "1", "a longer value"})
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				n, v := name.Draw(t, "name"), value.Draw(t, "value")
				if id := l.Add([]byte(strings.ToUpper(n)), []byte(v)); id != LookupString(n) {
					t.Fatalf("Add(%q) = %d", n, id)
				}
				m = append(m, pair{n, v})
			},
			"add and take back": func(t *rapid.T) {
				l.AddString(name.Draw(t, "name"), "gone")
				l.RemoveLast()
			},
			"set": func(t *rapid.T) {
				n, v := name.Draw(t, "name"), value.Draw(t, "value")
				l.SetName(n, []byte(v))
				m = set(m, n, v)
			},
			"remove": func(t *rapid.T) {
				n := name.Draw(t, "name")
				l.RemoveName(n)
				m = without(m, n)
			},
			"nominate": func(t *rapid.T) {
				n := name.Draw(t, "name")
				l.RemoveNominated([]byte(strings.ToUpper(n)), func(id ID) bool { return id == ContentLength })
				if n != "content-length" {
					m = without(m, n)
				}
			},
			"copy and swap": func(*rapid.T) {
				other.CopyFrom(&l)
				l.Reset()
				l.AddString("x-a", "of the other")
				l.Swap(&other)
			},
			"reset": func(*rapid.T) {
				l.Reset()
				m = nil
			},
			"": func(t *rapid.T) {
				got := l.pairs()
				if len(got) != len(m) || l.Len() != len(m) {
					t.Fatalf("%d fields, Len %d, want %d", len(got), l.Len(), len(m))
				}
				size := 0
				for i, p := range m {
					if got[i] != p {
						t.Fatalf("field %d is %v, want %v", i, got[i], p)
					}
					size += len(p.name) + len(p.value) + 32
				}
				if l.Bytes() != size {
					t.Fatalf("Bytes = %d, want %d", l.Bytes(), size)
				}
				for _, n := range []string{"host", "x-a"} {
					var want []byte
					count := 0
					for _, p := range m {
						if p.name == n {
							if count++; count == 1 {
								want = []byte(p.value)
							}
						}
					}
					if v := l.GetName(n); !bytes.Equal(v, want) || (v == nil) != (count == 0) {
						t.Fatalf("GetName(%q) = %q, want %q", n, v, want)
					}
					seen := 0
					l.Values(n, func([]byte) bool { seen++; return true })
					if seen != count || n == "host" && (l.Count(Host) != count || l.Has(Host) != (count > 0)) {
						t.Fatalf("%d values of %q, want %d", seen, n, count)
					}
				}
			},
		})
	})
}

// TestRemoveLastGivesTheArenaBack keeps dropped fields from growing a list.
func TestRemoveLastGivesTheArenaBack(t *testing.T) {
	t.Parallel()
	var l List
	l.AddString("x-a", "1")
	c := l.Cap()
	for range 1000 {
		l.AddString("x-b", "2")
		l.RemoveLast()
		l.RemoveNominated([]byte("x-c"), func(ID) bool { return false })
	}
	if l.Cap() > c+64 || l.Len() != 1 {
		t.Fatalf("the arena grew from %d to %d", c, l.Cap())
	}
}

func TestEqualFold(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		b, lower string
		want     bool
	}{{"Close", "close", true}, {"close", "close", true}, {"clos", "close", false}, {"cl@se", "cl`se", false}, {"", "", true}, {"K", "k", true}, {"\xe2\x84\xaa", "k", false}} {
		if EqualFold([]byte(c.b), c.lower) != c.want {
			t.Errorf("EqualFold(%q, %q) = %v", c.b, c.lower, !c.want)
		}
	}
}

func TestPseudo(t *testing.T) {
	t.Parallel()
	for id := range numIDs {
		if want := strings.HasPrefix(id.Name(), ":"); id.Pseudo() != want {
			t.Errorf("%q.Pseudo() = %v", id.Name(), !want)
		}
	}
}

func BenchmarkAdd(b *testing.B) {
	var l List
	name, value := []byte("X-Forwarded-Proto"), []byte("https")
	for b.Loop() {
		l.Reset()
		for range 10 {
			l.Add(name, value)
		}
	}
}
