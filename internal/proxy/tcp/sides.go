package tcp

import (
	"github.com/meshctl/meshctl/internal/proxy/engine"
	"github.com/meshctl/meshctl/internal/proxy/flow"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
	"github.com/meshctl/meshctl/internal/proxy/tlsconn"
)

// announced reports whether metadata exchange is configured and both sides
// agreed on it.
func announced(filters []snapshot.NetworkFilter, t *tlsconn.Info) bool {
	if t == nil || t.ALPN == "" {
		return false
	}
	for i := range filters {
		if m, ok := filters[i].Config.(*snapshot.MetadataExchange); ok && t.ALPN == m.Protocol {
			return true
		}
	}
	return false
}

// takeMeta takes a metadata message off the front of a stream. more: wait.
func (r *relay) takeMeta(b []byte, peer **flow.Peer) (n int, more bool) {
	p, n, more, err := readExchange(b)
	if err != nil {
		r.rec.Details = err.Error()
		r.end(endExchange)
		return len(b), true
	}
	if n > 0 {
		*peer = p
	}
	return n, more
}

// clientSide handles the client's connection.
type clientSide struct{ r *relay }

// OnConnected implements engine.Handler; it does not come for accepted connections.
func (s *clientSide) OnConnected() {}

// OnData implements engine.Handler.
func (s *clientSide) OnData(b []byte) int {
	r := s.r
	if r.over || r.up == nil {
		return len(b)
	}
	used := 0
	if r.downMeta {
		n, more := r.takeMeta(b, &r.rec.DownstreamPeer)
		if more {
			return n
		}
		r.downMeta, r.info.Peer = false, r.rec.DownstreamPeer
		if used = n; used == len(b) {
			return used
		}
	}
	r.rec.BytesReceived += uint64(len(b) - used)
	r.forward(r.down, r.up, b[used:])
	return len(b)
}

// Sink implements engine.Relay.
func (s *clientSide) Sink() *engine.Conn {
	if r := s.r; r.connected && !r.over && !r.downMeta {
		return r.up
	}
	return nil
}

// Relayed implements engine.Relay.
func (s *clientSide) Relayed(n int) {
	r := s.r
	r.rec.BytesReceived += uint64(n)
	r.relayed(r.down, r.up)
}

// OnEOF implements engine.Handler.
func (s *clientSide) OnEOF() {
	r := s.r
	if r.downMeta {
		// What was kept for the rest of a message is payload after all.
		r.downMeta = false
		r.down.SetHandler(s)
		return
	}
	if r.up != nil {
		r.up.CloseWrite()
	}
}

// OnWritable implements engine.Handler.
func (s *clientSide) OnWritable() {
	if s.r.up != nil {
		s.r.up.ResumeRead()
	}
}

// OnClose implements engine.Handler.
func (s *clientSide) OnClose(err error) { s.r.clientEnded(err) }

// serverSide handles the endpoint's connection.
type serverSide struct{ r *relay }

// OnConnected implements engine.Handler.
func (s *serverSide) OnConnected() { s.r.opened() }

// OnData implements engine.Handler.
func (s *serverSide) OnData(b []byte) int {
	r := s.r
	if r.over {
		return len(b)
	}
	if r.hold() {
		return 0
	}
	if r.rec.UpstreamFirstRx == 0 {
		r.rec.UpstreamFirstRx = r.p.w.Now().Sub(r.rec.Start)
	}
	used := 0
	if r.upMeta {
		n, more := r.takeMeta(b, &r.rec.UpstreamPeer)
		if more {
			return n
		}
		r.upMeta = false
		if used = n; used == len(b) {
			return used
		}
	}
	r.rec.BytesSent += uint64(len(b) - used)
	r.forward(r.up, r.down, b[used:])
	return len(b)
}

// Sink implements engine.Relay.
func (s *serverSide) Sink() *engine.Conn {
	if r := s.r; r.spoke == nil && !r.over && !r.upMeta {
		return r.down
	}
	return nil
}

// Relayed implements engine.Relay. It does not come before OnData has.
func (s *serverSide) Relayed(n int) {
	r := s.r
	r.rec.BytesSent += uint64(n)
	r.relayed(r.up, r.down)
}

// OnEOF implements engine.Handler.
func (s *serverSide) OnEOF() {
	r := s.r
	if r.hold() {
		r.up.SetHandler(r.up.Handler()) // to be told again
		return
	}
	if r.upMeta {
		r.upMeta = false
		r.up.SetHandler(r.up.Handler())
		return
	}
	r.down.CloseWrite()
}

// OnWritable implements engine.Handler.
func (s *serverSide) OnWritable() { s.r.down.ResumeRead() }

// OnClose implements engine.Handler.
func (s *serverSide) OnClose(err error) { s.r.serverEnded(err) }

var (
	_ engine.Handler = (*clientSide)(nil)
	_ engine.Handler = (*serverSide)(nil)
	_ engine.Relay   = (*clientSide)(nil)
	_ engine.Relay   = (*serverSide)(nil)
)
