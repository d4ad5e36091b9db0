package listener

import (
	"github.com/meshctl/meshctl/internal/proxy/flow"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
	"github.com/meshctl/meshctl/internal/proxy/tlsconn"
)

// choose finds the chain, under the newest generation, and goes on with it.
func (a *conn) choose() {
	a.timer.Stop()
	a.sniff.done = true
	a.renew()
	f := snapshot.ConnFacts{
		Destination: a.info.Local, Source: a.info.Remote, DirectSource: a.info.Direct.Addr(),
		ServerName: a.sniff.sni, Transport: a.sniff.transport, ALPN: a.sniff.alpn,
	}
	chain := a.info.Listener.Match(&f)
	if a.commit != nil && chain == a.info.Chain && chain != nil && len(a.sniff.sni) == 0 {
		// What was dialed for a silent client is what it wants, and policies have
		// judged by all that is known.
		commit := a.commit
		a.commit, a.cancel = nil, nil
		a.handover()
		commit()
		return
	}
	a.dropSpeculation()
	if chain == nil {
		a.counters.noChain.Add(1)
		a.refuse(outcome{flags: flow.FlagNoRoute, details: "filter_chain_not_found"})
		return
	}
	a.setChain(chain)
	if chain.TLS == nil {
		a.serve()
		return
	}
	a.startTLS(chain)
}

// renew takes up the listener's newest version: sniffing may have taken long.
func (a *conn) renew() {
	sv := a.s.now.Load()
	if sv.snap == a.info.Snap {
		return
	}
	l := sv.listener
	if l.UseOriginalDst {
		if v := sv.snap.VirtualFor(a.info.Local); v != nil {
			l = v
		}
	}
	if l.Name != a.info.Listener.Name {
		return // counted and sniffed for another; that one's last version serves it
	}
	a.info.Listener, a.info.Snap = l, sv.snap
}

func (a *conn) setChain(chain *snapshot.Chain) {
	i := &a.info
	i.Chain, a.retired = chain, false
	if len(a.sniff.sni) > 0 {
		i.ServerName = string(a.sniff.sni)
	}
	i.Facts = snapshot.Facts{
		Source: i.Remote, Direct: i.Direct, Remote: i.Remote, Destination: i.Local, ServerName: a.sniff.sni,
	}
}

func (a *conn) unsetChain() {
	a.info.Chain, a.info.Facts = nil, snapshot.Facts{}
	a.state = filterState{}
}

func (a *conn) startTLS(chain *snapshot.Chain) {
	var cfg *tlsconn.ServerConfig
	err := errNoTLS
	if t := a.w.m.o.TLS; t != nil {
		cfg, err = t.Server(chain.TLS)
	}
	if err != nil {
		a.w.warn(chain, "TLS of a filter chain cannot be set up; connections are refused",
			"listener", a.info.Listener.Name, "chain", chain.Name, "err", err)
		a.counters.tlsFailed.Add(1)
		a.refuse(outcome{failure: "TLS_error:" + err.Error()})
		return
	}
	if a.c.EOF() { // seen while sniffing, and not told again: the handshake would wait
		a.counters.tlsFailed.Add(1)
		a.refuse(outcome{failure: "TLS_error:the client closed before the handshake"})
		return
	}
	d := chain.HandshakeTimeout
	if d <= 0 {
		d = a.w.m.o.HandshakeTimeout
	}
	a.c.StartServerTLS(cfg, d, a.handshakeDone)
}

// handshakeDone goes on with an encrypted connection, or records why there is none.
func (a *conn) handshakeDone(err error) {
	if err != nil {
		// The engine closes, once the peer has been sent its alert.
		a.handed = true
		a.counters.tlsFailed.Add(1)
		a.record(outcome{failure: "TLS_error:" + err.Error()})
		return
	}
	t := a.c.TLS()
	i := &a.info
	i.TLS, i.ServerName = t, t.SNI
	i.Facts.ServerName = []byte(t.SNI)
	s := i.Chain.TLS
	if s.RequireSNI && t.SNI == "" {
		a.counters.tlsFailed.Add(1)
		a.refuse(outcome{failure: "TLS_error:server_name_missing"})
		return
	}
	i.Facts.Peer = &snapshot.Peer{
		Presented: t.PeerCertificatePresented,
		// Presented certificates are verified in the handshake, which fails
		// otherwise, unless the settings take any or there is nothing to verify by.
		Verified: t.PeerCertificatePresented && !s.AllowUntrusted && (s.Validation != "" || s.SystemRoots),
		URISANs:  t.PeerURISANs, DNSSANs: t.PeerDNSSANs, Subject: t.Subject,
	}
	a.serve()
}

// serve judges the connection and hands it over.
func (a *conn) serve() {
	if o, delay, ok := a.filter(); !ok {
		a.counters.refused.Add(1)
		if delay > 0 {
			a.hold(o, delay)
			return
		}
		a.refuse(o)
		return
	}
	chain := a.info.Chain
	switch {
	case chain.HTTP != nil:
		a.handover()
		a.w.h.HTTP.ServeConn(a.c, &a.info)
	case chain.TCP != nil:
		a.handover()
		a.w.h.TCP.ServeConn(a.c, &a.info)
	case chain.Direct != nil:
		a.direct(chain.Direct.Body)
	default:
		a.refuse(outcome{details: "filter_chain_without_filters"})
	}
}

// handover is called before a handler takes over: this one's part is done.
func (a *conn) handover() {
	a.handed = true
	a.timer.Stop()
	a.sniff.sni, a.sniff.alpn = nil, nil
	delete(a.w.pending, a)
	if !a.retired {
		return
	}
	// The chain went out of force during the handshake: a short life is left.
	a.timer.Fn = func() {
		gone := func(i *flow.Conn) bool { return i == &a.info }
		a.w.h.HTTP.DrainChain(gone)
		a.w.h.TCP.DrainChain(gone, a.w.m.o.DrainTime)
	}
	a.w.w.StartTimer(&a.timer, a.w.m.o.HandshakeTimeout)
}

// direct writes fixed bytes and closes.
func (a *conn) direct(body []byte) {
	a.handover()
	a.c.Write(body)
	a.record(outcome{end: "direct_response"})
	a.c.CloseAfterFlush()
}
