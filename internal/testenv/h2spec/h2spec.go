// Package h2spec runs the conformance suite of HTTP/2.
package h2spec

import (
	"net"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"testing"
)

var summary = regexp.MustCompile(`(\d+) tests, (\d+) passed`)

// Run runs h2spec in strict mode against addr; at least want of its cases have to
// pass. Without the program, at MESH_H2SPEC or in PATH, the test is skipped.
func Run(t *testing.T, addr string, want int) {
	t.Helper()
	tool := os.Getenv("MESH_H2SPEC")
	if tool == "" {
		var err error
		if tool, err = exec.LookPath("h2spec"); err != nil {
			t.Skip("h2spec is not installed; set MESH_H2SPEC to its path")
		}
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	out, _ := exec.CommandContext(t.Context(), tool, "-h", host, "-p", port, "-S", "-o", "2").CombinedOutput()
	m := summary.FindSubmatch(out)
	if m == nil {
		t.Fatalf("h2spec did not finish:\n%s", out)
	}
	t.Logf("%s", m[0])
	if passed, _ := strconv.Atoi(string(m[2])); passed < want {
		t.Errorf("%d of %s passed, want at least %d\n%s", passed, m[1], want, out)
	}
}
