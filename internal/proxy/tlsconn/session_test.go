package tlsconn

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/meshctl/meshctl/internal/proxy/tlsconn/tlstest"
)

const (
	serverID = "spiffe://td/ns/a/sa/server"
	clientID = "spiffe://td/ns/a/sa/client"
)

// parties are both sides of mutual TLS.
type parties struct {
	ca             *tlstest.CA
	server, client *tls.Certificate
}

func newParties(tb testing.TB) *parties {
	tb.Helper()
	ca := tlstest.New(tb)
	return &parties{
		ca:     ca,
		server: ca.Issue(tb, tlstest.Leaf{URIs: []string{serverID}, DNS: []string{"server.test"}}),
		client: ca.Issue(tb, tlstest.Leaf{URIs: []string{clientID}}),
	}
}

func certs(c ...*tls.Certificate) *CertStore {
	s := &CertStore{}
	s.Set(c...)
	return s
}

func trusting(ca *tlstest.CA) *TrustStore {
	s := &TrustStore{}
	s.Set(NewTrust([]*x509Certificate{ca.Cert}))
	return s
}

func (p *parties) serverOptions() ServerOptions {
	return ServerOptions{Common: Common{Certificates: certs(p.server), Trust: trusting(p.ca), Peer: PeerRules{SPIFFE: true}, ALPN: []string{"istio", "h2"}}, ClientCert: ClientCertRequired}
}

func (p *parties) clientOptions() ClientOptions {
	return ClientOptions{Common: Common{Certificates: certs(p.client), Trust: trusting(p.ca), Peer: PeerRules{SPIFFE: true, SANs: []SANMatcher{{Kind: SANURI, Exact: serverID}}}, ALPN: []string{"istio"}}, ServerName: "outbound_.80_._.server"}
}

// side drives one session without sockets, as a worker does.
type side struct {
	s      *Session
	mu     sync.Mutex
	wake   chan struct{}
	err    error
	done   bool
	up     bool
	out    []byte // to the peer
	plain  []byte // from the peer
	readTo error  // how the peer's stream ended
}

func (d *side) Sealed(b []byte) { d.out = append(d.out, b...) }

func (d *side) send(b []byte) (err error) {
	d.out, err = d.s.Encrypt(d.out, b)
	return err
}

func (d *side) start(p *Pool) {
	d.wake = make(chan struct{}, 1000)
	tell := func() {
		select {
		case d.wake <- struct{}{}:
		default:
		}
	}
	d.s.Start(p, d, tell, func(err error) {
		d.mu.Lock()
		d.done, d.err = true, err
		d.mu.Unlock()
		tell()
	})
}

// step takes what the handshake produced and reports whether it is over.
func (d *side) step() (over bool, err error) {
	d.mu.Lock()
	over, err = d.done, d.err
	d.mu.Unlock()
	if !d.up {
		d.out = d.s.TakeOutput(d.out)
	}
	if over && err == nil && !d.up {
		d.up = true
		d.s.Established()
		d.take(nil)
	}
	return over, err
}

// take gives the side ciphertext.
func (d *side) take(b []byte) {
	if !d.up {
		d.s.Feed(b)
		return
	}
	buf := make([]byte, 1000) // smaller than a record
	for more := true; more && d.readTo == nil; b = nil {
		var n int
		n, more, d.readTo = d.s.Decrypt(b, buf)
		d.plain = append(d.plain, buf[:n]...)
	}
}

// handshake connects two sides and returns their outcomes. cut says how many of n
// bytes to carry over next.
func handshake(a, b *side, cut func(n int) int) (aerr, berr error) {
	p := NewPool(PoolOptions{})
	a.start(p)
	b.start(p)
	deadline := time.After(20 * time.Second)
	for {
		aover, aerr := a.step()
		bover, berr := b.step()
		moved := carry(a, b, cut) || carry(b, a, cut)
		if aover && bover && !moved {
			return aerr, berr
		}
		if aover && aerr != nil && !moved {
			b.s.FeedEOF()
		}
		if bover && berr != nil && !moved {
			a.s.FeedEOF()
		}
		if !moved {
			select {
			case <-a.wake:
			case <-b.wake:
			case <-deadline:
				return errors.New("stuck"), errors.New("stuck")
			}
		}
	}
}

func carry(from, to *side, cut func(int) int) bool {
	if len(from.out) == 0 {
		return false
	}
	n := len(from.out)
	if cut != nil {
		n = min(max(cut(n), 1), n)
	}
	piece := bytes.Clone(from.out[:n])
	from.out = from.out[n:]
	to.take(piece)
	return true
}

func mustServer(tb testing.TB, o ServerOptions) *ServerConfig {
	tb.Helper()
	c, err := NewServerConfig(o)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

func mustClient(tb testing.TB, o ClientOptions) *ClientConfig {
	tb.Helper()
	c, err := NewClientConfig(o)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

// Whatever way the ciphertext is cut, the plaintext comes out the same, with
// close_notify told from a cut connection.
func TestChunking(t *testing.T) {
	t.Parallel()
	p := newParties(t)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		so, co := p.serverOptions(), p.clientOptions()
		so.MaxVersion = version
		sc, cc := mustServer(t, so), mustClient(t, co)
		rapid.Check(t, func(t *rapid.T) {
			sizes := rapid.SliceOfN(rapid.SampledFrom([]int{1, 3, 5, 100, 1500, 17000, 70000}), 1, 5).Draw(t, "cuts")
			i := 0
			cut := func(int) int { i++; return sizes[i%len(sizes)] }
			a, b := &side{s: NewServer(sc)}, &side{s: NewClient(cc, "")}
			if aerr, berr := handshake(a, b, cut); aerr != nil || berr != nil {
				t.Fatalf("server %v, client %v", aerr, berr)
			}
			msgs := rapid.SliceOfN(rapid.SampledFrom([]int{1, 1000, 16384, 16385, 100_000}), 1, 4).Draw(t, "messages")
			var want []byte
			for k, n := range msgs {
				m := bytes.Repeat([]byte{byte('a' + k)}, n)
				want = append(want, m...)
				if a.send(m) != nil || b.send(m) != nil {
					t.Fatal("cannot encrypt")
				}
			}
			a.out = a.s.CloseWrite(a.out)
			for carry(a, b, cut) || carry(b, a, cut) {
			}
			if !bytes.Equal(a.plain, want) || !bytes.Equal(b.plain, want) {
				t.Fatalf("server got %d, client %d of %d bytes", len(a.plain), len(b.plain), len(want))
			}
			if !errors.Is(b.readTo, io.EOF) || a.readTo != nil {
				t.Fatalf("client's stream ended with %v, server's with %v", b.readTo, a.readTo)
			}
			// The client may still send.
			if err := b.send([]byte("!")); err != nil {
				t.Fatal(err)
			}
			for carry(b, a, cut) {
			}
			if a.plain[len(a.plain)-1] != '!' {
				t.Fatal("nothing comes after the other half was closed")
			}
		})
	}
}

// The property of crypto/tls that TLS 1.2 rests on: a temporary error of the
// connection neither sticks nor loses the part of a record that has come.
func TestAgainKeepsState(t *testing.T) {
	t.Parallel()
	var ne net.Error
	if !errors.As(errAgain, &ne) || !ne.Temporary() { //nolint:staticcheck // it is what crypto/tls asks
		t.Fatal("errAgain is not temporary")
	}
	p := newParties(t)
	so := p.serverOptions()
	so.MaxVersion = tls.VersionTLS12 // else crypto/tls is not asked
	a, b := &side{s: NewServer(mustServer(t, so))}, &side{s: NewClient(mustClient(t, p.clientOptions()), "")}
	if aerr, berr := handshake(a, b, nil); aerr != nil || berr != nil {
		t.Fatal(aerr, berr)
	}
	if err := a.send([]byte("payload")); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	for i, c := range a.out {
		n, more, err := b.s.Decrypt([]byte{c}, buf)
		if more || err != nil || (n > 0) != (i == len(a.out)-1) {
			t.Fatalf("byte %d of %d: n %d, more %v, err %v", i, len(a.out), n, more, err)
		}
	}
}

// A peer's certificate is in memory once, however many connections it has.
func TestCertificateIsShared(t *testing.T) {
	t.Parallel()
	p := newParties(t)
	cfg := mustServer(t, p.serverOptions())
	var first *x509.Certificate
	for range 2 {
		a, b := &side{s: NewServer(cfg)}, &side{s: NewClient(mustClient(t, p.clientOptions()), "")}
		if aerr, berr := handshake(a, b, nil); aerr != nil || berr != nil {
			t.Fatal(aerr, berr)
		}
		got := a.s.info.PeerCertificate
		if first == nil {
			first = got
		}
		if got != first {
			t.Errorf("another copy of the certificate is kept")
		}
	}
}

// Info is what both sides know of each other.
func TestInfo(t *testing.T) {
	t.Parallel()
	p := newParties(t)
	so := p.serverOptions()
	a, b := &side{s: NewServer(mustServer(t, so))}, &side{s: NewClient(mustClient(t, p.clientOptions()), "")}
	if aerr, berr := handshake(a, b, nil); aerr != nil || berr != nil {
		t.Fatal(aerr, berr)
	}
	ai, bi := a.s.info, b.s.info
	if ai.ALPN != "istio" || ai.SNI != "outbound_.80_._.server" || ai.Version != "TLSv1.3" || ai.Cipher != "TLS_AES_128_GCM_SHA256" {
		t.Errorf("server: %+v", ai)
	}
	if !ai.PeerCertificatePresented || len(ai.PeerURISANs) != 1 || ai.PeerURISANs[0] != clientID || ai.Serial != "3" || len(ai.SHA256) != 64 {
		t.Errorf("server's peer: %+v", ai)
	}
	if len(bi.PeerURISANs) != 1 || bi.PeerURISANs[0] != serverID || len(bi.PeerDNSSANs) != 1 || bi.Issuer != "CN=test CA" {
		t.Errorf("client's peer: %+v", bi)
	}
	so = p.serverOptions()
	so.MaxVersion, so.CipherSuites = tls.VersionTLS12, []string{"[ECDHE-ECDSA-AES256-GCM-SHA384|ECDHE-RSA-AES256-GCM-SHA384]"}
	a, b = &side{s: NewServer(mustServer(t, so))}, &side{s: NewClient(mustClient(t, p.clientOptions()), "other.name")}
	if aerr, berr := handshake(a, b, nil); aerr != nil || berr != nil {
		t.Fatal(aerr, berr)
	}
	if i := a.s.info; i.Version != "TLSv1.2" || i.Cipher != "ECDHE-ECDSA-AES256-GCM-SHA384" || i.SNI != "other.name" {
		t.Errorf("TLS 1.2: %+v", i)
	}
}

func TestPoolBounds(t *testing.T) {
	t.Parallel()
	p := newParties(t)
	cc := mustClient(t, p.clientOptions())
	pool := NewPool(PoolOptions{Running: 1, Waiting: 1})
	start := func() (*Session, chan error) {
		s, done := NewClient(cc, ""), make(chan error, 1)
		s.Start(pool, nil, func() {}, func(err error) { done <- err })
		return s, done
	}
	first, firstDone := start()
	second, secondDone := start()
	_, thirdDone := start()
	if err := <-thirdDone; !errors.Is(err, ErrOverload) {
		t.Errorf("third: %v", err)
	}
	second.Abort(ErrTimeout) // while it waits for a place
	first.Abort(ErrAborted)
	if err := <-firstDone; !errors.Is(err, ErrAborted) {
		t.Errorf("first: %v", err)
	}
	if err := <-secondDone; !errors.Is(err, ErrTimeout) {
		t.Errorf("second: %v", err)
	}
	// A silent server connection takes no place.
	s, done := NewServer(mustServer(t, p.serverOptions())), make(chan error, 1)
	s.Start(pool, nil, func() {}, func(err error) { done <- err })
	s.Feed([]byte{22, 3, 1, 2})
	if n := pool.Running(); n != 0 {
		t.Errorf("%d handshakes run", n)
	}
	s.Abort(ErrTimeout)
	if err := <-done; !errors.Is(err, ErrTimeout) {
		t.Errorf("silent: %v", err)
	}
}

// In TLS 1.3 crypto/tls is let go after the handshake, and so is what it held. With
// older versions it goes on. A release of Go that tells the secrets no more, or in
// another form, fails here, and costs memory but works.
func TestLayerTakesOver(t *testing.T) {
	t.Parallel()
	p := newParties(t)
	for version, want := range map[uint16]bool{tls.VersionTLS12: false, tls.VersionTLS13: true} {
		so := p.serverOptions()
		so.MaxVersion = version
		a, b := &side{s: NewServer(mustServer(t, so))}, &side{s: NewClient(mustClient(t, p.clientOptions()), "x")}
		if aerr, berr := handshake(a, b, nil); aerr != nil || berr != nil {
			t.Fatal(aerr, berr)
		}
		for _, s := range []*side{a, b} {
			if (s.s.layer != nil) != want || (s.s.conn == nil) != want || (s.s.pipe == nil) != want {
				t.Errorf("version %#x: layer %t, conn %t, pipe %t", version, s.s.layer != nil, s.s.conn != nil, s.s.pipe != nil)
			}
		}
	}
}

// crypto/tls must not read beyond the record it needs, however its reads fall.
func TestRecordBounds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var stream []byte
		ends := map[int]bool{}
		for _, n := range rapid.SliceOfN(rapid.IntRange(0, 700), 1, 5).Draw(t, "records") {
			stream = append(append(stream, 22, 3, 3, byte(n>>8), byte(n)), make([]byte, n)...)
			ends[len(stream)] = true
		}
		var r recordBounds
		for at := 0; at < len(stream); {
			come := at + rapid.IntRange(1, len(stream)-at).Draw(t, "come")
			n := r.cut(stream[at:come], rapid.IntRange(1, 800).Draw(t, "limit"))
			if n == 0 {
				t.Fatal("nothing to read")
			}
			for i := at + 1; i < at+n; i++ {
				if ends[i] {
					t.Fatalf("read from %d to %d, across the end at %d", at, at+n, i)
				}
			}
			at += n
		}
	})
}
