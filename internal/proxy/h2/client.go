package h2

import "github.com/meshctl/meshctl/internal/proxy/codec"

// assumedStreams is how many streams are opened before the peer has said how
// many it takes (RFC 9113 §6.5.2 recommends at least 100).
const assumedStreams = 100

// ClientConn sends requests and decodes responses. Use NewClient.
type ClientConn struct{ conn }

// NewClient starts the client's side of a connection: preface and settings are
// queued at once.
func NewClient(t codec.Transport, lim codec.Limits, opt Options) *ClientConn {
	c := &ClientConn{}
	c.init(t, lim, opt)
	c.client = true
	c.peerMax = assumedStreams
	buf := c.t.Buffer()
	*buf = append(*buf, Preface...)
	c.writeSettings()
	return c
}

// Open starts a request. It has no number, and the peer knows nothing of it,
// until SendHeaders.
func (c *ClientConn) Open(r codec.Receiver) (codec.Stream, error) {
	if c.CanOpen() <= 0 {
		return nil, codec.ErrStreams
	}
	s := c.newStream(0)
	s.recv = r
	c.opening.push(s)
	return s, nil
}

// CanOpen is the number of further streams that may be opened now.
func (c *ClientConn) CanOpen() int {
	if c.err != nil || c.dead || c.draining || c.peerGoAway {
		return 0
	}
	left := (maxStreamID - int(c.lastID)) / 2
	return max(0, min(min(c.peerMax, c.lim.MaxConcurrentStreams)-c.open, left))
}

// ConnectProtocol reports whether the server takes extended CONNECT (RFC 8441).
func (c *ClientConn) ConnectProtocol() bool { return c.peerConnect }

var _ codec.ClientConn = (*ClientConn)(nil)
