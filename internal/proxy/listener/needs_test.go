package listener

import (
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// Where an inspector is skipped, its finding would not have changed the chain.
func TestNeedsProperty(t *testing.T) {
	t.Parallel()
	protocols := []string{"http/1.1", "h2c", "istio", "h2"}
	rapid.Check(t, func(t *rapid.T) {
		l := &snapshot.Listener{TLSInspector: &snapshot.Inspector{}, HTTPInspector: &snapshot.Inspector{}}
		for i := range rapid.IntRange(1, 5).Draw(t, "chains") {
			m := snapshot.ChainMatch{
				DestinationPort: rapid.SampledFrom([]uint16{0, 80, 443}).Draw(t, "port"),
				Transport:       rapid.SampledFrom([]snapshot.TransportProtocol{0, 0, snapshot.RawBuffer, snapshot.TLSTransport}).Draw(t, "transport"),
			}
			if rapid.IntRange(0, 2).Draw(t, "named") == 0 {
				m.ServerNames = []string{rapid.SampledFrom([]string{"a.example", "*.example"}).Draw(t, "name")}
			}
			if rapid.IntRange(0, 2).Draw(t, "proto") == 0 {
				m.ApplicationProtocols = []string{rapid.SampledFrom(protocols).Draw(t, "alpn")}
			}
			c := &snapshot.Chain{Name: string(rune('a' + i)), Match: m}
			if _, err := snapshot.IndexChains(append(l.Chains, c)); err == nil {
				l.Chains = append(l.Chains, c)
			}
		}
		var err error
		if l.Index, err = snapshot.IndexChains(l.Chains); err != nil {
			t.Fatal(err)
		}
		if rapid.Bool().Draw(t, "default") {
			l.Default = &snapshot.Chain{Name: "default"}
		}
		port := rapid.SampledFrom([]uint16{80, 443, 99}).Draw(t, "dst")
		known := snapshot.ConnFacts{Destination: netip.AddrPortFrom(netip.MustParseAddr("10.0.0.1"), port), Transport: snapshot.RawBuffer}
		full := known
		w := &worker{needs: map[*snapshot.Listener]*needs{}}
		n := w.needsFor(l, port)
		switch rapid.IntRange(0, 2).Draw(t, "spoken") {
		case 1: // TLS
			if n&needTLS != 0 {
				return
			}
			full.Transport, full.ServerName = snapshot.TLSTransport, []byte("a.example")
			full.ALPN = [][]byte{[]byte(rapid.SampledFrom(protocols).Draw(t, "offered"))}
		case 2: // HTTP
			if n&needHTTP != 0 {
				return
			}
			full.ALPN = [][]byte{[]byte("http/1.1")}
		}
		if got, want := l.Match(&known), l.Match(&full); got != want {
			t.Fatalf("port %d, needs %d: chain %+v unseen, %+v seen", port, n, got, want)
		}
	})
}

// Updates that do not concern them disturb neither old nor new connections.
func TestChurn(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.cluster("kept", true)
	kept := tcpChain("kept", "kept", snapshot.ChainMatch{})
	in := listener("in", kept)
	r.apply(in)
	addr := r.status("in").Addrs[0]
	stop := make(chan struct{})
	greeted := func() (net.Conn, error) {
		c, err := net.Dial("tcp", addr.String())
		if err != nil {
			return nil, err
		}
		_ = c.SetDeadline(time.Now().Add(patience))
		return c, receive(c, "kept;")
	}
	work := func() error {
		long, err := greeted()
		if err != nil {
			return err
		}
		defer long.Close()
		for {
			select {
			case <-stop:
				return nil
			default:
			}
			if _, err := io.WriteString(long, "ping"); err != nil {
				return err
			}
			if err := receive(long, "ping"); err != nil {
				return err
			}
			short, err := greeted()
			if err != nil {
				return err
			}
			_ = short.Close()
			<-r.out.ch
		}
	}
	ends := make(chan error)
	const clients = 4
	for range clients {
		go func() { ends <- work() }()
	}
	for i := range 200 {
		ls := []*snapshot.Listener{listener("in", kept, tcpChain("more", "kept", snapshot.ChainMatch{DestinationPort: uint16(i + 1)}))}
		if i%2 == 0 {
			ls = append(ls, listener("other", kept), virtual("v", "10.0.0.1:80", kept))
		}
		r.apply(ls...)
	}
	close(stop)
	for range clients {
		if err := <-ends; err != nil {
			t.Error(err)
		}
	}
	if s := r.status("in").Stats; s.NoChain+s.Refused+s.Overflow != 0 {
		t.Errorf("stats %+v", s)
	}
}
