package yamledit_test

import (
	"strings"
	"testing"

	yaml "go.yaml.in/yaml/v4"
	"pgregory.net/rapid"

	"github.com/meshctl/meshctl/internal/yamledit"
)

func TestApply(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		in     string
		change yamledit.Change
		want   string // "" when the change is refused
	}{
		"name":             {"a:\n  b: 1 # why\n", yamledit.Change{Line: 2, Col: 3, Key: "c"}, "a:\n  c: 1 # why\n"},
		"value":            {"a:\n  b: 1 # why\n", yamledit.Change{Line: 2, Col: 3, Value: `"1"`}, "a:\n  b: \"1\" # why\n"},
		"both":             {"x: {mirrorPercent: 50, y: 2}\n", yamledit.Change{Line: 1, Col: 5, Key: "mirrorPercentage", Value: "{value: 50}"}, "x: {mirrorPercentage: {value: 50}, y: 2}\n"},
		"item of a list":   {"a: [x, yes, z]\n", yamledit.Change{Line: 1, Col: 8, Value: `"yes"`}, "a: [x, \"yes\", z]\n"},
		"quoted":           {`a: "x \" y" # c`, yamledit.Change{Line: 1, Col: 1, Value: "z"}, `a: z # c`},
		"single quotes":    {`a: 'it''s' # c`, yamledit.Change{Line: 1, Col: 1, Value: "z"}, `a: z # c`},
		"characters":       {"ä: {ö: 1}\n", yamledit.Change{Line: 1, Col: 5, Value: "2"}, "ä: {ö: 2}\n"},
		"second document":  {"a: 1\n---\n# c\na: 1\n", yamledit.Change{Line: 4, Col: 1, Value: "2"}, "a: 1\n---\n# c\na: 2\n"},
		"beside a bad one": {"a: [\n---\na: 1\n", yamledit.Change{Line: 3, Col: 1, Value: "2"}, "a: [\n---\na: 2\n"},
		"windows":          {"a: 1\r\nb: 2\r\n", yamledit.Change{Line: 2, Col: 1, Value: "3"}, "a: 1\r\nb: 3\r\n"},
		"block":            {"a: |\n  text\n", yamledit.Change{Line: 1, Col: 1, Value: "z"}, ""},
		"list":             {"a: [1]\n", yamledit.Change{Line: 1, Col: 1, Value: "z"}, ""},
		"alias":            {"a: &x 1\nb: *x\n", yamledit.Change{Line: 2, Col: 1, Value: "z"}, ""},
		"anchor":           {"a: &x 1\nb: *x\n", yamledit.Change{Line: 1, Col: 1, Value: "z"}, ""},
		"over two lines":   {"a: one\n  two\n", yamledit.Change{Line: 1, Col: 1, Value: "z"}, ""},
		"nothing there":    {"a: 1\n", yamledit.Change{Line: 1, Col: 2, Value: "z"}, ""},
		"far away":         {"a: 1\n", yamledit.Change{Line: 99, Col: 2, Value: "z"}, ""},
		"no value":         {"a:\nb: 1\n", yamledit.Change{Line: 1, Col: 1, Value: "z"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, refused := yamledit.Apply([]byte(c.in), []yamledit.Change{c.change})
			if c.want == "" {
				if len(refused) != 1 || string(got) != c.in {
					t.Errorf("not refused: %q", got)
				}
				return
			}
			if len(refused) > 0 || string(got) != c.want {
				t.Errorf("got %q, want %q, refused %v", got, c.want, refused)
			}
		})
	}
}

// TestOthersStay: whatever is changed, all other values and every comment stay.
func TestOthersStay(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 6).Draw(t, "fields")
		chosen := rapid.IntRange(0, n-1).Draw(t, "chosen")
		var lines []string
		for i := range n {
			value := rapid.SampledFrom([]string{"1", "x y", `"q: #"`, "'s'", "true", "{a: 1}", "[1, 2]"}).Draw(t, "value")
			lines = append(lines, string(rune('a'+i))+": "+value+" # "+rapid.StringMatching(`[a-z ]{0,8}`).Draw(t, "comment"))
		}
		text := strings.Join(lines, "\n") + "\n"
		got, refused := yamledit.Apply([]byte(text), []yamledit.Change{{Line: chosen + 1, Col: 1, Key: "new"}})
		if len(refused) > 0 {
			t.Fatal(refused)
		}
		lines[chosen] = "new" + lines[chosen][1:]
		if want := strings.Join(lines, "\n") + "\n"; string(got) != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	})
}

// FuzzApply: no text and no place breaks it, and what it gives is YAML if it was.
func FuzzApply(f *testing.F) {
	f.Add("a: 1\n---\nb: {c: 'x'}\n", 3, 5)
	f.Add("\ta: |\n x", 1, 1)
	f.Fuzz(func(t *testing.T, text string, line, col int) {
		got, refused := yamledit.Apply([]byte(text), []yamledit.Change{{Line: line, Col: col, Key: "k", Value: "1"}})
		if len(refused) > 0 && string(got) != text {
			t.Fatalf("refused, and yet changed: %q", got)
		}
		var before, after yaml.Node
		if yaml.Unmarshal([]byte(text), &before) == nil && !strings.Contains(text, "---") {
			if err := yaml.Unmarshal(got, &after); err != nil && len(refused) == 0 && !strings.Contains(text, "k") {
				t.Fatalf("%q became %q: %v", text, got, err)
			}
		}
	})
}
