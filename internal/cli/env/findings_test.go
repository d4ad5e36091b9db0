package env

import (
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// TestWrap: words are kept, and lines fit unless a word alone does not.
func TestWrap(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		words := rapid.SliceOfN(rapid.StringMatching(`[a-zé/]{1,30}`), 1, 20).Draw(t, "words")
		width := rapid.IntRange(0, 100).Draw(t, "width")
		text := strings.Join(words, " ")
		got := wrap(text, "    ", width)
		if strings.Join(strings.Fields(got), " ") != text {
			t.Fatalf("%q became %q", text, got)
		}
		lines := strings.Split(got, "\n")
		if width == 0 && len(lines) > 1 {
			t.Fatalf("broken in a pipe: %q", got)
		}
		for _, l := range lines {
			if width > 24 && utf8.RuneCountInString(strings.TrimRight(l, " ")) > width && len(strings.Fields(l)) > 1 {
				t.Fatalf("line of more than %d: %q", width, l)
			}
		}
	})
}

func FuzzParsePodRef(f *testing.F) {
	for _, s := range []string{"web-1", "deploy/web", "svc/web.shop", "a.b.c", "/", "x/y/z", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, arg string) {
		r, err := ParsePodRef(arg)
		if err == nil && (r.Name == "" || strings.ContainsAny(r.Name, "/.")) {
			t.Errorf("%q is read as the name %q", arg, r.Name)
		}
	})
}
