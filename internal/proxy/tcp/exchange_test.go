package tcp

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"io"
	"net"
	"testing"

	"github.com/meshctl/meshctl/internal/proxy/filter/peermeta"
	"github.com/meshctl/meshctl/internal/proxy/flow"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
	"github.com/meshctl/meshctl/internal/proxy/tlsbind"
	"github.com/meshctl/meshctl/internal/proxy/tlsconn"
	"github.com/meshctl/meshctl/internal/proxy/tlsconn/tlstest"
)

func local(t testing.TB, name string) peermeta.Local {
	t.Helper()
	enc, err := peermeta.Encode(&flow.Peer{NodeID: "sidecar~10.0.0.1~" + name + ".ns~ns.svc", Workload: name, Namespace: "ns", App: name})
	if err != nil {
		t.Fatal(err)
	}
	return peermeta.Local{NodeID: "node-" + name, Encoded: enc}
}

func message(t testing.TB, name string) []byte {
	t.Helper()
	b, err := exchangeMessage(local(t, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestReadExchange(t *testing.T) {
	t.Parallel()
	msg := message(t, "reviews")
	if got := binary.BigEndian.Uint32(msg); got != 0x3D230467 {
		t.Errorf("magic %x", got)
	}
	for i := range msg {
		if _, n, more, err := readExchange(msg[:i]); !more || n != 0 || err != nil {
			t.Fatalf("after %d bytes: n %d, more %v, err %v", i, n, more, err)
		}
	}
	p, n, more, err := readExchange(append(bytes.Clone(msg), "payload"...))
	if err != nil || more || n != len(msg) || p == nil || p.Workload != "reviews" || p.Namespace != "ns" || p.NodeID != "node-reviews" {
		t.Errorf("%+v %d %v %v", p, n, more, err)
	}
	if _, n, more, err := readExchange([]byte("\x3d\x23GET")); n != 0 || more || err != nil {
		t.Errorf("payload taken for a message: %d %v %v", n, more, err)
	}
	if _, _, _, err := readExchange(binary.BigEndian.AppendUint32(msg[:4:4], maxExchange+1)); err == nil {
		t.Error("a message over the limit was accepted")
	}
	bad := append(binary.BigEndian.AppendUint32(msg[:4:4], 3), "\xff\xff\xffrest"...)
	if p, n, more, err := readExchange(bad); p != nil || n != 11 || more || err != nil {
		t.Errorf("unreadable message: %+v %d %v %v", p, n, more, err)
	}
}

func FuzzReadExchange(f *testing.F) {
	msg := message(f, "a")
	f.Add(msg)
	f.Add(msg[:9])
	f.Add([]byte("GET / HTTP/1.1\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, n, more, err := readExchange(b)
		switch {
		case n > len(b) || n < 0:
			t.Fatalf("%d bytes of %d used", n, len(b))
		case more && (n != 0 || err != nil || len(b) > exchangeHeader+maxExchange):
			t.Fatalf("more with n %d, err %v at %d bytes", n, err, len(b))
		case p != nil && n < exchangeHeader:
			t.Fatalf("a peer out of %d bytes", n)
		}
	})
}

// Two of our proxies, with TLS between them, learn of each other, and the stream
// comes through unchanged.
func TestExchangeBetweenProxies(t *testing.T) {
	t.Parallel()
	ca := tlstest.New(t)
	binder := tlsbind.New()
	binder.SetWorkload(ca.Issue(t, tlstest.Leaf{URIs: []string{"spiffe://td/ns/ns/sa/x"}}), []*x509.Certificate{ca.Cert})
	params := &snapshot.TLSParams{
		Certificates: []string{tlsbind.WorkloadCert}, Validation: tlsbind.WorkloadRoot,
		ALPN: []string{tlsconn.ALPNPeerExchange},
	}
	mx := []snapshot.NetworkFilter{{Name: "mx", Config: &snapshot.MetadataExchange{Protocol: tlsconn.ALPNPeerExchange}}}
	up := backend(t, func(c *net.TCPConn) {
		_, _ = c.Write([]byte("hi "))
		echo(c)
	})
	in := newRig(t, rigOptions{
		tcp: &snapshot.TCPProxy{Cluster: "app"}, network: mx, binder: binder, local: local(t, "server"),
		tls: &snapshot.ServerTLS{TLSParams: params, RequireClientCert: true}, clusters: []*snapshot.Cluster{cluster("app", up)},
	})
	cl := cluster("in", in.addr)
	cl.TLS, cl.Filters = &snapshot.ClientTLS{TLSParams: params}, mx
	out := newRig(t, rigOptions{tcp: &snapshot.TCPProxy{Cluster: "in"}, binder: binder, local: local(t, "client"), clusters: []*snapshot.Cluster{cl}})

	c := out.dial(t)
	first := make([]byte, 3)
	if _, err := io.ReadFull(c, first); err != nil || string(first) != "hi " {
		t.Fatalf("server first: %q %v", first, err)
	}
	payload := append(message(t, "not metadata any more"), "hello"...)
	_, _ = c.Write(payload)
	_ = c.CloseWrite()
	if all, err := io.ReadAll(c); err != nil || !bytes.Equal(all, payload) {
		t.Errorf("%d bytes of %d, %v", len(all), len(payload), err)
	}
	c.Close()
	a, b := out.out.next(t), in.out.next(t)
	if a.UpstreamPeer == nil || a.UpstreamPeer.Workload != "server" || b.DownstreamPeer == nil || b.DownstreamPeer.Workload != "client" || b.Conn.Peer != b.DownstreamPeer {
		t.Errorf("client learned %+v, server %+v", a.UpstreamPeer, b.DownstreamPeer)
	}
	if a.BytesReceived != uint64(len(payload)) || b.BytesReceived != a.BytesReceived || a.BytesSent != uint64(len(payload)+3) || b.BytesSent != a.BytesSent {
		t.Errorf("metadata counted as payload: %d %d %d %d", a.BytesReceived, b.BytesReceived, a.BytesSent, b.BytesSent)
	}
	if a.UpstreamTLS == nil || a.UpstreamTLS.ALPN != tlsconn.ALPNPeerExchange {
		t.Errorf("upstream TLS %+v", a.UpstreamTLS)
	}
}

// A peer may split its message anywhere, end in the middle of what looked like
// one, or send none: payload is never lost or changed.
func TestExchangeSplit(t *testing.T) {
	t.Parallel()
	ca := tlstest.New(t)
	binder := tlsbind.New()
	leaf := ca.Issue(t, tlstest.Leaf{})
	binder.SetWorkload(leaf, []*x509.Certificate{ca.Cert})
	in := newRig(t, rigOptions{
		tcp: &snapshot.TCPProxy{Cluster: "app"}, binder: binder, local: local(t, "server"),
		network:  []snapshot.NetworkFilter{{Config: &snapshot.MetadataExchange{Protocol: tlsconn.ALPNPeerExchange}}},
		tls:      &snapshot.ServerTLS{TLSParams: &snapshot.TLSParams{Certificates: []string{tlsbind.WorkloadCert}, ALPN: []string{tlsconn.ALPNPeerExchange}}},
		clusters: []*snapshot.Cluster{cluster("app", backend(t, echo))},
	})
	msg := message(t, "client")
	run := func(t *testing.T, parts [][]byte, want string) flow.Record {
		t.Helper()
		c := tls.Client(in.dial(t), &tls.Config{RootCAs: ca.Pool(), InsecureSkipVerify: true, NextProtos: []string{tlsconn.ALPNPeerExchange}})
		if err := c.Handshake(); err != nil {
			t.Fatal(err)
		}
		for _, p := range parts {
			if _, err := c.Write(p); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		all, err := io.ReadAll(c)
		self := message(t, "server")
		if err != nil || !bytes.HasPrefix(all, self) || string(all[len(self):]) != want {
			t.Fatalf("%q %v", all, err)
		}
		_ = c.Close()
		return in.out.next(t)
	}
	for i := 0; i <= len(msg); i += 5 {
		if rec := run(t, [][]byte{msg[:i], msg[i:], []byte("data")}, "data"); rec.DownstreamPeer == nil || rec.DownstreamPeer.Workload != "client" {
			t.Fatalf("split at %d: peer %+v", i, rec.DownstreamPeer)
		}
	}
	for _, n := range []int{1, 3, 4, 7, 8, 20} {
		if rec := run(t, [][]byte{msg[:n]}, string(msg[:n])); rec.DownstreamPeer != nil {
			t.Fatalf("%d bytes: a peer out of nothing", n)
		}
	}
	run(t, [][]byte{[]byte("no message")}, "no message")
	run(t, nil, "")
}
