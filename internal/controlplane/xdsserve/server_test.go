package xdsserve

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestLedgerWait(t *testing.T) {
	t.Parallel()
	m := newMesh(t, Inputs{}, nil)
	m.put(TypeCluster, "a", "1")
	a, b := m.connect(t, "a"), m.connect(t, "b")
	a.subscribe(TypeCluster)
	a.want(TypeCluster, "a=1")
	b.subscribe(TypeCluster)
	r := b.wantNoAck(TypeCluster, "a=1")
	if err := m.srv.Ledger().Wait(t.Context(), 1, "a"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := m.srv.Ledger().Wait(ctx, 1); err == nil || !strings.Contains(err.Error(), "by b:") {
		t.Fatalf("Wait = %v", err)
	}
	if err := m.srv.Ledger().Wait(ctx, 1, "a", "absent"); err == nil || !strings.Contains(err.Error(), "by absent:") {
		t.Fatalf("Wait = %v", err)
	}
	done := make(chan error)
	go func() { done <- m.srv.Ledger().Wait(t.Context(), 1) }()
	b.ack(r)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	// What does not concern a session settles it at once.
	m.put(TypeRoute, "r", "1")
	if err := m.srv.Ledger().Wait(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	s := m.srv.Ledger().Sessions()
	if len(s) != 2 || s[0].Node != "a" || s[0].Types[0].Acked.Version != m.sets[TypeCluster].Version() || s[0].Types[0].Stale {
		t.Fatalf("sessions %+v", s)
	}
}

func TestCloseEndsSessions(t *testing.T) {
	t.Parallel()
	m := newMesh(t, Inputs{}, nil)
	c := m.connect(t, "a")
	c.subscribe(TypeCluster)
	m.put(TypeCluster, "a", "1")
	c.want(TypeCluster, "a=1")
	if err := m.srv.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.stream.Recv(); status.Code(err) != codes.Unavailable {
		t.Fatalf("error %v", err)
	}
	if n := len(m.srv.Ledger().Sessions()); n != 0 {
		t.Fatalf("%d sessions left", n)
	}
	late := m.connect(t, "late")
	if _, err := late.stream.Recv(); status.Code(err) != codes.Unavailable {
		t.Fatalf("error %v", err)
	}
	if err := m.srv.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestSessionLimit(t *testing.T) {
	t.Parallel()
	m := newMesh(t, Inputs{Limits: Limits{MaxSessions: 1}}, nil)
	m.put(TypeCluster, "a", "1")
	a := m.connect(t, "a")
	a.subscribe(TypeCluster)
	a.want(TypeCluster, "a=1")
	b := m.connect(t, "b")
	if _, err := b.stream.Recv(); status.Code(err) != codes.ResourceExhausted {
		t.Fatalf("error %v", err)
	}
}

func TestSilentStreamIsDropped(t *testing.T) {
	t.Parallel()
	m := newMesh(t, Inputs{Limits: Limits{FirstRequest: time.Millisecond}}, nil)
	c := m.connect(t, "a")
	if _, err := c.stream.Recv(); status.Code(err) != codes.DeadlineExceeded {
		t.Fatalf("error %v", err)
	}
}

// stuckWire never finishes a send, as a client that does not read.
type stuckWire struct{ ctx context.Context }

func (w stuckWire) Context() context.Context { return w.ctx }
func (w stuckWire) SendMsg(any) error {
	<-w.ctx.Done()
	return w.ctx.Err()
}

func TestSlowReaderIsDropped(t *testing.T) {
	t.Parallel()
	m := newMesh(t, Inputs{Limits: Limits{SendTimeout: time.Millisecond}}, nil)
	m.put(TypeCluster, "a", "1")
	first := true
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	err := m.srv.serve(stuckWire{ctx}, false, func() (request, error) {
		if first {
			first = false
			return request{node: &corev3.Node{Id: "slow"}, typeURL: TypeCluster}, nil
		}
		<-ctx.Done()
		return request{}, ctx.Err()
	})
	if status.Code(err) != codes.DeadlineExceeded {
		t.Fatalf("error %v", err)
	}
}

func TestPaceHoldsBack(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	p := newPace(10, 3)
	for i, want := range []time.Duration{0, 0, 0, 100 * time.Millisecond, 200 * time.Millisecond} {
		if got := p.wait(now); got != want {
			t.Fatalf("request %d waits %v, want %v", i, got, want)
		}
	}
	if got := p.wait(now.Add(time.Minute)); got != 0 {
		t.Fatalf("after a pause it waits %v", got)
	}
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	m := newMesh(t, Inputs{}, nil)
	reg := prometheus.NewPedanticRegistry()
	if err := reg.Register(m.srv.Metrics()); err != nil {
		t.Fatal(err)
	}
	c := m.connect(t, "a")
	c.subscribe(TypeListener)
	m.put(TypeListener, "l", "1")
	c.nack(c.wantNoAck(TypeListener, "l=1"), "no")
	c.quiet()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, x := range f.GetMetric() {
			name := f.GetName()
			for _, l := range x.GetLabel() {
				name += "{" + l.GetName() + "=" + l.GetValue() + "}"
			}
			got[name] = x.GetGauge().GetValue() + x.GetCounter().GetValue() + float64(x.GetHistogram().GetSampleCount())
		}
	}
	for name, want := range map[string]float64{
		"pilot_xds{version=unknown}": 1, "pilot_xds_pushes{type=lds}": 1, "pilot_total_xds_rejects{type=lds}": 1,
		"pilot_xds_config_size_bytes{type=lds}": 1, "pilot_xds_push_time{type=lds}": 1, "pilot_total_xds_internal_errors": 0,
	} {
		if got[name] != want {
			t.Errorf("%s = %v, want %v", name, got[name], want)
		}
	}
}

func TestWaitEndsWithItsContext(t *testing.T) {
	t.Parallel()
	l := newLedger()
	l.open(Session{Node: "n"})
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("enough")
	cancel(cause)
	if err := l.Wait(ctx, 1); !errors.Is(err, cause) {
		t.Fatalf("error %v", err)
	}
}
