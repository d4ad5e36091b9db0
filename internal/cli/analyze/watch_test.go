package analyze

import (
	"bufio"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/stdio"
	"github.com/meshctl/meshctl/internal/diag"
)

const (
	right = "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\nspec: {selector: {app: web}, ports: [{name: http, port: 80}]}\n"
	wrong = "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\nspec: {selector: {app: web}, ports: [{name: http, port: 0}]}\n"
)

// TestWatch: a change of a file is looked at, a broken one does not end it, and what
// ends it is that nobody wants it any more.
func TestWatch(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	name := filepath.Join(dir, "web.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(right)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r, w := io.Pipe()
	e := &env.Env{IO: &stdio.Streams{In: strings.NewReader(""), Out: w, Err: w}, Getenv: func(string) string { return "" }, Now: time.Now}
	o := &Options{Env: e, Paths: []string{dir}, Recursive: true, Watch: true, Failure: diag.Error, Shown: diag.Info, Format: stdio.Formats(formatLog).Default(formatLog)}
	done := make(chan error, 1)
	go func() { done <- Run(ctx, o); w.Close() }()
	lines := bufio.NewScanner(r)
	until := func(want string) {
		t.Helper()
		for lines.Scan() {
			if strings.Contains(lines.Text(), want) {
				return
			}
		}
		t.Fatalf("never said %q: %v", want, ctx.Err())
	}
	until("No validation issues found")
	until("waiting for changes")
	write(wrong)
	until("port 0 is out of range")
	until("waiting for changes")
	write("a: [")
	until("MSH0101")
	until("waiting for changes")
	write(right)
	until("No validation issues found")
	until("waiting for changes")
	cancel()
	go io.Copy(io.Discard, r) //nolint:errcheck // whatever is still said
	if err := <-done; err == nil || ctx.Err() == nil {
		t.Errorf("ended with %v", err)
	}
}
