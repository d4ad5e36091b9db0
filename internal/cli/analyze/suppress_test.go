package analyze

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/meshctl/meshctl/internal/diag"
)

func TestSuppression(t *testing.T) {
	t.Parallel()
	web := diag.Diagnostic{Code: "IST0101", Object: diag.Object{Kind: "VirtualService", Namespace: "shop", Name: "web.v1"}}
	cluster := diag.Diagnostic{Code: "IST0102", Object: diag.Object{Kind: "Namespace", Name: "shop"}}
	for text, want := range map[string][2]bool{
		"IST0101=VirtualService web.v1.shop":    {true, false},
		"IST0101=VirtualService *.shop":         {true, false},
		"IST01*=*":                              {true, true},
		"IST0102=Namespace shop":                {false, true},
		"IST0102=Namespace s?op":                {false, true},
		"*=* web*":                              {true, false},
		" IST0101 = VirtualService web.v1.shop": {true, false},
		"IST0101=VirtualService web.shop":       {false, false},
	} {
		s, err := parseSuppression(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if got := [2]bool{s.covers(web), s.covers(cluster)}; got != want {
			t.Errorf("%q covers %v, want %v", text, got, want)
		}
	}
	for _, text := range []string{"", "IST0101", "=x", "IST0101=", "IST0101=[", "[=x"} {
		if _, err := parseSuppression(text); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}

// TestSuppressionOfItself: an object's own name, written out, covers it.
func TestSuppressionOfItself(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringMatching(`[a-z0-9][a-z0-9.-]{0,10}[a-z0-9]`)
		d := diag.Diagnostic{Code: "IST0101", Object: diag.Object{Kind: "Service", Namespace: name.Draw(t, "namespace"), Name: name.Draw(t, "name")}}
		s, err := parseSuppression(d.Code + "=" + suppressed(d.Object))
		if err != nil || !s.covers(d) {
			t.Fatalf("%v does not cover %v: %v", s, d.Object, err)
		}
	})
}

// FuzzSuppression: what is taken can be asked of any object.
func FuzzSuppression(f *testing.F) {
	f.Add("IST0101=VirtualService *.shop", "web")
	f.Add("*=[a-z]*", "x")
	f.Fuzz(func(t *testing.T, text, name string) {
		s, err := parseSuppression(text)
		if err != nil {
			return
		}
		if !strings.Contains(text, "=") {
			t.Fatalf("%q is taken", text)
		}
		s.covers(diag.Diagnostic{Code: "IST0101", Object: diag.Object{Kind: "Service", Namespace: "a", Name: name}})
	})
}
