package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/meshctl/meshctl/internal/proxy/codec"
	"github.com/meshctl/meshctl/internal/proxy/engine"
	"github.com/meshctl/meshctl/internal/proxy/h2"
	"github.com/meshctl/meshctl/internal/proxy/tlsconn"
)

// loadTask is one measurement: what to send where, and whose processor time to read.
type loadTask struct {
	Kind    string // h1, h2, grpc, stream (gRPC, both ways), tcp
	Addr    string
	Path    string
	Answer  int // bytes of an answer's body (tcp: of an answer)
	Upload  int // bytes of a request's body
	Conns   int
	Streams int     // at once on a connection
	Rate    float64 // requests per second over all; 0: the next one when the last is answered
	TLS     bool
	Once    bool // a connection for each request
	Keys    pki
	PID     int // of the proxy
	Warm    time.Duration
	Window  time.Duration
}

func (t *loadTask) grpc() bool { return t.Kind == "grpc" || t.Kind == "stream" }

// loadResult is what happened in the window.
type loadResult struct {
	Answers  uint64
	Errors   uint64
	First    string // the first error
	Unsent   int    // requests that were due but never sent
	Elapsed  time.Duration
	Usage    usage // of the proxy
	P50, P99 time.Duration
}

// loader sends the load: one worker, everything on it.
type loader struct {
	t    loadTask
	w    *engine.Worker
	addr netip.AddrPort
	tls  *tlsconn.ClientConfig
	pool *h2.Pool
	idle []slot // ready to send, in the paced mode

	measuring bool
	ending    bool
	began     time.Time
	sent      int64 // of the paced mode
	pace      engine.Timer
	res       loadResult
	times     []time.Duration
}

// slot sends one request at a time.
type slot interface{ send(due time.Time) }

// runLoad is the role.
func runLoad(t loadTask) error {
	l := &loader{t: t, pool: h2.NewPool(), times: make([]time.Duration, 0, 1<<20)}
	var err error
	if l.addr, err = netip.ParseAddrPort(t.Addr); err != nil {
		return err
	}
	if t.TLS {
		alpn := tlsconn.ALPNHTTP11
		if t.Kind == "h2" || t.grpc() {
			alpn = tlsconn.ALPNH2
		}
		common, err := t.Keys.common("client", alpn)
		if err != nil {
			return err
		}
		if l.tls, err = tlsconn.NewClientConfig(tlsconn.ClientOptions{Common: common, ServerName: "proxy"}); err != nil {
			return err
		}
	}
	e, err := engine.New(engine.Options{Workers: 1, HighWater: 4 * mib})
	if err != nil {
		return err
	}
	l.w = e.Workers()[0]
	e.Start()
	l.on(l.begin)
	time.Sleep(t.Warm)
	before, err := readUsage(t.PID)
	if err != nil {
		return err
	}
	l.on(func() { l.measuring, l.began, l.sent = true, time.Now(), 0 })
	time.Sleep(t.Window)
	after, err := readUsage(t.PID)
	if err != nil {
		return err
	}
	l.on(func() {
		l.res.Elapsed, l.measuring, l.ending = time.Since(l.began), false, true
		if t.Rate > 0 {
			l.res.Unsent = max(0, int(t.Rate*t.Window.Seconds())-int(l.res.Answers)-t.Conns*max(t.Streams, 1))
		}
	})
	l.res.Usage = after.minus(before)
	slices.Sort(l.times)
	if n := len(l.times); n > 0 {
		l.res.P50, l.res.P99 = l.times[n/2], l.times[n*99/100]
	}
	if err := answer(l.res); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	return e.Close(ctx)
}

// on runs fn on the worker and waits for it.
func (l *loader) on(fn func()) {
	done := make(chan struct{})
	l.w.Post(func() { fn(); close(done) })
	<-done
}

func (l *loader) begin() {
	l.began = time.Now()
	for range l.t.Conns {
		switch l.t.Kind {
		case "h2", "grpc", "stream":
			newH2Client(l)
		case "tcp":
			newTCPClient(l)
		default:
			newH1Client(l)
		}
	}
	if l.t.Rate > 0 {
		l.pace.Fn = l.paced
		l.w.StartTimer(&l.pace, time.Millisecond)
	}
}

func (l *loader) dial(h engine.Handler) *engine.Conn {
	return l.w.Dial(engine.DialOptions{Addr: l.addr, TLS: l.tls, Timeout: 10 * time.Second}, h)
}

// ready takes a slot that may send: at once without a rate.
func (l *loader) ready(s slot) {
	switch {
	case l.ending:
	case l.t.Rate > 0:
		l.idle = append(l.idle, s)
	default:
		s.send(time.Now())
	}
}

// paced sends what is due by the clock, whatever has been answered; a request for
// which no slot is free waits, and its time runs.
func (l *loader) paced() {
	if l.ending {
		return
	}
	due := int64(time.Since(l.began).Seconds() * l.t.Rate)
	for l.sent < due && len(l.idle) > 0 {
		s := l.idle[0]
		l.idle = slices.Delete(l.idle, 0, 1)
		l.sent++
		s.send(l.began.Add(time.Duration(float64(l.sent) / l.t.Rate * float64(time.Second))))
	}
	l.w.StartTimer(&l.pace, time.Millisecond)
}

func (l *loader) answered(due time.Time) {
	if !l.measuring {
		return
	}
	l.res.Answers++
	if len(l.times) < cap(l.times) {
		l.times = append(l.times, time.Since(due))
	}
}

func (l *loader) failed(err error) {
	if l.ending || errors.Is(err, engine.ErrClosed) {
		return
	}
	l.res.Errors++
	if l.res.First == "" {
		l.res.First = fmt.Sprint(err)
	}
}

// feed gives bytes to a codec and ends the connection when it is broken.
func feed(c *engine.Conn, to codec.Conn, b []byte, failed func(error)) int {
	n, err := to.Feed(b)
	if err != nil {
		failed(err)
		c.Close(err)
		return len(b)
	}
	return n
}
