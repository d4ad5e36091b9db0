package inspect_test

import (
	"fmt"
	"math"
	"path/filepath"
	"testing"

	"pgregory.net/rapid"

	"github.com/meshctl/meshctl/internal/inspect"
	"github.com/meshctl/meshctl/internal/resource"
	"github.com/meshctl/meshctl/internal/whatif"
)

// TestRoutesAreWhatRequestsGet: for any VirtualService, a request goes by the first
// rule that Routes lists as matching its path, to its targets in their shares.
func TestRoutesAreWhatRequestsGet(t *testing.T) {
	t.Parallel()
	base := decode(t, filepath.Join("testdata", "base.yaml"))
	rapid.Check(t, func(rt *rapid.T) {
		text, paths := virtualService(rt)
		objects, ds := resource.Decode("vs.yaml", []byte(text), resource.Options{})
		if len(objects) != 1 {
			rt.Fatalf("%v\n%s", ds, text)
		}
		for _, o := range base {
			if o.Key != objects[0].Key {
				objects = append(objects, o)
			}
		}
		w, err := whatif.New(t.Context(), whatif.Input{Objects: objects})
		if err != nil {
			rt.Fatal(err)
		}
		in := inspect.New(w, nil)
		vs, ok := w.Mesh().VirtualServices.Get("VirtualService.networking.istio.io/default/api")
		if !ok {
			rt.Fatal("the VirtualService is not derived")
		}
		routes := in.Routes(vs)
		for _, p := range []string{"/", "/a", "/a/b", "/b", "/c"} {
			a, err := w.Ask(t.Context(), whatif.Request{From: "web", URL: "http://api" + p})
			if err != nil {
				rt.Fatal(err)
			}
			want := map[string]float64{} // by subset
			for i, r := range routes {
				if covers(paths[i], p) {
					for _, x := range r.Targets {
						if x.Share > 0 {
							want[x.Subset] += x.Share
						}
					}
					break
				}
			}
			got := map[string]float64{}
			for _, o := range a.Outcomes {
				if o.Kind == whatif.Forwarded {
					got[o.Subset] += o.Share
				}
			}
			if len(got) != len(want) {
				rt.Fatalf("%s: described %v, asked %v\n%s", p, want, got, text)
			}
			for s, share := range want {
				if math.Abs(got[s]-share) > 0.1 {
					rt.Fatalf("%s: described %v, asked %v\n%s", p, want, got, text)
				}
			}
		}
	})
}

// pathMatch is a condition on the path; the zero value matches all.
type pathMatch struct{ kind, value string }

func covers(m pathMatch, path string) bool {
	switch m.kind {
	case "exact":
		return path == m.value
	case "prefix":
		return len(path) >= len(m.value) && path[:len(m.value)] == m.value
	default:
		return true
	}
}

// virtualService draws one, and the path that each of its rules matches.
func virtualService(rt *rapid.T) (text string, paths []pathMatch) {
	text = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: api}\nspec:\n  hosts: [api]\n  http:\n"
	for i := range rapid.IntRange(1, 4).Draw(rt, "rules") {
		m := pathMatch{rapid.SampledFrom([]string{"", "exact", "prefix"}).Draw(rt, "kind"), rapid.SampledFrom([]string{"/", "/a", "/a/b", "/b"}).Draw(rt, "path")}
		paths = append(paths, m)
		text += fmt.Sprintf("  - name: r%d\n", i)
		if m.kind != "" {
			text += fmt.Sprintf("    match: [{uri: {%s: %s}}]\n", m.kind, m.value)
		}
		first := rapid.IntRange(1, 99).Draw(rt, "weight")
		text += fmt.Sprintf("    route: [{destination: {host: api, subset: v1}, weight: %d}, {destination: {host: api, subset: v2}, weight: %d}]\n", first, 100-first)
	}
	return text, paths
}
