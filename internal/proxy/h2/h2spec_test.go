package h2

import (
	"testing"

	"github.com/meshctl/meshctl/internal/proxy/codec"
	"github.com/meshctl/meshctl/internal/proxy/header"
	"github.com/meshctl/meshctl/internal/testenv/h2spec"
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

// TestH2Spec: every case has to pass.
func TestH2Spec(t *testing.T) {
	t.Parallel()
	h2spec.Run(t, serve(t, helloApp{}, codec.Limits{}, Options{}), 146)
}
