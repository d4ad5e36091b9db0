package engine

import (
	"golang.org/x/sys/unix"

	"github.com/meshctl/meshctl/internal/proxy/netio"
)

// Relay may be implemented by a Handler that writes to another connection what it
// is offered. Of a bulk transfer between two plain connections the bytes then stay
// in the kernel.
type Relay interface {
	// Sink is the connection to which OnData would write all of what comes next; nil
	// if it has other things in mind.
	Sink() *Conn
	// Relayed tells that n bytes went, or are queued, to the sink, in OnData's place.
	Relayed(n int)
}

// minSplice is the least high mark of a sink that is worth it.
const minSplice = 64 << 10

// errNoSplice tells that the kernel does not splice; from then on all is copied.
const errNoSplice = unix.ENOSYS

// relayTo is the relay and its sink if what comes next can be spliced. It can once
// reads are full, which tells a bulk transfer, and while the sink takes all.
func (c *Conn) relayTo() (Relay, *Conn) {
	if c.readSize < maxRead || c.w.pipe == nil || c.tls != nil || c.unix || c.state != open || c.closing || len(c.kept) > c.keptOff {
		return nil, nil
	}
	r, ok := c.handler.(Relay)
	if !ok {
		return nil, nil
	}
	s := r.Sink()
	if s == nil || s.w != c.w || s.tls != nil || s.unix || s.state != open || s.blocked || s.wantFIN || s.writeErr != nil ||
		len(s.out) > s.outOff || s.high < minSplice {
		return nil, nil
	}
	return r, s
}

// splice moves what the kernel has to the sink. Its outcome is that of a read: n is
// how much came.
func (c *Conn) splice(r Relay, s *Conn) (n int, errno unix.Errno) {
	p := c.w.pipe
	n, errno = p.Fill(int(c.fd), min(int(s.high), netio.PipeSize))
	switch errno {
	case 0:
	case unix.EINVAL, unix.EPERM, unix.ENOSYS:
		c.w.dropPipe()
		return 0, errNoSplice
	}
	if n == 0 {
		return 0, errno
	}
	c.BytesIn += uint64(n)
	c.adapt(n, maxRead)
	for left := n; left > 0; {
		// An error is left for flush to find, which gets the rest.
		k, _ := p.Drain(int(s.fd), left)
		s.BytesOut += uint64(k)
		if left -= k; k == 0 {
			c.spill(s, left)
			break
		}
	}
	r.Relayed(n)
	return n, 0
}

// spill queues what is left in the pipe for a sink that takes no more.
func (c *Conn) spill(s *Conn, left int) {
	for left > 0 {
		k, errno := c.w.pipe.Take(c.w.scratch[:min(left, len(c.w.scratch))])
		if errno != 0 || k == 0 { // it is ours alone and known to hold this much
			c.w.log.Error("pipe lost bytes", "left", left, "errno", errno)
			c.w.dropPipe()
			s.Close(ErrHandler)
			return
		}
		s.queue(c.w.scratch[:k])
		left -= k
	}
	s.markDirty()
	if s.Buffered() > int(s.high) {
		s.above = true
	}
}

func (w *Worker) dropPipe() {
	if w.pipe != nil {
		w.pipe.Close()
		w.pipe = nil
	}
}
