package tlsconn

import (
	"testing"
	"time"
)

// Garbage at a TLS port ends the handshake with a reason and nothing else, in the
// clear or in the middle of a good one.
func FuzzServerInput(f *testing.F) {
	p := newParties(f)
	cfg := mustServer(f, p.serverOptions())
	pool := NewPool(PoolOptions{})
	client := &side{s: NewClient(mustClient(f, p.clientOptions()), "")}
	client.start(pool)
	<-client.wake
	hello := client.s.TakeOutput(nil)
	client.s.Abort(ErrAborted)
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"), uint16(0))
	f.Add(hello, uint16(1))
	f.Add([]byte{22, 3, 3, 0xff, 0xff, 0}, uint16(0))
	f.Add([]byte{22, 3, 1, 0x40, 0}, uint16(0))
	f.Add([]byte{23, 3, 3, 0, 1, 0}, uint16(len(hello)))
	f.Add([]byte{20, 3, 3, 0, 1, 1, 21, 3, 3, 0, 2, 2, 100}, uint16(len(hello)))
	f.Fuzz(func(t *testing.T, b []byte, good uint16) {
		s := NewServer(cfg)
		done := make(chan error, 1)
		s.Start(pool, nil, func() {}, func(err error) { done <- err })
		s.Feed(hello[:min(int(good), len(hello))])
		s.Feed(b)
		s.FeedEOF()
		select {
		case err := <-done:
			if reasonOf(err) == "" {
				t.Error("a handshake without a client certificate succeeded")
			}
		case <-time.After(20 * time.Second):
			t.Fatal("the handshake does not end")
		}
	})
}

// Garbage on an established session ends it with a reason.
func FuzzRecords(f *testing.F) {
	p := newParties(f)
	sc, cc := mustServer(f, p.serverOptions()), mustClient(f, p.clientOptions())
	f.Add([]byte{23, 3, 3, 0, 1, 0})
	f.Add([]byte{23, 3, 3, 0x41, 1})
	f.Add([]byte{22, 3, 3, 0, 4, 0, 0, 0, 0}) // a HelloRequest in the clear
	f.Add([]byte{21, 3, 3, 0, 2, 1, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		a, c := &side{s: NewServer(sc)}, &side{s: NewClient(cc, "")}
		if aerr, cerr := handshake(a, c, nil); aerr != nil || cerr != nil {
			t.Fatal(aerr, cerr)
		}
		a.take(b)
		if len(a.plain) > 0 {
			t.Errorf("%d bytes of plaintext from nothing", len(a.plain))
		}
		if a.readTo != nil && reasonOf(a.readTo) == "" {
			t.Errorf("no reason: %v", a.readTo)
		}
	})
}
