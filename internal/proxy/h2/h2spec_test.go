package h2

import (
	"net"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"testing"

	"github.com/meshctl/meshctl/internal/proxy/codec"
	"github.com/meshctl/meshctl/internal/proxy/header"
)

// helloApp answers each complete request with status 200 and a body.
type helloApp struct{}

func (helloApp) Accept(s codec.Stream) codec.Receiver { return &helloStream{s: s} }

type helloStream struct{ s codec.Stream }

func (h *helloStream) OnHeaders(_ *header.List, end bool) { h.answer(end) }
func (h *helloStream) OnData(_ []byte, end bool)          { h.answer(end) }
func (h *helloStream) OnTrailers(*header.List)            { h.answer(true) }
func (h *helloStream) OnReset(codec.Reset)                {}
func (h *helloStream) OnWritable()                        {}

func (h *helloStream) answer(end bool) {
	if !end {
		return
	}
	var l header.List
	l.AddIDString(header.Status, "200")
	l.AddIDString(header.ContentType, "text/plain")
	l.AddIDString(header.ContentLength, "5")
	h.s.SendHeaders(&l, false)
	h.s.SendData([]byte("hello"), true)
}

// TestH2Spec runs h2spec in strict mode, if it is at MESH_H2SPEC or in PATH.
func TestH2Spec(t *testing.T) {
	t.Parallel()
	tool := os.Getenv("MESH_H2SPEC")
	if tool == "" {
		var err error
		if tool, err = exec.LookPath("h2spec"); err != nil {
			t.Skip("h2spec is not installed; set MESH_H2SPEC to its path")
		}
	}
	host, port, err := net.SplitHostPort(serve(t, helloApp{}, codec.Limits{}, Options{}))
	if err != nil {
		t.Fatal(err)
	}
	out, _ := exec.CommandContext(t.Context(), tool, "-h", host, "-p", port, "-S", "-o", "2").CombinedOutput()
	m := regexp.MustCompile(`(\d+) tests, (\d+) passed`).FindSubmatch(out)
	if m == nil {
		t.Fatalf("h2spec did not finish:\n%s", out)
	}
	t.Logf("%s", m[0])
	if passed, _ := strconv.Atoi(string(m[2])); passed < 146 {
		t.Errorf("%d of %s passed, want all\n%s", passed, m[1], out)
	}
}
