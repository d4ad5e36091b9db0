package engine

import (
	"bytes"
	"crypto/sha256"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
)

// spliced is one direction of a relay, as package tcp has it.
type spliced struct {
	from, to *Conn
	count    *spliceCount
}

type spliceCount struct{ read, relayed atomic.Int64 }

func (s *spliced) OnConnected() { s.to.ResumeRead() }

func (s *spliced) OnData(b []byte) int {
	s.count.read.Add(int64(len(b)))
	s.to.Write(b)
	s.hold()
	return len(b)
}

func (s *spliced) Sink() *Conn { return s.to }

func (s *spliced) Relayed(n int) {
	s.count.relayed.Add(int64(n))
	s.hold()
}

func (s *spliced) hold() {
	if s.to.Buffered() > int(s.to.high) {
		s.from.PauseRead()
	}
}

func (s *spliced) OnEOF()        { s.to.CloseWrite() }
func (s *spliced) OnWritable()   { s.to.ResumeRead() }
func (s *spliced) OnClose(error) { s.to.CloseAfterFlush() }

// relayListener relays each connection to addr.
func relayListener(tb testing.TB, e *Engine, addr netip.AddrPort) (netip.AddrPort, *spliceCount) {
	tb.Helper()
	count := &spliceCount{}
	return listen(tb, e, func(c *Conn) {
		up, down := &spliced{to: c, count: count}, &spliced{from: c, count: count}
		down.to = c.Worker().Dial(DialOptions{Addr: addr}, up)
		up.from = down.to
		c.SetHandler(down)
		c.PauseRead()
	}), count
}

// bulk is bytes that do not repeat, and their digest. They are made before, so that
// the sender is faster than the relay and its reads are full.
func bulk(n int) (b, sum []byte) {
	b = make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{7}).Read(b)
	h := sha256.Sum256(b)
	return b, h[:]
}

func digest(r io.Reader) ([]byte, error) {
	h := sha256.New()
	_, err := io.Copy(h, r)
	return h.Sum(nil), err
}

// A bulk transfer stays in the kernel and arrives whole: to a peer that reads, to
// one that reads in fits, and after one that went away in the middle has left
// bytes in the worker's pipe.
func TestSplice(t *testing.T) {
	t.Parallel()
	data, want := bulk(24 << 20)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	e := startEngine(t, Options{Workers: 1})
	addr, count := relayListener(t, e, netip.MustParseAddrPort(l.Addr().String()))
	for _, reader := range []string{"eager", "leaves", "fitful", "eager"} {
		client := dialTCP(t, addr)
		server, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		sent := make(chan struct{})
		go func() {
			_, _ = server.Write(data)
			_ = server.Close()
			close(sent)
		}()
		switch reader {
		case "leaves": // and its reset leaves bytes on the way
			_, _ = io.CopyN(io.Discard, client, int64(len(data)/2))
			_ = client.SetLinger(0)
			_ = client.Close()
			<-sent
			continue
		case "fitful":
			_ = client.SetReadBuffer(64 << 10) // so that it takes little at a time
		}
		got, err := digest(client)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: the stream was damaged, %v", reader, err)
		}
		_ = client.Close()
		<-sent
	}
	if count.relayed.Load() == 0 {
		t.Errorf("nothing was spliced, %d bytes were read", count.read.Load())
	}
}

// A sink that takes little gets what is left in the pipe through memory, in order.
func TestSpliceSpills(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	e := startEngine(t, Options{Workers: 1})
	addr, count := relayListener(t, e, netip.MustParseAddrPort(l.Addr().String()))
	client := dialTCP(t, addr)
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	data, want := bulk(48 << 20)
	go func() {
		_, _ = server.Write(data)
		_ = server.Close()
	}()
	h, slow := sha256.New(), make([]byte, 300<<10)
	spilled := false
	for {
		n, err := client.Read(slow)
		h.Write(slow[:n])
		on(e.Workers()[0], func() { // every read waits for a turn of the relay
			for i := range e.Workers()[0].slots {
				if c := e.Workers()[0].slots[i].conn; c != nil && c.Buffered() > 0 {
					spilled = true
				}
			}
		})
		if err != nil {
			break
		}
	}
	if !bytes.Equal(h.Sum(nil), want) {
		t.Error("the stream was damaged")
	}
	if count.relayed.Load() == 0 || !spilled {
		t.Errorf("%d bytes were spliced, something waited: %t", count.relayed.Load(), spilled)
	}
}
