package exit_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/meshctl/meshctl/internal/cli/exit"
)

func TestPrint(t *testing.T) {
	t.Parallel()
	err := exit.Dataf("cannot read %s", "a.yaml").Because(errors.New("line 1\nline 2\n")).Try("meshctl validate -f a.yaml").Try("or this") //nolint:revive // causes of others may end so
	for name, c := range map[string]struct {
		err  error
		want string
		code int
	}{
		"all parts": {err, "error: cannot read a.yaml\ncause: line 1\n       line 2\ntry:   meshctl validate -f a.yaml\n       or this\n", exit.Data},
		"wrapped":   {fmt.Errorf("x: %w", err), "error: cannot read a.yaml\ncause: line 1\n       line 2\ntry:   meshctl validate -f a.yaml\n       or this\n", exit.Data},
		"any error": {errors.New("boom"), "error: boom\n", exit.Failure},
		"silent":    {exit.Silent(79), "", exit.Findings},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var b strings.Builder
			exit.Print(&b, c.err, func(s string) string { return s })
			if b.String() != c.want {
				t.Errorf("got\n%s\nwant\n%s", b.String(), c.want)
			}
			if got := exit.CodeOf(c.err); got != c.code {
				t.Errorf("exit code %d, want %d", got, c.code)
			}
		})
	}
	if exit.CodeOf(nil) != exit.OK {
		t.Error("no error is not 0")
	}
}
