package deps

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/meshctl/meshctl/docs/diagnostics"
)

// TestEveryCodeHasAPage: what a finding's code means can be looked up, offline, by
// whoever gets it; and no page is about a code that nothing raises.
func TestEveryCodeHasAPage(t *testing.T) {
	t.Parallel()
	literal := regexp.MustCompile(`"((?:IST|MSH)\d{4})"`)
	raised := map[string]string{}
	walk(t, func(path string) {
		if strings.HasSuffix(path, "_test.go") || strings.HasPrefix(path, root+"/docs/") {
			return
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Error(err)
			return
		}
		for _, m := range literal.FindAllSubmatch(text, -1) {
			raised[string(m[1])] = path
		}
	})
	if len(raised) < 40 {
		t.Fatalf("found only %d codes", len(raised))
	}
	for code, path := range raised {
		if _, ok := diagnostics.Lookup(code); !ok {
			t.Errorf("%s (%s) has no page: write docs/diagnostics/%s.md, with the parts that the others have", code, path, code)
		}
	}
	for _, p := range diagnostics.All() {
		if raised[p.Code] == "" {
			t.Errorf("docs/diagnostics/%s.md is about a code that nothing raises", p.Code)
		}
	}
}
