package h2

import "github.com/meshctl/meshctl/internal/proxy/codec"

// ServerConn decodes requests and sends responses. Use NewServer.
type ServerConn struct{ conn }

// NewServer starts the server's side of a connection: settings are queued at
// once. a is asked for a receiver for each request; if it returns nil, the
// request is refused.
func NewServer(t codec.Transport, a codec.Acceptor, lim codec.Limits, opt Options) *ServerConn {
	c := &ServerConn{}
	c.init(t, lim, opt)
	c.acceptor = a
	c.state = readPreface
	c.writeSettings()
	return c
}

var _ codec.ServerConn = (*ServerConn)(nil)
