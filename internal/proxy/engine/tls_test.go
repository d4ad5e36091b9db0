package engine

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/meshctl/meshctl/internal/proxy/tlsconn"
	"github.com/meshctl/meshctl/internal/proxy/tlsconn/tlstest"
)

const (
	serverID = "spiffe://td/ns/a/sa/server"
	clientID = "spiffe://td/ns/a/sa/client"
)

// pki is a mesh's keys and the configurations made of them.
type pki struct {
	ca             *tlstest.CA
	server, client *tls.Certificate
	serverCerts    tlsconn.CertStore
	clientCerts    tlsconn.CertStore
	trust          tlsconn.TrustStore
	serverConfig   *tlsconn.ServerConfig
	clientConfig   *tlsconn.ClientConfig
}

func newPKI(tb testing.TB) *pki {
	tb.Helper()
	p := &pki{ca: tlstest.New(tb)}
	p.server = p.ca.Issue(tb, tlstest.Leaf{URIs: []string{serverID}, DNS: []string{"server.test"}})
	p.client = p.ca.Issue(tb, tlstest.Leaf{URIs: []string{clientID}})
	p.serverCerts.Set(p.server)
	p.clientCerts.Set(p.client)
	p.trust.Set(tlsconn.NewTrust([]*x509.Certificate{p.ca.Cert}))
	var err error
	p.serverConfig, err = tlsconn.NewServerConfig(tlsconn.ServerOptions{
		Common:     tlsconn.Common{Certificates: &p.serverCerts, Trust: &p.trust, Peer: tlsconn.PeerRules{SPIFFE: true}, ALPN: []string{"istio"}},
		ClientCert: tlsconn.ClientCertRequired,
	})
	if err != nil {
		tb.Fatal(err)
	}
	p.clientConfig, err = tlsconn.NewClientConfig(tlsconn.ClientOptions{
		Common: tlsconn.Common{Certificates: &p.clientCerts, Trust: &p.trust, Peer: tlsconn.PeerRules{
			SPIFFE: true, SANs: []tlsconn.SANMatcher{{Kind: tlsconn.SANURI, Exact: serverID}},
		}, ALPN: []string{"istio"}},
		ServerName: "server.test",
	})
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

// stdClient is the standard library's side.
func (p *pki) stdClient() *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{*p.client}, RootCAs: p.ca.Pool(), ServerName: "server.test", NextProtos: []string{"istio"}}
}

func (p *pki) stdServer() *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{*p.server}, ClientCAs: p.ca.Pool(), ClientAuth: tls.RequireAndVerifyClientCert, NextProtos: []string{"istio"}}
}

func (p *pki) echoTLS(c *Conn) {
	echoAccept(c)
	c.StartServerTLS(p.serverConfig, time.Minute, nil)
}

func dialTLS(tb testing.TB, addr netip.AddrPort, cfg *tls.Config) (*tls.Conn, error) {
	tb.Helper()
	c := tls.Client(dialTCP(tb, addr), cfg)
	return c, c.HandshakeContext(tb.Context())
}

func TestTLSServer(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	e := startEngine(t, Options{})
	addr := listen(t, e, p.echoTLS)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, size := range []int{0, 1, 1000, 100_000, 8 << 20} {
			cfg := p.stdClient()
			cfg.MaxVersion = version
			c, err := dialTLS(t, addr, cfg)
			if err != nil {
				t.Fatal(err)
			}
			if got := c.ConnectionState(); got.NegotiatedProtocol != "istio" || got.Version != version {
				t.Errorf("%+v", got)
			}
			want := make([]byte, size)
			_, _ = rand.Read(want)
			go func() { _, _ = c.Write(want); _ = c.CloseWrite() }()
			// ReadAll succeeds only with close_notify.
			if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, want) {
				t.Errorf("size %d: %d bytes, %v", size, len(got), err)
			}
		}
	}
}

func TestTLSClient(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	e := startEngine(t, Options{Workers: 1})
	l, err := tls.Listen("tcp", "127.0.0.1:0", p.stdServer())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(c, c)
				_ = c.(*tls.Conn).CloseWrite()
				_, _ = io.Copy(io.Discard, c)
				_ = c.Close()
			}()
		}
	}()
	addr := netip.MustParseAddrPort(l.Addr().String())
	for _, size := range []int{1, 1000, 5 << 20} {
		want := make([]byte, size)
		_, _ = rand.Read(want)
		got := make(chan []byte, 1)
		var b []byte
		d := dialOn(e, DialOptions{Addr: addr, TLS: p.clientConfig}, func(d *dialing) {
			d.data = func(p []byte) int { b = append(b, p...); return len(p) }
			d.eof = func() { got <- b }
		})
		on(d.c.Worker(), func() { d.c.Write(want); d.c.CloseWrite() }) // before it is up
		if b := within(t, got, "echo"); !bytes.Equal(b, want) {
			t.Errorf("size %d: %d bytes", size, len(b))
		}
		if err := within(t, d.closed, "OnClose"); err != nil {
			t.Errorf("closed with %v", err)
		}
		on(d.c.Worker(), func() {
			if i := d.c.TLS(); i == nil || i.ALPN != "istio" || i.PeerURISANs[0] != serverID {
				t.Errorf("%+v", i)
			}
			if d.c.BytesOut != uint64(size) || d.c.BytesIn != uint64(size) {
				t.Errorf("%d bytes in, %d out, of %d", d.c.BytesIn, d.c.BytesOut, size)
			}
		})
	}
}

// TLS begins after the first bytes were looked at, which go to it.
func TestTLSAfterSniffing(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	e := startEngine(t, Options{Workers: 1})
	outcome := make(chan error, 1)
	addr := listen(t, e, func(c *Conn) {
		var h hooks
		h.data = func(b []byte) int {
			if len(b) < 100 {
				return 0
			}
			c.SetHandler(&echo{c: c})
			c.StartServerTLS(p.serverConfig, time.Minute, func(err error) { outcome <- err })
			return 0
		}
		c.SetHandler(&h)
	})
	c, err := dialTLS(t, addr, p.stdClient())
	if err != nil {
		t.Fatal(err)
	}
	if err := within(t, outcome, "outcome"); err != nil {
		t.Error(err)
	}
	_, _ = c.Write([]byte("hello"))
	if _, err := io.ReadFull(c, make([]byte, 5)); err != nil {
		t.Error(err)
	}
}

func TestTLSServerFailures(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	e := startEngine(t, Options{Workers: 1, Linger: 10 * time.Millisecond})
	closed := make(chan error, 1)
	serve := func(timeout time.Duration) netip.AddrPort {
		return listen(t, e, func(c *Conn) {
			c.SetHandler(&hooks{closed: func(err error) { closed <- err }})
			c.StartServerTLS(p.serverConfig, timeout, nil)
		})
	}
	addr, hasty := serve(time.Minute), serve(50*time.Millisecond)
	for name, c := range map[string]struct {
		send   string
		close  bool
		reason tlsconn.Reason
	}{
		"plain HTTP":       {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", false, tlsconn.ReasonNotTLS},
		"silence":          {"", false, tlsconn.ReasonTimeout},
		"half a hello":     {"\x16\x03\x01\x02\x00\x01", false, tlsconn.ReasonTimeout},
		"closed":           {"", true, tlsconn.ReasonClosed},
		"record too large": {"\x16\x03\x01\xff\xff" + string(make([]byte, 70<<10)), false, tlsconn.ReasonProtocol},
	} {
		to := addr
		if c.reason == tlsconn.ReasonTimeout {
			to = hasty
		}
		conn := dialTCP(t, to)
		_, _ = conn.Write([]byte(c.send))
		if c.close {
			_ = conn.CloseWrite()
		}
		err := within(t, closed, "OnClose")
		var te *tlsconn.Error
		if !errors.As(err, &te) || te.Reason != c.reason {
			t.Errorf("%s: closed with %v", name, err)
		}
		_, _ = io.ReadAll(conn)
	}
	// A bad certificate: the client gets an alert, not a reset.
	cfg := p.stdClient()
	cfg.Certificates = nil
	c, err := dialTLS(t, addr, cfg)
	if err == nil {
		_, err = c.Read(make([]byte, 1))
	}
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != "remote error" {
		t.Errorf("the client got %v", err)
	}
	var te *tlsconn.Error
	if err := within(t, closed, "OnClose"); !errors.As(err, &te) || te.Reason != tlsconn.ReasonPeerMissing {
		t.Errorf("closed with %v", err)
	}
	// Cut off without close_notify.
	c, err = dialTLS(t, addr, p.stdClient())
	if err != nil {
		t.Fatal(err)
	}
	_, _ = c.Write([]byte("x"))
	_ = c.NetConn().(*net.TCPConn).CloseWrite()
	if err := within(t, closed, "OnClose"); !errors.Is(err, tlsconn.ErrTruncated) {
		t.Errorf("closed with %v", err)
	}
}

func TestTLSClientFailures(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	e := startEngine(t, Options{Workers: 1, Linger: 10 * time.Millisecond})
	plain := listen(t, e, func(c *Conn) {
		c.SetHandler(&hooks{})
		c.Write([]byte("220 not TLS\r\n"))
	})
	silent := listen(t, e, func(c *Conn) { c.SetHandler(&hooks{}) })
	deaf := listen(t, e, func(c *Conn) { c.SetHandler(&hooks{data: func([]byte) int { c.Abort(); return 0 }}) })
	stranger := p.stdServer()
	stranger.Certificates = []tls.Certificate{*tlstest.New(t).Issue(t, tlstest.Leaf{URIs: []string{serverID}})}
	l, err := tls.Listen("tcp", "127.0.0.1:0", stranger)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	go func() {
		if c, err := l.Accept(); err == nil {
			_, _ = io.Copy(io.Discard, c)
			_ = c.Close()
		}
	}()
	for name, c := range map[string]struct {
		addr   netip.AddrPort
		reason tlsconn.Reason
	}{
		"not TLS":           {plain, tlsconn.ReasonNotTLS},
		"silent":            {silent, tlsconn.ReasonTimeout},
		"reset":             {deaf, tlsconn.ReasonClosed},
		"unknown authority": {netip.MustParseAddrPort(l.Addr().String()), tlsconn.ReasonPeerUnknown},
	} {
		timeout := time.Minute
		if c.reason == tlsconn.ReasonTimeout {
			timeout = 50 * time.Millisecond
		}
		d := dialOn(e, DialOptions{Addr: c.addr, TLS: p.clientConfig, TLSTimeout: timeout}, nil)
		on(d.c.Worker(), func() { d.c.Write([]byte("secret")) })
		err := within(t, d.closed, "OnClose")
		var de *DialError
		var te *tlsconn.Error
		if !errors.As(err, &de) || de.Kind != DialTLS || !errors.As(err, &te) || te.Reason != c.reason {
			t.Errorf("%s: closed with %v", name, err)
		}
	}
}

// Nothing that is written is sent before the server has been verified.
func TestTLSNothingInTheClear(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	e := startEngine(t, Options{Workers: 1})
	var seen bytes.Buffer
	done := make(chan struct{})
	addr := listen(t, e, func(c *Conn) {
		c.SetHandler(&hooks{data: func(b []byte) int { seen.Write(b); return len(b) }, eof: func() { c.Close(nil) }, closed: func(error) { close(done) }})
	})
	d := dialOn(e, DialOptions{Addr: addr, TLS: p.clientConfig, TLSTimeout: 50 * time.Millisecond}, nil)
	on(d.c.Worker(), func() {
		d.c.Write([]byte("secret"))
		*d.c.Buffer() = append(*d.c.Buffer(), "secret"...)
		d.c.Write(bytes.Repeat([]byte("secret"), 10_000))
	})
	within(t, d.closed, "OnClose")
	within(t, done, "OnClose")
	if bytes.Contains(seen.Bytes(), []byte("secret")) {
		t.Error("the server saw it")
	}
}

// Certificates and roots change under traffic: open connections go on, new ones
// use the new ones, nothing fails.
func TestTLSRotation(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	e := startEngine(t, Options{Workers: 2})
	addr := listen(t, e, p.echoTLS)
	old, err := dialTLS(t, addr, p.stdClient())
	if err != nil {
		t.Fatal(err)
	}
	var rounds atomic.Int64
	ctx, stop := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	for range 3 {
		clients.Go(func() {
			for ctx.Err() == nil {
				up := make(chan error, 1)
				var c *Conn
				w := e.Workers()[0]
				w.Post(func() {
					c = w.Dial(DialOptions{Addr: addr, TLS: p.clientConfig}, &hooks{
						data:   func(b []byte) int { c.CloseAfterFlush(); up <- nil; return len(b) },
						closed: func(err error) { up <- err },
					})
					c.Write([]byte("ping"))
				})
				if err := <-up; err != nil {
					t.Error(err)
					return
				}
				rounds.Add(1)
			}
		})
	}
	// A new authority, as it is rolled out: both trusted, new certificates, old one gone.
	next := tlstest.New(t)
	wait := func() {
		for n := rounds.Load() + 20; rounds.Load() < n && !t.Failed(); {
			time.Sleep(time.Millisecond) //nolint:forbidigo // lets traffic pass; nothing is timed
		}
	}
	wait()
	p.trust.Set(tlsconn.NewTrust([]*x509.Certificate{p.ca.Cert, next.Cert}))
	wait()
	p.serverCerts.Set(next.Issue(t, tlstest.Leaf{URIs: []string{serverID}, DNS: []string{"server.test"}}))
	p.clientCerts.Set(next.Issue(t, tlstest.Leaf{URIs: []string{clientID}}))
	wait()
	p.trust.Set(tlsconn.NewTrust([]*x509.Certificate{next.Cert}))
	wait()
	stop()
	clients.Wait()
	if _, err := old.Write([]byte("still")); err != nil {
		t.Error(err)
	}
	if _, err := io.ReadFull(old, make([]byte, 5)); err != nil {
		t.Error("an open connection broke:", err)
	}
	cfg := p.stdClient()
	cfg.RootCAs = next.Pool()
	c, err := dialTLS(t, addr, cfg)
	if err == nil {
		_, err = c.Read(make([]byte, 1))
	}
	if err == nil {
		t.Error("a certificate of the old authority is still accepted")
	}
}

// A flood of handshakes is bounded; those within the bound succeed.
func TestTLSFlood(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	e := startEngine(t, Options{Workers: 1, Linger: 10 * time.Millisecond, Handshakes: tlsconn.PoolOptions{Running: 4, Waiting: 4}})
	ends := make(chan error, 20)
	addr := listen(t, e, func(c *Conn) {
		c.SetHandler(&hooks{closed: func(err error) { ends <- err }})
		c.StartServerTLS(p.serverConfig, time.Minute, nil)
	})
	hello := firstFlight(t, p.stdClient())
	var conns []*net.TCPConn
	for range 20 {
		c := dialTCP(t, addr)
		_, _ = c.Write(hello) // and then silence
		conns = append(conns, c)
	}
	for range 12 {
		if err := within(t, ends, "refusal"); !errors.Is(err, tlsconn.ErrOverload) {
			t.Errorf("closed with %v", err)
		}
	}
	for _, c := range conns {
		_ = c.Close()
	}
	for range 8 {
		var te *tlsconn.Error
		if err := within(t, ends, "end"); !errors.As(err, &te) || te.Reason != tlsconn.ReasonClosed {
			t.Errorf("closed with %v", err)
		}
	}
	if _, err := dialTLS(t, addr, p.stdClient()); err != nil {
		t.Errorf("after the flood: %v", err)
	}
}

// firstFlight is a ClientHello.
func firstFlight(tb testing.TB, cfg *tls.Config) []byte {
	tb.Helper()
	a, b := net.Pipe()
	go func() { _ = tls.Client(a, cfg).HandshakeContext(tb.Context()); _ = a.Close() }()
	buf := make([]byte, 16<<10)
	n, err := b.Read(buf)
	if err != nil {
		tb.Fatal(err)
	}
	_ = b.Close()
	return buf[:n]
}

// A TLS peer is held back while reading is paused, and OnEOF waits too.
func TestTLSPause(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	e := startEngine(t, Options{Workers: 1})
	got := make(chan int, 1)
	conns := make(chan *Conn, 1)
	addr := listen(t, e, func(c *Conn) {
		total := 0
		var resume Timer
		resume.Fn = c.ResumeRead
		c.SetHandler(&hooks{
			data: func(b []byte) int {
				n := min(len(b), 3000)
				total += n
				if total/100_000 != (total-n)/100_000 {
					c.PauseRead()
					c.Worker().StartTimer(&resume, 0)
				} else if n < len(b) {
					c.SetHandler(c.Handler()) // the rest at once
				}
				return n
			},
			eof: func() { got <- total; c.Close(nil) },
		})
		c.StartServerTLS(p.serverConfig, time.Minute, nil)
		conns <- c
	})
	c, err := dialTLS(t, addr, p.stdClient())
	if err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = c.Write(make([]byte, 4<<20)); _ = c.CloseWrite() }()
	if n := within(t, got, "OnEOF"); n != 4<<20 {
		t.Errorf("%d bytes before the end", n)
	}
}

// After CloseAfterFlush no OnData comes, also for records that are already here.
func TestTLSCloseInTheMiddle(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	e := startEngine(t, Options{Workers: 1, Linger: 10 * time.Millisecond})
	var calls atomic.Int64
	closed := make(chan error, 1)
	addr := listen(t, e, func(c *Conn) {
		c.SetHandler(&hooks{data: func([]byte) int {
			calls.Add(1)
			c.Write([]byte("bye"))
			c.CloseAfterFlush()
			c.SetHandler(c.Handler())
			return 0
		}, closed: func(err error) { closed <- err }})
		c.StartServerTLS(p.serverConfig, time.Minute, nil)
	})
	c, err := dialTLS(t, addr, p.stdClient())
	if err != nil {
		t.Fatal(err)
	}
	_, _ = c.Write(make([]byte, 200_000))
	if b, err := io.ReadAll(c); string(b) != "bye" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	if err := within(t, closed, "OnClose"); err != nil || calls.Load() != 1 {
		t.Errorf("%d calls, closed with %v", calls.Load(), err)
	}
}

// A peer that asks for answers and takes none cannot fill our memory.
func TestTLSAnswersAreBounded(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	e := startEngine(t, Options{Workers: 1})
	closed := make(chan error, 1)
	conns := make(chan *Conn, 1)
	addr := listen(t, e, func(c *Conn) {
		c.SetHandler(&hooks{closed: func(err error) { closed <- err }})
		c.StartServerTLS(p.serverConfig, time.Minute, func(error) { conns <- c })
	})
	if _, err := dialTLS(t, addr, p.stdClient()); err != nil {
		t.Fatal(err)
	}
	c := within(t, conns, "connection")
	on(c.Worker(), func() {
		c.Write(make([]byte, 32<<20)) // more than the kernel takes
		for range maxAnswers / 30 {
			c.tls.Sealed(make([]byte, 39)) // what crypto/tls does on a key update
		}
	})
	if err := within(t, closed, "OnClose"); !errors.Is(err, errTLSFlood) {
		t.Errorf("closed with %v", err)
	}
}

// A session that is not used gives its ciphers back and goes on when it is used
// again; one that ends is forgotten.
func TestTLSRests(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	e := startEngine(t, Options{Workers: 1})
	addr := listen(t, e, p.echoTLS)
	c, err := dialTLS(t, addr, p.stdClient())
	if err != nil {
		t.Fatal(err)
	}
	w := e.Workers()[0]
	for range 2 {
		if _, err := c.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, make([]byte, 5)); err != nil {
			t.Fatal(err)
		}
		on(w, func() {
			if len(w.warm) != 1 || !w.cool.Active() {
				t.Errorf("%d sessions in use", len(w.warm))
			}
			w.coolDown()
			w.coolDown()
			if w.warm != nil {
				t.Errorf("%d sessions in use after a rest", len(w.warm))
			}
		})
	}
	_, _ = c.Write([]byte("hello"))
	_, _ = io.ReadFull(c, make([]byte, 5))
	_ = c.CloseWrite()
	if _, err := io.ReadAll(c); err != nil {
		t.Error(err)
	}
	on(w, func() {
		if len(w.warm) != 0 {
			t.Errorf("%d sessions in use after the end", len(w.warm))
		}
	})
}
