package stats

import (
	"strings"
	"sync/atomic"
	"time"

	"github.com/meshctl/meshctl/internal/proxy/codec"
	"github.com/meshctl/meshctl/internal/proxy/flow"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// chainKey is where a request came in: http.<prefix>.* and listener.<address>.http.<prefix>.*.
type chainKey struct {
	listener *snapshot.Listener
	manager  *snapshot.HTTPManager
}

// httpSeries are Envoy's counters of one HTTP connection manager of one listener.
type httpSeries struct {
	prefix, listener         string
	classes                  [6]atomic.Uint64 // downstream_rq_1xx ...; 0: no response
	http1, http2, reset, bad atomic.Uint64
	timeout                  atomic.Uint64
	time                     histogram // downstream_rq_time, ms
}

// ListenerStat is a listener's name in statistics: its prefix, else its address
// with colons replaced, as Envoy does.
func ListenerStat(l *snapshot.Listener) string {
	switch {
	case l.StatPrefix != "":
		return l.StatPrefix
	case len(l.Addrs) > 0:
		return strings.ReplaceAll(l.Addrs[0].String(), ":", "_")
	case l.Pipe != "":
		return strings.ReplaceAll(l.Pipe, "/", "_")
	default:
		return l.Name
	}
}

func (w *Worker) countHTTP(r *flow.Record) {
	if r.Conn == nil || r.Conn.Chain == nil || r.Conn.Chain.HTTP == nil || r.Conn.Listener == nil {
		return
	}
	k := chainKey{r.Conn.Listener, r.Conn.Chain.HTTP}
	s := w.https[k]
	if s == nil {
		s = w.bindHTTP(k)
	}
	class := r.Status / 100
	if class < 0 || class > 5 {
		class = 0
	}
	s.classes[class].Add(1)
	if r.Protocol == codec.HTTP2 {
		s.http2.Add(1)
	} else {
		s.http1.Add(1)
	}
	s.time.observe(uint64(max(r.End, 0) / time.Microsecond))
	if r.Flags != 0 {
		if r.Flags&flow.FlagDownstreamConnectionTermination != 0 {
			s.reset.Add(1)
		}
		if r.Flags&flow.FlagDownstreamProtocolError != 0 {
			s.bad.Add(1)
		}
		if r.Flags&(flow.FlagStreamIdleTimeout|flow.FlagDurationTimeout) != 0 {
			s.timeout.Add(1)
		}
	}
}

func (w *Worker) bindHTTP(k chainKey) *httpSeries {
	if len(w.https) >= maxInterned {
		clear(w.https)
	}
	listener, prefix := ListenerStat(k.listener), strings.TrimSuffix(k.manager.StatPrefix, ";")
	id := listener + "\x00" + prefix
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.http[id]
	if s == nil {
		s = &httpSeries{prefix: prefix, listener: listener}
		w.http[id] = s
	}
	w.https[k] = s
	return s
}

// tcpSeries are Envoy's counters of one TCP proxy.
type tcpSeries struct {
	prefix         string
	total          atomic.Uint64
	received, sent atomic.Uint64
}

func (w *Worker) countTCP(r *flow.Record) {
	if r.Conn == nil || r.Conn.Chain == nil || r.Conn.Chain.TCP == nil {
		return
	}
	s := w.tcps[r.Conn.Chain.TCP]
	if s == nil {
		s = w.bindTCP(r.Conn.Chain.TCP)
	}
	s.total.Add(1)
	s.received.Add(r.BytesReceived)
	s.sent.Add(r.BytesSent)
}

func (w *Worker) bindTCP(c *snapshot.TCPProxy) *tcpSeries {
	if len(w.tcps) >= maxInterned {
		clear(w.tcps)
	}
	prefix := strings.TrimSuffix(c.StatPrefix, ";")
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.tcp[prefix]
	if s == nil {
		s = &tcpSeries{prefix: prefix}
		w.tcp[prefix] = s
	}
	w.tcps[c] = s
	return s
}
