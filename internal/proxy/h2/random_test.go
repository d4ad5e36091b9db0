package h2

import (
	"bytes"
	"strconv"
	"testing"

	"pgregory.net/rapid"

	"github.com/meshctl/meshctl/internal/proxy/codec"
	"github.com/meshctl/meshctl/internal/proxy/header"
)

// half is one direction of a random exchange: what is to be sent, what came.
type half struct {
	body     []byte
	trailers bool
	sent     int
	headSent bool
	ended    bool // by the sender

	got        []byte
	gotHead    bool
	gotTrail   string
	gotEnd     bool
	reset      bool
	paused     bool
	sincePause int
	writable   bool // false after the high mark until OnWritable
}

// side is an end of an exchange: it sends out and receives in.
type side struct {
	w   *world
	s   codec.Stream
	out *half
	in  *half
}

func (x *side) OnHeaders(h *header.List, end bool) {
	x.in.gotHead = true
	x.in.gotEnd = end
}

func (x *side) OnData(b []byte, end bool) {
	x.in.got = append(x.in.got, b...)
	x.in.sincePause += len(b)
	x.in.gotEnd = end
}

func (x *side) OnTrailers(h *header.List) {
	x.in.gotTrail = string(h.GetName("x-sum"))
	x.in.gotEnd = true
}
func (x *side) OnReset(codec.Reset) { x.in.reset = true }
func (x *side) OnWritable()         { x.out.writable = true }

// world is a client and a server of ours with requests between them.
type world struct {
	t      *rapid.T
	lim    codec.Limits
	ct, st memory
	c      *ClientConn
	s      *ServerConn
	client []*side
	server map[string]*side
	plan   map[string]*side
}

func (w *world) Accept(s codec.Stream) codec.Receiver { return &newcomer{w: w, s: s} }

// newcomer learns from the head which exchange it is and hands over.
type newcomer struct {
	*side
	w *world
	s codec.Stream
}

func (n *newcomer) OnHeaders(h *header.List, end bool) {
	n.side = n.w.plan[string(h.GetName("x-key"))]
	n.side.s = n.s
	n.w.server[string(h.GetName("x-key"))] = n.side
	n.side.OnHeaders(h, end)
}

func newWorld(t *rapid.T) *world {
	lim := codec.Limits{
		MaxConcurrentStreams: rapid.IntRange(1, 6).Draw(t, "streams"),
		StreamWindow:         rapid.SampledFrom([]int{100, 5000, 65535, 200000}).Draw(t, "stream window"),
		ConnWindow:           rapid.SampledFrom([]int{65535, 100000, 1 << 20}).Draw(t, "connection window"),
		HighWater:            rapid.SampledFrom([]int{1, 1000, 40000, 1 << 20}).Draw(t, "high"),
	}
	lim.LowWater = lim.HighWater / 2
	if lim.LowWater == 0 {
		lim.LowWater = 1
	}
	w := &world{t: t, lim: lim, server: map[string]*side{}, plan: map[string]*side{}}
	size := rapid.SampledFrom([]int{0, 16384, 20000, 1 << 20}).Draw(t, "frame size")
	w.c = NewClient(&w.ct, lim, Options{MaxFrameSize: size})
	w.s = NewServer(&w.st, w, lim, Options{MaxFrameSize: size})
	return w
}

func body(t *rapid.T) *half {
	n := rapid.SampledFrom([]int{0, 1, 300, 10000, 90000}).Draw(t, "size")
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i>>8)
	}
	return &half{body: b, trailers: rapid.Bool().Draw(t, "trailers"), writable: true}
}

func (w *world) open() {
	if w.c.CanOpen() == 0 {
		return
	}
	request, response := body(w.t), body(w.t)
	x := &side{w: w, out: request, in: response}
	key := strconv.Itoa(len(w.client))
	s, err := w.c.Open(x)
	if err != nil {
		w.t.Fatal(err)
	}
	x.s = s
	w.client = append(w.client, x)
	w.plan[key] = &side{w: w, out: response, in: request}
	request.headSent = true
	request.ended = len(request.body) == 0 && !request.trailers
	s.SendHeaders(list(":method", "POST", ":scheme", "http", ":authority", "svc", ":path", "/", "x-key", key), request.ended)
}

// send lets one end send its next piece, as far as the marks let it.
func (x *side) send(n int) {
	h := x.out
	if x.s == nil || h.ended || x.in.reset || h.reset {
		return
	}
	if !h.headSent { // a response
		h.headSent = true
		h.ended = len(h.body) == 0 && !h.trailers
		x.s.SendHeaders(list(":status", "200"), h.ended)
		return
	}
	if !h.writable {
		return
	}
	n = min(n, len(h.body)-h.sent)
	piece := h.body[h.sent : h.sent+n]
	h.sent += n
	last := h.sent == len(h.body)
	switch {
	case last && h.trailers:
		h.ended = true
		x.s.SendData(piece, false)
		x.s.SendTrailers(list("x-sum", strconv.Itoa(len(h.body))))
	default:
		h.ended = last
		x.s.SendData(piece, last)
	}
	if !h.ended {
		buffered := x.s.Buffered()
		if buffered > x.w.lim.HighWater+n {
			x.w.t.Fatalf("%d bytes are held, the high mark is %d", buffered, x.w.lim.HighWater)
		}
		h.writable = buffered <= x.w.lim.HighWater
	}
}

// carry moves up to n bytes from one end's transport to the other's codec.
func (w *world) carry(from *memory, sender, receiver codec.Conn, n int) {
	n = min(n, len(from.out))
	b := bytes.Clone(from.out[:n])
	used, err := receiver.Feed(b)
	if err != nil {
		w.t.Fatal(err)
	}
	from.out = append(from.out[:0], from.out[used:]...) // the rest if reading is paused
	if len(from.out) <= w.lim.LowWater {
		sender.Writable()
	}
	if bound := 3*w.lim.HighWater + 1<<20; len(from.out) > bound {
		w.t.Fatalf("%d bytes in a transport", len(from.out))
	}
}

func (w *world) sides() []*side {
	all := append([]*side(nil), w.client...)
	for i := range w.client {
		if x := w.server[strconv.Itoa(i)]; x != nil {
			all = append(all, x)
		}
	}
	return all
}

func (w *world) step() {
	all := w.sides()
	x := (*side)(nil)
	if len(all) > 0 {
		x = all[rapid.IntRange(0, len(all)-1).Draw(w.t, "side")]
	}
	n := rapid.SampledFrom([]int{1, 9, 1000, 16384, 1 << 20}).Draw(w.t, "n")
	switch rapid.IntRange(0, 7).Draw(w.t, "step") {
	case 0:
		w.open()
	case 1, 2:
		if x != nil {
			x.send(n)
		}
	case 3, 4:
		w.carry(&w.ct, w.c, w.s, n)
	case 5, 6:
		w.carry(&w.st, w.s, w.c, n)
	case 7:
		w.pause(x)
	}
}

func (w *world) pause(x *side) {
	if x == nil || x.over() {
		return
	}
	if x.in.paused = !x.in.paused; x.in.paused {
		x.in.sincePause = 0
		x.s.PauseRead()
		return
	}
	if bound := max(w.lim.StreamWindow, defaultWindow); x.in.sincePause > bound {
		w.t.Fatalf("%d bytes came to a paused stream", x.in.sincePause)
	}
	x.s.ResumeRead()
}

// over reports that the stream must not be used any more.
func (x *side) over() bool { return x.in.reset || x.in.gotEnd && x.out.ended }

// finish resumes and sends all, and carries until nothing moves.
func (w *world) finish() {
	for range 100000 {
		for _, x := range w.sides() {
			if x.in.paused && !x.over() {
				w.pause(x)
			}
			x.send(1 << 20)
		}
		if len(w.ct.out)+len(w.st.out) == 0 {
			busy := false
			for _, x := range w.sides() {
				busy = busy || !x.out.ended
			}
			if !busy {
				return
			}
		}
		w.carry(&w.ct, w.c, w.s, 1<<20)
		w.carry(&w.st, w.s, w.c, 1<<20)
		w.c.Writable()
		w.s.Writable()
	}
	w.t.Fatal("the exchanges do not end")
}

// TestRandomExchanges: whatever the windows, marks, pieces and pauses, every
// body and trailer arrives, nothing blocks for ever and buffers are bounded.
func TestRandomExchanges(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		for range rapid.IntRange(1, 150).Draw(t, "steps") {
			w.step()
		}
		w.finish()
		for i, x := range w.client {
			y := w.server[strconv.Itoa(i)]
			if y == nil {
				t.Fatalf("request %d did not arrive", i)
				return
			}
			for name, h := range map[string]*half{"request": x.out, "response": y.out} {
				if h.reset || !h.gotEnd || !bytes.Equal(h.got, h.body) {
					t.Fatalf("%s %d: %d of %d bytes, ended %v, reset %v", name, i, len(h.got), len(h.body), h.gotEnd, h.reset)
				}
				if want := strconv.Itoa(len(h.body)); h.trailers && h.gotTrail != want {
					t.Fatalf("%s %d: trailer %q, want %q", name, i, h.gotTrail, want)
				}
			}
		}
		if w.c.Streams()+w.s.Streams() != 0 {
			t.Fatalf("%d and %d streams are left open", w.c.Streams(), w.s.Streams())
		}
	})
}
