package listener

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/meshctl/meshctl/internal/proxy/engine"
	"github.com/meshctl/meshctl/internal/proxy/netio"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// socketKey is what must be the same for a socket to be kept.
type socketKey struct {
	addr        netip.AddrPort
	pipe        string
	pipeMode    uint32
	name        string // only with port 0: such addresses are never shared
	transparent bool
	reusePort   bool
	backlog     int
	keepalive   snapshot.Keepalive
}

func (k socketKey) String() string {
	if k.pipe != "" {
		return k.pipe
	}
	return k.addr.String()
}

// bound is the address as the kernel has it.
func (k socketKey) bound(l *engine.Listener) string {
	if k.pipe != "" {
		return k.pipe
	}
	return l.Addr().String()
}

// socket is a listening socket (one per worker with SO_REUSEPORT) and what is
// presently served on it.
type socket struct {
	l   *engine.Listener
	now atomic.Pointer[serving]
}

// serving is replaced as a whole, so that listener and snapshot fit together.
type serving struct {
	snap     *snapshot.Snapshot
	listener *snapshot.Listener
	addr     netip.AddrPort // as configured
}

// failure is a listener's address that could not be bound.
type failure struct {
	listener *snapshot.Listener
	key      socketKey
	err      error
}

// want is an address that is to be listened on.
type want struct {
	key      socketKey
	listener *snapshot.Listener
}

// bind makes the sockets fit the snapshot. Called with m.mu held.
func (m *Manager) bind() {
	before := m.failures
	m.failures = nil
	wanted := m.wanted()
	for k, w := range wanted {
		sv := &serving{snap: m.snap, listener: w.listener, addr: k.addr}
		if s := m.sockets[k]; s != nil {
			s.now.Store(sv)
			continue
		}
		s := &socket{}
		s.now.Store(sv)
		l, err := m.listen(k, s, w.listener)
		if err != nil {
			m.fail(w.listener, k, err)
			continue
		}
		s.l = l
		m.sockets[k] = s
		m.log.Info("listening", "listener", w.listener.Name, "addr", k.bound(l))
	}
	for k, s := range m.sockets {
		if _, ok := wanted[k]; !ok {
			s.l.Stop()
			delete(m.sockets, k)
		}
	}
	slices.SortFunc(m.failures, func(a, b failure) int {
		return cmp.Or(cmp.Compare(a.listener.Name, b.listener.Name), cmp.Compare(a.key.String(), b.key.String()))
	})
	m.logFailures(before)
	m.scheduleRetry()
}

// wanted lists the addresses of the snapshot. Of two listeners with the same
// address, the first by name has it.
func (m *Manager) wanted() map[socketKey]want {
	out := map[socketKey]want{}
	taken := map[string]string{}
	for _, l := range m.snap.Listeners {
		if !l.Bind || int(l.Direction) < len(m.stopped) && m.stopped[l.Direction] {
			continue
		}
		for _, k := range keysOf(l) {
			if k.name == "" {
				if by, ok := taken[k.String()]; ok {
					m.fail(l, k, fmt.Errorf("listen on %s: listener %q has this address already", k, by))
					continue
				}
				taken[k.String()] = l.Name
			}
			out[k] = want{k, l}
		}
	}
	return out
}

func keysOf(l *snapshot.Listener) []socketKey {
	k := socketKey{transparent: l.Transparent, reusePort: l.ReusePort, backlog: l.Backlog}
	if l.Keepalive != nil {
		k.keepalive = *l.Keepalive
	}
	if l.Pipe != "" {
		k.pipe, k.pipeMode = l.Pipe, l.PipeMode
		return []socketKey{k}
	}
	var out []socketKey
	for _, a := range l.Addrs {
		k.addr, k.name = a, ""
		if a.Port() == 0 {
			k.name = l.Name
		}
		out = append(out, k)
	}
	return out
}

func (m *Manager) fail(l *snapshot.Listener, k socketKey, err error) {
	m.failures = append(m.failures, failure{l, k, err})
}

// errSocketOptions are settings that would be lost silently otherwise.
var errSocketOptions = errors.New("freebind and raw socket options are not supported")

func (m *Manager) listen(k socketKey, s *socket, l *snapshot.Listener) (*engine.Listener, error) {
	if l.Freebind || len(l.SocketOptions) > 0 {
		return nil, fmt.Errorf("listen on %s: %w", k, errSocketOptions)
	}
	o := engine.ListenOptions{
		Addr: k.addr, Transparent: k.transparent, ReusePort: k.reusePort,
		V6Only:  true, // Envoy's default; a dual listener has both addresses
		Backlog: k.backlog,
		KeepAlive: netio.KeepAlive{
			Idle: k.keepalive.Time, Interval: k.keepalive.Interval, Count: k.keepalive.Probes,
		},
		Accept: func(c *engine.Conn) { m.accept(s, c) },
	}
	if k.pipe != "" {
		o.Unix, o.UnixMode = k.pipe, k.pipeMode
	}
	return m.o.Engine.Listen(o)
}

// logFailures tells of what has newly failed: retries are silent.
func (m *Manager) logFailures(before []failure) {
	for _, f := range m.failures {
		known := slices.ContainsFunc(before, func(b failure) bool {
			return b.listener.Name == f.listener.Name && b.key == f.key && b.err.Error() == f.err.Error()
		})
		if !known {
			m.log.Error("listener cannot accept connections", "listener", f.listener.Name, "addr", f.key.String(), "err", f.err)
		}
	}
}

func (m *Manager) scheduleRetry() {
	if m.retry != nil {
		m.retry.Stop()
		m.retry = nil
	}
	if len(m.failures) == 0 {
		return
	}
	m.retry = time.AfterFunc(m.o.RetryBind, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if !m.closed {
			m.bind()
		}
	})
}
