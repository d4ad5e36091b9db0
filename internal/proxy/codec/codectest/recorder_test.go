package codectest

import (
	"testing"

	"github.com/meshctl/meshctl/internal/proxy/codec"
)

func TestLogMergesDataAndNamesBreaches(t *testing.T) {
	t.Parallel()
	var l Log
	r := l.Receiver()
	r.OnHeaders(List(":status", "100"), false)
	r.OnHeaders(List(":status", "200", "X-A", "b"), false)
	r.OnData([]byte("ab"), false)
	r.OnData([]byte("c"), false)
	r.OnData(nil, true)
	if s := l.Invalid(); s != "" {
		t.Fatal(s)
	}
	r.OnReset(codec.ResetBeforeAnyByte)
	r.OnData([]byte("d"), false)
	want := `1 headers :status="100"
1 headers :status="200" x-a="b"
1 data "abc" end
1 reset before_any_byte
1 data "d" INVALID: event after reset
`
	if got := l.String(); got != want {
		t.Fatalf("got\n%swant\n%s", got, want)
	}
	if l.Invalid() == "" {
		t.Fatal("the breach was not noticed")
	}
}

func TestPipeNoticesNestedPauses(t *testing.T) {
	t.Parallel()
	var p Pipe
	var tr codec.Transport = &p
	tr.PauseRead()
	tr.ResumeRead()
	if p.Misused || p.Paused {
		t.Fatal("a pause and a resume are not a misuse")
	}
	tr.ResumeRead()
	if !p.Misused {
		t.Fatal("a second resume is a misuse")
	}
	tr.Write([]byte("abc"))
	*tr.Buffer() = append(*tr.Buffer(), 'd')
	if p.Buffered() != 4 || string(p.Take()) != "abcd" || p.Buffered() != 0 {
		t.Fatal("bytes are not kept in order")
	}
}
