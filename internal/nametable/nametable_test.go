package nametable

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestTablesRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.StringMatching(`[a-z.*-]{0,12}`)
		info := rapid.Custom(func(t *rapid.T) Info {
			return Info{
				IPs:      rapid.SliceOfN(rapid.StringMatching(`[0-9.]{1,9}`), 1, 4).Draw(t, "ips"),
				Registry: s.Draw(t, "registry"), Shortname: s.Draw(t, "short"), Namespace: s.Draw(t, "ns"),
			}
		})
		in := Table(rapid.MapOf(s, info).Draw(t, "table"))
		b := in.Marshal()
		out, err := Unmarshal(b)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(in, out); d != "" {
			t.Fatal(d)
		}
		if d := cmp.Diff(b, out.Marshal()); d != "" {
			t.Fatal(d)
		}
	})
}

func FuzzUnmarshal(f *testing.F) {
	f.Add(Table{"a.b": {IPs: []string{"10.0.0.1"}, Registry: "Kubernetes", Shortname: "a", Namespace: "b"}}.Marshal())
	f.Fuzz(func(t *testing.T, b []byte) {
		tab, err := Unmarshal(b)
		if err != nil {
			return
		}
		if again, err := Unmarshal(tab.Marshal()); err != nil || !cmp.Equal(tab, again) {
			t.Fatalf("%v, %v", again, err)
		}
	})
}
