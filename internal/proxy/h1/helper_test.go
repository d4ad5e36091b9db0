package h1

import (
	"errors"
	"strings"
	"testing"

	"github.com/meshctl/meshctl/internal/proxy/codec"
	"github.com/meshctl/meshctl/internal/proxy/codec/codectest"
)

// owner does what the owner of a connection does: it keeps what Feed leaves and
// offers it again, and stops while reading is paused.
type owner struct {
	codectest.Pipe
	codectest.Log
	conn codec.Conn
	rest []byte
	err  error
}

func newServer(lim codec.Limits, opts Options) *owner {
	o := new(owner)
	o.conn = NewServer(&o.Pipe, &o.Log, lim, opts)
	return o
}

// answering makes the server answer each request when all of it is there.
func (o *owner) answering() *owner {
	o.React = func(r *codectest.Recorder, kind codectest.Kind, end bool) {
		if end && kind != codectest.Reset {
			r.Stream.SendHeaders(codectest.List(":status", "200"), true)
		}
	}
	return o
}

func (o *owner) give(b []byte) {
	o.rest = append(o.rest, b...)
	o.pump()
}

func (o *owner) pump() {
	for !o.Paused && len(o.rest) > 0 && o.err == nil {
		n, err := o.conn.Feed(o.rest)
		o.rest, o.err = o.rest[n:], err
		if n == 0 {
			return
		}
	}
}

// detail is the reason of the error, empty without one.
func detail(err error) string {
	var e *codec.Error
	if errors.As(err, &e) {
		return e.Detail
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

// cuts feeds in at once, byte by byte and in two pieces at every place, each to a
// connection made by fresh, and fails if the results differ.
func cuts(t *testing.T, in string, fresh func() *owner) *owner {
	t.Helper()
	whole := fresh()
	whole.give([]byte(in))
	want := whole.result()
	if s := whole.Invalid(); s != "" {
		t.Errorf("breach of the contract: %s", s)
	}
	if whole.Misused {
		t.Error("PauseRead or ResumeRead nested")
	}
	check := func(how string, o *owner) {
		t.Helper()
		if got := o.result(); got != want {
			t.Fatalf("%s: input %q\ngot\n%s\nwant\n%s", how, in, got, want)
		}
	}
	single := fresh()
	for i := range len(in) {
		single.give([]byte(in[i : i+1]))
	}
	check("byte by byte", single)
	for i := 1; i < len(in); i++ {
		o := fresh()
		o.give([]byte(in[:i]))
		o.give([]byte(in[i:]))
		check("cut at "+in[:i], o)
	}
	return whole
}

// result is all that the outside can see.
func (o *owner) result() string {
	var s strings.Builder
	s.WriteString(o.Log.String())
	s.WriteString("out: " + string(o.Out) + "\n")
	s.WriteString("error: " + detail(o.err) + "\n")
	if o.conn.Done() {
		s.WriteString("done\n")
	}
	return s.String()
}
