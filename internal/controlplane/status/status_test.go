package status

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/resource"
)

func key(kind resource.Kind, name string) resource.Key {
	return resource.Key{Kind: kind, Namespace: "shop", Name: name}
}

func finding(code string, severity diag.Severity, kind, name, message string) diag.Diagnostic {
	return diag.Diagnostic{Code: code, Severity: severity, Object: diag.Object{Kind: kind, Namespace: "shop", Name: name}, Message: message}
}

func TestDesired(t *testing.T) {
	t.Parallel()
	a := key(resource.KindVirtualService, "a")
	got := Desired([]diag.Diagnostic{
		finding(resource.CodeSchema, diag.Error, "VirtualService", "a", "unknown field"),
		finding(resource.CodeLastGood, diag.Warning, "VirtualService", "a", "the version before stays"),
		finding("IST0101", diag.Error, "VirtualService", "b", "host not found"),
		finding("IST0002", diag.Info, "VirtualService", "c", "deprecated"),
		finding(resource.CodeSource, diag.Warning, "Cluster", "", "the API server is away"),
		finding("IST0101", diag.Error, "Pod", "p", "of no resource of ours"),
	}, []Refusal{
		{Node: "p2.shop", Reason: "too long", From: []resource.Key{a, {Kind: resource.KindService, Namespace: "shop", Name: "s"}}},
		{Node: "p1.shop", Reason: "bad regex", From: []resource.Key{a}},
	})
	if len(got) != 2 {
		t.Fatalf("statuses are %v", got)
	}
	s := got[a]
	if s.Accepted.True || s.Accepted.Message != "unknown field; the version before stays" || s.Accepted.Reason != "SetAside" || len(s.Messages) != 2 {
		t.Errorf("a was told %+v", s)
	}
	if s.Reconciled.True || s.Reconciled.Message != "refused by 2 proxies, the first is p1.shop: bad regex" {
		t.Errorf("a was told %+v", s.Reconciled)
	}
	if s := got[key(resource.KindVirtualService, "b")]; !s.Accepted.True || s.Accepted.Reason != "Findings" || s.Messages[0].Level != "ERROR" || !s.Reconciled.True {
		t.Errorf("b was told %+v", s)
	}
}

func TestMessagesAreBounded(t *testing.T) {
	t.Parallel()
	var ds []diag.Diagnostic
	for i := range 100 {
		ds = append(ds, finding(fmt.Sprint("IST", i), diag.Warning, "Sidecar", "a", strings.Repeat("é", 50)))
	}
	s := Desired(ds, nil)[key(resource.KindSidecar, "a")]
	if len(s.Messages) != maxMessages || len(s.Accepted.Message) > maxText || !strings.HasSuffix(s.Accepted.Message, "…") {
		t.Errorf("%d messages, text of %d bytes: %s", len(s.Messages), len(s.Accepted.Message), s.Accepted.Message)
	}
}

// memory is a Writer.
type memory struct {
	mu       sync.Mutex // the test looks at and changes what is below between rounds
	statuses map[resource.Key]Status
	gone     map[resource.Key]bool
	fail     error
	writes   []string
}

func (m *memory) Read(context.Context) (map[resource.Key]Status, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.statuses), m.fail
}

func (m *memory) Write(_ context.Context, k resource.Key, s Status) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.gone[k] {
		return ErrGone
	}
	if m.fail != nil {
		return m.fail
	}
	m.writes = append(m.writes, k.Name)
	m.statuses[k] = s
	return nil
}

func TestReconciler(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		broken := func(text string) Status {
			s := Fine()
			s.Accepted = Condition{Reason: "SetAside", Message: text}
			return s
		}
		k := func(name string) resource.Key { return key(resource.KindSidecar, name) }
		long := time.Now().Add(-time.Hour)
		stale := broken("long ago")
		stale.Accepted.Since = long
		m := &memory{statuses: map[resource.Key]Status{k("repaired"): stale, k("still"): stale}, gone: map[resource.Key]bool{k("gone"): true}}
		want := map[resource.Key]Status{k("still"): broken("now"), k("gone"): broken("x")}
		for i := range 5 {
			want[k(fmt.Sprint("n", i))] = broken("x")
		}
		r := &Reconciler[Status]{
			Writer: m, Every: time.Second, PerRound: 3, Now: time.Now, Logger: slog.New(slog.DiscardHandler),
			Desired: func() map[resource.Key]Status {
				m.mu.Lock()
				defer m.mu.Unlock()
				return maps.Clone(want)
			},
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); r.Run(ctx) }()
		synctest.Wait()
		m.mu.Lock() // but while rounds run
		if len(m.writes) > 3 {
			t.Errorf("the first round wrote %v", m.writes)
		}
		rounds := func(n int) {
			m.mu.Unlock()
			<-time.After(time.Duration(n) * time.Second)
			synctest.Wait()
			m.mu.Lock()
		}
		rounds(5)
		if got := strings.Join(m.writes, " "); len(m.writes) != 7 || strings.Count(got, "repaired") != 1 {
			t.Errorf("written are %s", got)
		}
		if s := m.statuses[k("repaired")]; !s.Equal(Fine()) || !s.Accepted.Since.After(long) {
			t.Errorf("the repaired one was told %+v", s)
		}
		if s := m.statuses[k("still")]; s.Accepted.Message != "now" || !s.Accepted.Since.Equal(long) {
			t.Errorf("the one that is still broken was told %+v", s)
		}
		rounds(5)
		if len(m.writes) != 7 {
			t.Errorf("without a change were written %v", m.writes[7:])
		}
		m.fail = errors.New("no")
		delete(want, k("n1"))
		rounds(2)
		m.fail = nil
		rounds(2)
		if s := m.statuses[k("n1")]; !s.Equal(Fine()) || len(m.writes) != 8 {
			t.Errorf("after a failure n1 was told %+v, writes %v", s, m.writes)
		}
		m.mu.Unlock()
		cancel()
		<-done
	})
}
