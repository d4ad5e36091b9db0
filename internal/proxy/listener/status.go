package listener

import (
	"net/netip"
	"sync/atomic"

	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// counters of a listener, by Envoy's names; written by all workers.
type counters struct {
	total, noChain, refused, tlsFailed, overflow, timeout atomic.Uint64
	active                                                atomic.Int64
}

// Stats are a listener's counters.
type Stats struct {
	Total     uint64 // downstream_cx_total
	Active    int64  // downstream_cx_active
	NoChain   uint64 // no_filter_chain_match
	Refused   uint64 // closed by a network filter, or one that is not supported
	TLSFailed uint64 // handshakes
	Overflow  uint64 // downstream_cx_overflow: over a limit
	Timeout   uint64 // downstream_pre_cx_timeout: first bytes did not come
}

func (c *counters) stats() Stats {
	return Stats{
		Total: c.total.Load(), Active: c.active.Load(), NoChain: c.noChain.Load(), Refused: c.refused.Load(),
		TLSFailed: c.tlsFailed.Load(), Overflow: c.overflow.Load(), Timeout: c.timeout.Load(),
	}
}

// Status is a listener as it is in force.
type Status struct {
	Listener *snapshot.Listener
	// Virtual: it owns no sockets.
	Virtual bool
	// Addrs are the addresses accepted on, with the ports the kernel chose.
	Addrs []netip.AddrPort
	// Pipe is the path of the Unix socket accepted on.
	Pipe string
	// Errors tell for each address that is not accepted on why it is not.
	Errors []string
	Stats  Stats
}

// Status lists the listeners in the order of their names, virtual ones last.
func (m *Manager) Status() []Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.snap == nil {
		return nil
	}
	var out []Status
	for _, l := range m.snap.Listeners {
		s := Status{Listener: l, Stats: m.statsOf(l.Name)}
		for _, k := range keysOf(l) {
			if so := m.sockets[k]; so != nil && so.now.Load().listener.Name == l.Name {
				if s.Pipe = k.pipe; k.pipe == "" {
					s.Addrs = append(s.Addrs, so.l.Addr())
				}
			}
		}
		for _, f := range m.failures {
			if f.listener.Name == l.Name {
				s.Errors = append(s.Errors, f.err.Error())
			}
		}
		out = append(out, s)
	}
	for _, l := range sortedVirtual(m.snap) {
		out = append(out, Status{Listener: l, Virtual: true, Stats: m.statsOf(l.Name)})
	}
	return out
}

func (m *Manager) statsOf(name string) Stats {
	if c := m.counters[name]; c != nil {
		return c.stats()
	}
	return Stats{}
}

// countersOf finds or makes a listener's counters.
func (m *Manager) countersOf(name string) *counters {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.counters[name]
	if c == nil {
		c = &counters{}
		m.counters[name] = c
	}
	return c
}

func (w *worker) countersOf(name string) *counters {
	c := w.counters[name]
	if c == nil {
		c = w.m.countersOf(name)
		w.counters[name] = c
	}
	return c
}

// pruneCounters forgets listeners that are gone and have no connections. Called
// with m.mu held.
func (m *Manager) pruneCounters(s *snapshot.Snapshot) {
	if len(m.counters) <= 2*(len(s.Listeners)+len(s.Virtual))+16 {
		return
	}
	live := make(map[string]bool, len(s.Listeners)+len(s.Virtual))
	for _, l := range s.Listeners {
		live[l.Name] = true
	}
	for _, l := range s.Virtual {
		live[l.Name] = true
	}
	for n, c := range m.counters {
		if !live[n] && c.active.Load() == 0 {
			delete(m.counters, n)
		}
	}
}
