package effect_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/meshctl/meshctl/internal/compare"
	"github.com/meshctl/meshctl/internal/effect"
	"github.com/meshctl/meshctl/internal/resource"
	"github.com/meshctl/meshctl/internal/whatif"
)

const samples = "../../samples/bookinfo/"

// objects reads files of the sample; a later one takes the place of an earlier one.
func objects(t *testing.T, files ...string) []*resource.Object {
	t.Helper()
	var out []*resource.Object
	at := map[resource.Key]int{}
	for _, f := range files {
		data, err := os.ReadFile(samples + f)
		if err != nil {
			t.Fatal(err)
		}
		read, _ := resource.Decode(f, data, resource.Options{})
		for _, o := range read {
			if i, ok := at[o.Key]; ok {
				out[i] = o
				continue
			}
			at[o.Key] = len(out)
			out = append(out, o)
		}
	}
	return out
}

// told are the effects between two worlds.
func told(t *testing.T, before, after *whatif.World) ([]effect.Effect, *compare.Diff) {
	t.Helper()
	a, err := before.Configs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b, err := after.Configs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	d, err := compare.Configs(a, b)
	if err != nil {
		t.Fatal(err)
	}
	effects, err := effect.Of(t.Context(), before, after, d, "default")
	if err != nil {
		t.Fatal(err)
	}
	return effects, d
}

// TestNothingIsLeftOut: for every manifest of the sample, applied and taken away:
// what is asked of either world and gets another answer is told, and nothing is told
// of a world and itself.
func TestNothingIsLeftOut(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(samples + "networking/*.yaml")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d manifests: %v", len(files), err)
	}
	base := []string{"platform/kube/bookinfo.yaml", "networking/destination-rule-all.yaml", "networking/all-v1.yaml", "networking/authz-deny-all.yaml", "networking/authz-allow-ratings.yaml"}
	for _, f := range files {
		name := strings.TrimPrefix(f, filepath.Clean(samples)+"/")
		t.Run(filepath.Base(name), func(t *testing.T) {
			t.Parallel()
			var without []string
			for _, b := range base {
				if b != name {
					without = append(without, b)
				}
			}
			before, err := whatif.New(t.Context(), whatif.Input{Objects: objects(t, without...), Ingress: true})
			if err != nil {
				t.Fatal(err)
			}
			after, err := whatif.New(t.Context(), whatif.Input{Objects: objects(t, append(without, name)...), Ingress: true, Before: before})
			if err != nil {
				t.Fatal(err)
			}
			if effects, d := told(t, before, before); len(effects) > 0 || !d.Empty() {
				t.Errorf("told of a world and itself: %v", effects)
			}
			there, _ := told(t, before, after)
			back, _ := told(t, after, before)
			differ := differences(t, before, after)
			for _, about := range differ {
				for _, effects := range [][]effect.Effect{there, back} {
					if !mentioned(effects, about) {
						t.Errorf("nothing is said of %s:\n%v", about, effects)
					}
				}
			}
			t.Logf("%d answers differ, %d effects", len(differ), len(there))
		})
	}
}

// differences are the services that some workload calls with another outcome.
func differences(t *testing.T, before, after *whatif.World) []string {
	t.Helper()
	seen := map[string]bool{}
	var out []string
	for _, from := range []string{"productpage-v1", "reviews-v2"} {
		for _, to := range []string{"details", "ratings", "reviews", "productpage"} {
			for _, method := range []string{"GET", "POST"} {
				for _, user := range []string{"", "jason"} {
					r := whatif.Request{From: from, Method: method, URL: "http://" + to + ":9080/health", Headers: []whatif.Header{{Name: "end-user", Value: user}}}
					a, err := before.Ask(t.Context(), r)
					if err != nil {
						t.Fatal(err)
					}
					b, err := after.Ask(t.Context(), r)
					if err != nil {
						t.Fatal(err)
					}
					if !seen[to] && outcome(a) != outcome(b) {
						seen[to] = true
						out = append(out, to)
					}
				}
			}
		}
	}
	return out
}

func outcome(a *whatif.Answer) string {
	var b strings.Builder
	for _, o := range a.Outcomes {
		b.WriteString(strings.Join([]string{string(o.Kind), o.By, o.Subset, o.Delay}, " ") + "\n")
	}
	return b.String()
}

func mentioned(effects []effect.Effect, service string) bool {
	for _, e := range effects {
		if strings.Contains(e.String(), service) || strings.Contains(e.String(), "everybody") || strings.Contains(e.String(), " more") {
			return true
		}
	}
	return false
}
