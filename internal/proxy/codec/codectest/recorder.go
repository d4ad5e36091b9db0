package codectest

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/meshctl/meshctl/internal/proxy/codec"
	"github.com/meshctl/meshctl/internal/proxy/header"
)

// Kind is the kind of an event.
type Kind uint8

// Kinds of events, in the order of the methods of codec.Receiver.
const (
	Headers Kind = iota + 1
	Data
	Trailers
	Reset
	Writable
)

// Event is one call of a receiver.
type Event struct {
	Stream  uint32
	Kind    Kind
	End     bool
	Text    string // headers and trailers: fields as name="value", in order
	Body    []byte
	Reason  codec.Reset
	Invalid string // how the event breaks the contract, empty if it does not
}

// String is one line, e.g. 1 headers :method="GET" end.
func (e Event) String() string {
	var s strings.Builder
	fmt.Fprintf(&s, "%d ", e.Stream)
	switch e.Kind {
	case Headers:
		s.WriteString("headers" + e.Text)
	case Data:
		fmt.Fprintf(&s, "data %q", e.Body)
	case Trailers:
		s.WriteString("trailers" + e.Text)
	case Reset:
		s.WriteString("reset " + ResetName(e.Reason))
	case Writable:
		s.WriteString("writable")
	}
	if e.End {
		s.WriteString(" end")
	}
	if e.Invalid != "" {
		s.WriteString(" INVALID: " + e.Invalid)
	}
	return s.String()
}

// Log is a codec.Acceptor whose receivers write their events to one list.
// Data events of one stream that follow each other are merged, so that a log
// does not depend on how the bytes were cut.
type Log struct {
	Events    []Event
	Receivers []*Recorder
	// React, if set, is called after each event; a test answers requests in it.
	React func(r *Recorder, kind Kind, end bool)
}

// Accept makes a receiver for a new request.
func (l *Log) Accept(s codec.Stream) codec.Receiver {
	r := l.Receiver()
	r.Stream, r.id = s, s.ID()
	return r
}

// Receiver makes a receiver for a client's request; set Stream after Open. It is
// numbered by its place in the log.
func (l *Log) Receiver() *Recorder {
	r := &Recorder{log: l, id: uint32(len(l.Receivers) + 1)}
	l.Receivers = append(l.Receivers, r)
	return r
}

// Last is the receiver made last, nil if there is none.
func (l *Log) Last() *Recorder {
	if len(l.Receivers) == 0 {
		return nil
	}
	return l.Receivers[len(l.Receivers)-1]
}

// String has a line for each event.
func (l *Log) String() string {
	var s strings.Builder
	for _, e := range l.Events {
		s.WriteString(e.String())
		s.WriteByte('\n')
	}
	return s.String()
}

// Invalid is the first breach of the contract, empty if there is none.
func (l *Log) Invalid() string {
	for _, e := range l.Events {
		if e.Invalid != "" {
			return e.String()
		}
	}
	return ""
}

// Recorder is a codec.Receiver.
type Recorder struct {
	Stream  codec.Stream
	Header  header.List // the last head received
	Trailer header.List
	Body    []byte
	Head    bool // a head that is not interim was received
	Ended   bool // the other half has ended
	// HeadEnded tells that the head was the whole message.
	HeadEnded bool
	Reason    codec.Reset

	log *Log
	id  uint32
}

// OnHeaders writes down a head.
func (r *Recorder) OnHeaders(h *header.List, end bool) {
	e := Event{Kind: Headers, End: end, Text: Fields(h)}
	status := h.Get(header.Status)
	interim := len(status) == 3 && status[0] == '1' && string(status) != "101"
	switch {
	case r.Head:
		e.Invalid = "second head"
	case interim && end:
		e.Invalid = "interim head ends the stream"
	}
	r.Head = !interim
	r.HeadEnded = end
	r.Header.CopyFrom(h)
	r.add(e)
}

// OnData writes down a piece of the body.
func (r *Recorder) OnData(b []byte, end bool) {
	e := Event{Kind: Data, End: end, Body: bytes.Clone(b)}
	if !r.Head {
		e.Invalid = "data before the head"
	}
	if len(b) == 0 && !end {
		e.Invalid = "empty data without end"
	}
	r.Body = append(r.Body, b...)
	r.add(e)
}

// OnTrailers writes down trailers.
func (r *Recorder) OnTrailers(h *header.List) {
	e := Event{Kind: Trailers, End: true, Text: Fields(h)}
	if !r.Head {
		e.Invalid = "trailers before the head"
	}
	r.Trailer.CopyFrom(h)
	r.add(e)
}

// OnReset writes down the end of the exchange.
func (r *Recorder) OnReset(reason codec.Reset) { r.add(Event{Kind: Reset, Reason: reason}) }

// OnWritable writes down that sending may go on.
func (r *Recorder) OnWritable() { r.add(Event{Kind: Writable}) }

func (r *Recorder) add(e Event) {
	e.Stream = r.id
	switch {
	case r.Reason != codec.ResetNone:
		e.Invalid = "event after reset"
	case r.Ended && e.Kind != Reset && e.Kind != Writable:
		e.Invalid = "event after the end"
	}
	r.Ended = r.Ended || e.End
	if e.Kind == Reset {
		r.Reason = e.Reason
	}
	if !r.merge(e) {
		r.log.Events = append(r.log.Events, e)
	}
	if r.log.React != nil {
		r.log.React(r, e.Kind, e.End)
	}
}

// merge adds a data event to the one before it.
func (r *Recorder) merge(e Event) bool {
	n := len(r.log.Events)
	if n == 0 || e.Kind != Data || e.Invalid != "" {
		return false
	}
	last := &r.log.Events[n-1]
	if last.Kind != Data || last.Stream != e.Stream || last.End || last.Invalid != "" {
		return false
	}
	last.Body = append(last.Body, e.Body...)
	last.End = e.End
	return true
}

// Fields prints a list as name="value" pairs, each after a space.
func Fields(h *header.List) string {
	var s strings.Builder
	h.All(func(_ header.ID, name, value []byte) bool {
		fmt.Fprintf(&s, " %s=%q", name, value)
		return true
	})
	return s.String()
}

// List makes a list from names and values in turn.
func List(pairs ...string) *header.List {
	l := new(header.List)
	for i := 0; i+1 < len(pairs); i += 2 {
		l.AddString(pairs[i], pairs[i+1])
	}
	return l
}

// ResetName tells reasons apart which codec.Reset prints alike.
func ResetName(r codec.Reset) string {
	switch r {
	case codec.ResetBeforeAnyByte:
		return "before_any_byte"
	case codec.ResetConnectionEnded:
		return "connection_ended"
	default:
		return r.String()
	}
}
