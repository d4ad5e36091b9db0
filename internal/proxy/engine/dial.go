package engine

import (
	"errors"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/meshctl/meshctl/internal/proxy/netio"
	"github.com/meshctl/meshctl/internal/proxy/tlsconn"
)

// DialOptions say where to connect, and how.
type DialOptions struct {
	Addr netip.AddrPort // the destination, or
	Unix string         // the path of a Unix socket (a leading @ is the abstract namespace)

	Source      netip.AddrPort // local address to connect from; port 0 lets the kernel choose; zero for any
	Transparent bool           // Source need not be an address of this host
	Mark        int            // SO_MARK; 0 means the engine's
	KeepAlive   netio.KeepAlive
	UserTimeout time.Duration // TCP_USER_TIMEOUT; 0 leaves the kernel's

	Timeout time.Duration // for TCP to come up, default 10 s

	TLS        *tlsconn.ClientConfig // start TLS when TCP is up
	ServerName string                // SNI; empty means TLS's own
	TLSTimeout time.Duration         // for the handshake, default Timeout
}

const defaultDialTimeout = 10 * time.Second

// dialState is what a connection remembers until it is up.
type dialState struct {
	addr       netip.AddrPort
	path       string
	tlsTimeout time.Duration
}

func (d *dialState) String() string {
	if d.path != "" {
		return "unix:" + d.path
	}
	return d.addr.String()
}

// Dial begins to connect and returns at once. h.OnConnected tells that the
// connection is up, h.OnClose with a *DialError that it is not to be, never
// before Dial has returned. What is written meanwhile is sent when it is up.
func (w *Worker) Dial(o DialOptions, h Handler) *Conn {
	c := w.newConn(-1, h, connecting)
	c.dialed, c.unix = true, o.Unix != ""
	c.dial = &dialState{addr: o.Addr, path: o.Unix, tlsTimeout: o.TLSTimeout}
	if o.TLS != nil {
		// From the beginning, so that nothing is queued to be sent in the clear.
		c.tls = &tlsLayer{c: c, session: tlsconn.NewClient(o.TLS, o.ServerName)}
	}
	if o.Timeout <= 0 {
		o.Timeout = defaultDialTimeout
	}
	if c.dial.tlsTimeout <= 0 {
		c.dial.tlsTimeout = o.Timeout
	}
	c.remote = o.Addr
	if err := w.startDial(c, o); err != nil {
		c.dialFailed(err)
		return c
	}
	c.timer.Fn = func() { c.dialFailed(unix.ETIMEDOUT) }
	w.StartTimer(&c.timer, o.Timeout)
	w.stats.dialed.Add(1)
	return c
}

func (w *Worker) startDial(c *Conn, o DialOptions) error {
	switch {
	case w.stopping:
		return ErrClosed
	case !w.engine.reserve():
		return ErrLimit
	}
	family := unix.AF_UNIX
	if !c.unix {
		family = netio.Family(o.Addr.Addr())
	}
	fd, errno := netio.Stream(family)
	if errno != 0 {
		w.engine.conns.Add(-1)
		return errno
	}
	c.fd = int32(fd) // from here on finish closes it and gives the reservation back
	if c.unix {
		if err := netio.ConnectUnix(fd, o.Unix); err != nil {
			return err
		}
		return c.attach()
	}
	if !o.Addr.IsValid() || o.Addr.Port() == 0 {
		return errors.New("no destination address and port given")
	}
	if o.Mark == 0 {
		o.Mark = w.engine.opts.Mark
	}
	if s := w.engine.opts.LoopbackSource; s.IsValid() && !o.Source.Addr().IsValid() && family == unix.AF_INET && o.Addr.Addr().Unmap().IsLoopback() {
		o.Source = netip.AddrPortFrom(s, 0)
	}
	so := netio.StreamOptions{Mark: o.Mark, KeepAlive: o.KeepAlive, UserTimeout: o.UserTimeout, Transparent: o.Transparent}
	if err := so.Apply(fd, family); err != nil {
		return err
	}
	if o.Source.Addr().IsValid() {
		if err := netio.BindSource(fd, o.Source); err != nil {
			return err
		}
	}
	if err := netio.Connect(fd, o.Addr); err != nil && !errors.Is(err, unix.EINPROGRESS) {
		return err
	}
	return c.attach()
}

// connected acts on the outcome of connecting and reports success.
func (c *Conn) connected() bool {
	if errno := netio.SocketError(int(c.fd)); errno != 0 {
		c.dialFailed(errno)
		return false
	}
	c.timer.Stop()
	c.state = open
	if c.tls != nil {
		c.beginHandshake(c.dial.tlsTimeout)
		return true
	}
	c.up()
	return c.state < dead
}

// up tells the handler of a dialed connection that it may begin.
func (c *Conn) up() {
	c.Established = c.w.now
	c.dial = nil
	if len(c.out) > 0 || len(c.plain) > 0 || c.wantFIN {
		c.markDirty()
	}
	c.handler.OnConnected()
}

// dialFailed ends a connection that did not come up.
func (c *Conn) dialFailed(err error) {
	kind := dialKind(err)
	if te := (*tlsconn.Error)(nil); errors.As(err, &te) {
		kind = DialTLS
	}
	c.Close(&DialError{Kind: kind, To: c.dial.String(), Err: err})
}

// reserve counts a new connection in, unless the limit is reached.
func (e *Engine) reserve() bool {
	n := e.conns.Add(1)
	if m := e.opts.MaxConns; m > 0 && n > int64(m) {
		e.conns.Add(-1)
		return false
	}
	return true
}
