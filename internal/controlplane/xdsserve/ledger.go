package xdsserve

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// Ledger is what every session has acknowledged or refused. It holds the open
// sessions only.
type Ledger struct {
	mu       sync.Mutex
	rows     map[uint64]*row
	last     uint64
	progress chan struct{} // closed when some session got further, came or went
}

// Session is the state of one session at the time of asking.
type Session struct {
	ID        uint64       `json:"id"`
	Node      string       `json:"node"`
	Cluster   string       `json:"cluster,omitempty"`   // what the proxy calls its own service
	ClusterID string       `json:"clusterID,omitempty"` // that it runs in; "" where nobody says
	Version   string       `json:"version,omitempty"`
	Build     string       `json:"build,omitempty"` // which program it is: "envoy 1.40.0"
	Peer      string       `json:"peer"`
	Connected time.Time    `json:"connected"`
	Protocol  string       `json:"protocol"` // delta or sotw
	Settled   uint64       `json:"settled"`  // generation that all its types have answered
	Types     []TypeStatus `json:"types"`
}

// TypeStatus is the state of one type of a session.
type TypeStatus struct {
	TypeURL    string   `json:"typeURL"`
	Short      string   `json:"short"` // cds, eds, lds, ...
	Wildcard   bool     `json:"wildcard,omitempty"`
	Subscribed int      `json:"subscribed"` // names
	Sent       Delivery `json:"sent"`
	Acked      Delivery `json:"acked"`
	Bytes      uint64   `json:"bytes"` // sent since the session began
	Refusal    *Refusal `json:"refusal,omitempty"`
	Stale      bool     `json:"stale"` // something is sent or due, and not acknowledged
	// Resumed: the client came with what it had from an earlier session, so that
	// nothing may have been to send.
	Resumed bool      `json:"resumed,omitempty"`
	Settled uint64    `json:"settled"`
	Changed time.Time `json:"changed,omitzero"`
}

// State is how far a client is with a type.
type State string

// States, as Istio calls them.
const (
	Synced  State = "SYNCED"   // it has what there is
	Behind  State = "STALE"    // something is sent or due, and not acknowledged
	Refused State = "ERROR"    // it refused what was sent last, and goes on with what it had
	NotSent State = "NOT SENT" // there was nothing to send
)

// State is how far the client is.
func (t TypeStatus) State() State {
	switch {
	case t.Refusal != nil:
		return Refused
	case t.Stale:
		return Behind
	case t.Sent.Nonce == "" && !t.Resumed:
		return NotSent
	default:
		return Synced
	}
}

// Delivery is one response: the version of the whole Set that it was made from.
type Delivery struct {
	Version    string    `json:"version,omitempty"`
	Nonce      string    `json:"nonce,omitempty"`
	Generation uint64    `json:"generation,omitempty"`
	Time       time.Time `json:"time,omitzero"`
}

// Refusal is the last response that the client refused, while it is in force.
type Refusal struct {
	Text    string    `json:"text"`
	Names   []string  `json:"names,omitempty"` // at most maxRefusedNames
	Version string    `json:"version"`
	Time    time.Time `json:"time"`
}

const maxRefusedNames = 50

func newLedger() *Ledger {
	return &Ledger{rows: map[uint64]*row{}, progress: make(chan struct{})}
}

// Sessions returns the open sessions, ordered by node and id.
func (l *Ledger) Sessions() []Session {
	l.mu.Lock()
	rows := slices.Collect(maps.Values(l.rows))
	l.mu.Unlock()
	out := make([]Session, 0, len(rows))
	for _, r := range rows {
		out = append(out, r.session())
	}
	slices.SortFunc(out, func(a, b Session) int { return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.ID, b.ID)) })
	return out
}

// Wait returns once the sessions of the given nodes, or all open sessions when
// none is given, have answered generation in all their types, and those nodes
// are connected. What they refused is a *RefusedError; the end of ctx is an
// error that names the nodes still missing.
func (l *Ledger) Wait(ctx context.Context, generation uint64, nodes ...string) error {
	for {
		l.mu.Lock()
		progress := l.progress
		l.mu.Unlock()
		missing, refused := l.behind(generation, nodes)
		if len(missing) == 0 {
			if len(refused) > 0 {
				return &RefusedError{Sessions: refused}
			}
			return nil
		}
		select {
		case <-progress:
		case <-ctx.Done():
			return fmt.Errorf("wait for generation %d to be acknowledged by %s: %w", generation, shorten(missing), context.Cause(ctx))
		}
	}
}

// RefusedError says which sessions refused something that is in force.
type RefusedError struct{ Sessions []Session }

func (e *RefusedError) Error() string {
	s := e.Sessions[0]
	text := ""
	for _, t := range s.Types {
		if t.Refusal != nil {
			text = t.Short + ": " + t.Refusal.Text
			break
		}
	}
	return fmt.Sprintf("%d proxies refused configuration, among them %s: %s", len(e.Sessions), s.Node, text)
}

func shorten(nodes []string) string {
	const most = 5
	slices.Sort(nodes)
	if len(nodes) <= most {
		return strings.Join(nodes, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(nodes[:most], ", "), len(nodes)-most)
}

func (l *Ledger) behind(generation uint64, nodes []string) (missing []string, refused []Session) {
	seen := map[string]bool{}
	for _, s := range l.Sessions() {
		if len(nodes) > 0 && !slices.Contains(nodes, s.Node) {
			continue
		}
		seen[s.Node] = true
		if s.Settled < generation {
			missing = append(missing, s.Node)
			continue
		}
		if slices.ContainsFunc(s.Types, func(t TypeStatus) bool { return t.Refusal != nil }) {
			refused = append(refused, s)
		}
	}
	for _, n := range nodes {
		if !seen[n] {
			missing = append(missing, n)
		}
	}
	return missing, refused
}

func (l *Ledger) open(s Session) *row {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last++
	s.ID = l.last
	r := &row{ledger: l, since: s.Connected, state: s, types: map[string]*TypeStatus{}}
	l.rows[s.ID] = r
	l.advance()
	return r
}

func (l *Ledger) close(r *row) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.rows, r.state.ID)
	l.advance()
}

// advance wakes those who wait; l.mu is held.
func (l *Ledger) advance() {
	close(l.progress)
	l.progress = make(chan struct{})
}

// row is a session's place in the ledger: written by the session, read by all.
type row struct {
	ledger *Ledger
	since  time.Time

	mu    sync.Mutex
	state Session // ID and what the session was opened with never change
	types map[string]*TypeStatus
}

func (r *row) session() Session {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.state
	s.Types = make([]TypeStatus, 0, len(r.types))
	for _, t := range r.types {
		s.Types = append(s.Types, *t)
	}
	slices.SortFunc(s.Types, func(a, b TypeStatus) int {
		return cmp.Or(cmp.Compare(ruleOf(a.TypeURL).rank, ruleOf(b.TypeURL).rank), cmp.Compare(a.TypeURL, b.TypeURL))
	})
	return s
}

func (r *row) of(sub *subscription) *TypeStatus {
	t := r.types[sub.typeURL]
	if t == nil {
		t = &TypeStatus{TypeURL: sub.typeURL, Short: sub.rule.short}
		r.types[sub.typeURL] = t
	}
	return t
}

func (r *row) subscribed(sub *subscription) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.of(sub)
	t.Wildcard, t.Subscribed, t.Resumed = sub.wildcard, len(sub.names), sub.resumed
}

func (r *row) sent(sub *subscription, in *inflight, bytes int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.of(sub)
	t.Sent = Delivery{Version: in.version, Nonce: in.nonce, Generation: in.generation, Time: in.sent}
	t.Bytes += uint64(bytes)
	t.Stale, t.Changed = true, in.sent
}

func (r *row) answered(sub *subscription, in *inflight, q request, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.of(sub)
	t.Changed = now
	if q.refused {
		names := slices.Sorted(maps.Keys(sub.refused))
		t.Refusal = &Refusal{Text: q.reason, Names: names[:min(len(names), maxRefusedNames)], Version: in.version, Time: now}
		return
	}
	t.Acked = Delivery{Version: in.version, Nonce: in.nonce, Generation: in.generation, Time: now}
	if len(sub.refused) == 0 {
		t.Refusal = nil
	}
}

// settle records how far each type is, and wakes those who wait when the session got further.
func (r *row) settle(generation uint64, subs []*subscription) {
	r.mu.Lock()
	for _, sub := range subs {
		t := r.of(sub)
		t.Settled = sub.settled
		t.Stale = sub.inflight != nil || len(sub.refused) > 0
	}
	further := generation != r.state.Settled
	r.state.Settled = generation
	r.mu.Unlock()
	if further {
		r.ledger.mu.Lock()
		r.ledger.advance()
		r.ledger.mu.Unlock()
	}
}
