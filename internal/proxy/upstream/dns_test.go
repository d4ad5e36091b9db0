package upstream

import (
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// script answers each lookup by the next entry; the last one stays.
type script struct {
	mu      sync.Mutex
	answers [][]netip.Addr // nil: an error
	asked   chan int
	n       int
}

func (s *script) Lookup(string) ([]netip.Addr, time.Duration, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.answers[min(s.n, len(s.answers)-1)]
	s.n++
	select {
	case s.asked <- s.n:
	default:
	}
	if a == nil {
		return nil, 0, errors.New("no such host")
	}
	return a, 0, nil
}

func TestANameThatIsNotKnownYetIsAskedAgainSoonAndTheLastGoodAnswerStays(t *testing.T) {
	t.Parallel()
	a := netip.MustParseAddr("10.0.0.1")
	s := &script{answers: [][]netip.Addr{nil, {a}, nil}, asked: make(chan int, 16)}
	eps := &snapshot.Endpoints{Localities: []snapshot.Locality{{Endpoints: []snapshot.Endpoint{{Host: "books.example.com", Port: 80, Weight: 1}}}}}
	// A minute between refreshes: only the quick retry makes the second lookup come in time.
	cl := &snapshot.Cluster{Name: "c", Discovery: snapshot.DiscoverStrictDNS, DNS: &snapshot.DNS{Refresh: time.Minute}}
	st := NewShared().State("c")
	log := slog.New(slog.DiscardHandler)
	st.resolve(s, cl, eps, log)
	deadline := time.After(10 * time.Second)
	for n := 0; n < 2; {
		select {
		case n = <-s.asked:
		case <-deadline:
			t.Fatal("the name was not asked for again")
		}
	}
	var hosts []resolvedHost
	for len(hosts) == 0 {
		hosts, _ = st.resolve(s, cl, eps, log)
		select {
		case <-deadline:
			t.Fatal("the answer did not come into force")
		default:
		}
	}
	if hosts[0].addr != netip.AddrPortFrom(a, 80) {
		t.Fatalf("resolved %v", hosts)
	}
	// A failing lookup keeps what is known.
	r := st.names
	if _, ok := r.lookup(st, s, log); ok {
		t.Error("a failure was taken for success")
	}
	if hosts, _ = st.resolve(s, cl, eps, log); len(hosts) != 1 {
		t.Errorf("after a failure: %v", hosts)
	}
	r.stop()
}
