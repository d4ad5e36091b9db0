package protocol

import (
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"testing"
)

// TestH2Spec runs h2spec in strict mode against a whole listener, if it is at
// MESH_H2SPEC or in PATH. All have to pass but 3.5/2: what is no HTTP/2 preface is
// answered as HTTP/1.
func TestH2Spec(t *testing.T) {
	t.Parallel()
	tool := os.Getenv("MESH_H2SPEC")
	if tool == "" {
		var err error
		if tool, err = exec.LookPath("h2spec"); err != nil {
			t.Skip("h2spec is not installed; set MESH_H2SPEC to its path")
		}
	}
	w := webServer(t, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(rw, "hello")
	}))
	host, port, err := net.SplitHostPort(w.plain)
	if err != nil {
		t.Fatal(err)
	}
	out, _ := exec.CommandContext(t.Context(), tool, "-h", host, "-p", port, "-S", "-o", "2").CombinedOutput()
	m := regexp.MustCompile(`(\d+) tests, (\d+) passed`).FindSubmatch(out)
	if m == nil {
		t.Fatalf("h2spec did not finish:\n%s", out)
	}
	t.Logf("%s", m[0])
	if passed, _ := strconv.Atoi(string(m[2])); passed < 145 {
		t.Errorf("%d of %s passed, want at least 145\n%s", passed, m[1], out)
	}
}
