package listener

import (
	"github.com/meshctl/meshctl/internal/proxy/detect"
	"github.com/meshctl/meshctl/internal/proxy/engine"
	"github.com/meshctl/meshctl/internal/proxy/flow"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// sniffer is what the first bytes have told so far.
type sniffer struct {
	proxy     bool // a PROXY header is looked for
	need      need
	seen      bool // the client has sent something
	done      bool
	transport snapshot.TransportProtocol
	sni       []byte
	alpn      [][]byte
}

// beginSniff looks at the first bytes if anything depends on them.
func (a *conn) beginSniff() {
	l := a.info.Listener
	f := &a.sniff
	f.transport = snapshot.RawBuffer
	f.proxy = l.ProxyProtocol != nil
	f.need = a.w.needsFor(l, a.info.Local.Port())
	if !f.proxy && f.need == 0 {
		a.choose()
		return
	}
	a.listen()
}

// listen waits for the client to begin.
func (a *conn) listen() {
	d, fn := a.w.m.o.SilentWait, a.onSilent
	if t := a.info.Listener.InspectTimeout; t > 0 {
		if rest := t - a.w.w.Now().Sub(a.info.Start); rest <= d {
			d, fn = rest, a.onTimeout
		}
	}
	a.timer.Fn = fn
	a.w.w.StartTimer(&a.timer, d)
}

// onSilent fires when the client has not sent anything for a while.
func (a *conn) onSilent() {
	a.speculate()
	if a.handed || a.sniff.done {
		return
	}
	d := a.info.Listener.InspectTimeout
	if d <= 0 {
		d = a.w.m.o.FirstByteTimeout
	}
	a.timer.Fn = a.onTimeout
	a.w.w.StartTimer(&a.timer, d-a.w.w.Now().Sub(a.info.Start))
}

// onTimeout ends the wait: with what is known, or with the connection.
func (a *conn) onTimeout() {
	l := a.info.Listener
	if (l.ContinueOnTimeout || a.serverFirst() != nil && !a.sniff.seen) && !a.proxyMissing() {
		a.choose()
		return
	}
	a.counters.timeout.Add(1)
	a.refuse(outcome{details: "listener_filter_timeout"})
}

// proxyMissing reports that a PROXY header is required and has not come.
func (a *conn) proxyMissing() bool {
	return a.sniff.proxy && !a.info.Listener.ProxyProtocol.Optional
}

// undecided bounds how long a client may take over bytes that it has begun to send.
func (a *conn) undecided() {
	if a.sniff.seen {
		return
	}
	a.sniff.seen = true
	d := a.info.Listener.InspectTimeout
	if d <= 0 {
		d = a.w.m.o.SniffTimeout
	} else {
		d -= a.w.w.Now().Sub(a.info.Start)
	}
	a.timer.Fn = a.onTimeout
	a.w.w.StartTimer(&a.timer, d)
}

// OnConnected implements engine.Handler; it does not come for accepted connections.
func (a *conn) OnConnected() {}

// OnWritable implements engine.Handler.
func (a *conn) OnWritable() {}

// OnData implements engine.Handler: it sniffs.
func (a *conn) OnData(b []byte) int {
	if a.handed || a.sniff.done {
		return len(b) // refused; nothing is read any more
	}
	used := 0
	if a.sniff.proxy {
		n, v := a.proxyHeader(b)
		switch {
		case a.handed:
			return len(b)
		case v == detect.More:
			a.undecided()
			return 0
		}
		used, a.sniff.proxy = n, false
	}
	if !a.inspect(b[used:]) {
		if used < len(b) {
			a.undecided()
		} else {
			// The proxy in between has spoken; the client may still be one that waits.
			a.sniff.seen = false
			a.listen()
		}
		return used
	}
	a.choose()
	return used
}

// proxyHeader takes the PROXY header.
func (a *conn) proxyHeader(b []byte) (int, detect.Verdict) {
	p := a.info.Listener.ProxyProtocol
	h, n, v, err := detect.Proxy(b)
	switch {
	case v == detect.More:
		return 0, v
	case v == detect.No && err == nil && p.Optional:
		return 0, v
	case v == detect.No || h.Version == 1 && !p.V1 || h.Version == 2 && !p.V2:
		a.refuse(outcome{details: "proxy_protocol_error", flags: flow.FlagDownstreamProtocolError})
		return 0, v
	}
	if !h.Local {
		a.dropSpeculation() // judged by other addresses
		a.info.Remote, a.info.Local = h.Source, h.Dst
		// What is needed may differ by port.
		a.sniff.need = a.w.needsFor(a.info.Listener, h.Dst.Port())
	}
	return n, v
}

// inspect runs the inspectors and reports whether they are sure.
func (a *conn) inspect(b []byte) bool {
	f := &a.sniff
	if f.need&needTLS != 0 {
		hello, v := detect.TLS(b)
		switch v {
		case detect.More:
			return false
		case detect.Yes:
			f.transport, f.sni = snapshot.TLSTransport, []byte(hello.SNI)
			f.alpn = make([][]byte, len(hello.ALPN))
			for i, p := range hello.ALPN {
				f.alpn[i] = []byte(p)
			}
			f.need = 0
			return true
		case detect.No:
			f.need &^= needTLS
		}
	}
	if f.need&needHTTP != 0 {
		version, v := detect.HTTP(b)
		switch v {
		case detect.More:
			return false
		case detect.Yes:
			f.alpn = httpALPN[version]
		case detect.No:
		}
		f.need &^= needHTTP
	}
	return true
}

// httpALPN are the protocols as chains name them.
var httpALPN = map[detect.Version][][]byte{
	detect.HTTP10: {[]byte("http/1.0")}, detect.HTTP11: {[]byte("http/1.1")}, detect.HTTP2: {[]byte("h2c")},
}

// OnEOF implements engine.Handler. A client that has said all it wants to say
// will not make it clearer what that is.
func (a *conn) OnEOF() {
	if a.handed || a.sniff.done {
		return
	}
	if a.proxyMissing() || !a.sniff.seen && a.serverFirst() == nil {
		a.handed = true
		a.timer.Stop()
		a.c.Close(nil)
		return
	}
	a.choose()
}

// OnClose implements engine.Handler.
func (a *conn) OnClose(error) {
	a.timer.Stop()
	a.dropSpeculation()
}

// serverFirst is the chain that a connection gets on which the client says
// nothing, if it is one where the server may speak first: plain TCP.
func (a *conn) serverFirst() *snapshot.Chain {
	if a.proxyMissing() {
		return nil
	}
	f := snapshot.ConnFacts{
		Destination: a.info.Local, Source: a.info.Remote, DirectSource: a.info.Direct.Addr(), Transport: snapshot.RawBuffer,
	}
	c := a.info.Listener.Match(&f)
	if c == nil || c.TLS != nil || c.TCP == nil && c.Direct == nil {
		return nil
	}
	return c
}

// speculate dials for a silent client, if a server that speaks first would be
// let speak.
func (a *conn) speculate() {
	chain := a.serverFirst()
	if chain == nil {
		return
	}
	if chain.TCP == nil || !idempotent(chain.Network) {
		a.choose()
		return
	}
	a.setChain(chain)
	if o, _, ok := a.filter(); !ok {
		// A client that speaks may get another chain; this one would refuse it.
		a.w.m.log.Debug("silent client is not served by the plain chain", "chain", chain.Name, "reason", o.end)
		a.unsetChain()
		return
	}
	a.commit, a.cancel = a.w.h.TCP.Speculate(a.c, &a.info, a.serverSpoke)
	if a.handed { // it has failed already
		a.commit, a.cancel = nil, nil
	}
}

// idempotent reports that filters may run twice.
func idempotent(fs []snapshot.NetworkFilter) bool {
	for i := range fs {
		switch fs[i].Config.(type) {
		case *snapshot.ConnectionLimit, *snapshot.LocalRateLimit:
			return false
		}
	}
	return true
}

// serverSpoke decides for the plain chain, when the endpoint has spoken, ended or
// failed before the client has begun. A client that has begun is heard to the end
// of its sentence first.
func (a *conn) serverSpoke() bool {
	if a.sniff.seen {
		return false
	}
	a.sniff.done = true
	a.commit, a.cancel = nil, nil
	a.handover()
	return true
}

func (a *conn) dropSpeculation() {
	if a.cancel == nil {
		return
	}
	cancel := a.cancel
	a.commit, a.cancel = nil, nil
	cancel()
	a.unsetChain()
}

var _ engine.Handler = (*conn)(nil)
