package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/meshctl/meshctl/internal/proxy/engine"
	"github.com/meshctl/meshctl/internal/proxy/tlsconn"
)

// Sizes of the memory measurements.
const (
	manyServices    = 1000
	idleConnections = 2000
)

// memory is what one proxy holds, in bytes.
type memory struct {
	idle      resident // after one request
	services  resident // with manyServices more clusters and virtual hosts, in one listener
	perConn   float64  // for an idle connection that has served a request
	perTLS    float64  // the same in mutual TLS
	afterward resident // after the plain connections were closed
}

// holdTask opens connections, sends a request on each and keeps them.
type holdTask struct {
	Addr  string
	Conns int
	TLS   bool
	Keys  pki
}

// measureMemory starts fresh processes for each figure, as neither proxy gives all
// of its memory back.
func (b *bed) measureMemory(ctx context.Context) ([2]memory, error) {
	var all [2]memory
	for _, k := range []kind{native, envoy} {
		m := &all[k]
		for _, step := range []func(context.Context, kind, *memory) error{b.memoryPlain, b.memoryTLS, b.memoryServices} {
			if err := step(ctx, k, m); err != nil {
				return all, fmt.Errorf("measure memory of %s: %w", k, err)
			}
		}
		say("memory of %s: idle %.1f MiB, %d services +%.1f MiB, idle connection %.1f KiB, in TLS %.1f KiB", k, mibs(m.idle.Total),
			manyServices, mibs(m.services.Total)-mibs(m.idle.Total), m.perConn/kib, m.perTLS/kib)
	}
	return all, nil
}

func mibs(n uint64) float64 { return float64(n) / mib }

func (b *bed) memoryPlain(ctx context.Context, k kind, m *memory) error {
	p, err := b.startProxy(ctx, k, 0)
	if err != nil {
		return err
	}
	defer p.stop()
	if m.idle, err = settled(ctx, p.pid()); err != nil {
		return err
	}
	m.perConn, err = b.perConnection(ctx, p, p.ports.H1, false)
	if err != nil {
		return err
	}
	m.afterward, err = settled(ctx, p.pid())
	return err
}

func (b *bed) memoryTLS(ctx context.Context, k kind, m *memory) error {
	p, err := b.startProxy(ctx, k, 0)
	if err != nil {
		return err
	}
	defer p.stop()
	m.perTLS, err = b.perConnection(ctx, p, p.ports.H1TLS, true)
	return err
}

func (b *bed) memoryServices(ctx context.Context, k kind, m *memory) error {
	p, err := b.startProxy(ctx, k, manyServices)
	if err != nil {
		return err
	}
	defer p.stop()
	m.services, err = settled(ctx, p.pid())
	return err
}

// perConnection is the growth by idle connections, divided by their number. A few
// are opened before, for what is made once.
func (b *bed) perConnection(ctx context.Context, p *proxyUnderTest, port int, secure bool) (float64, error) {
	t := holdTask{Addr: fmt.Sprintf("127.0.0.1:%d", port), Conns: 20, TLS: secure, Keys: b.keys}
	few, err := b.hold(ctx, t)
	if err != nil {
		return 0, err
	}
	defer few.stop()
	before, err := settled(ctx, p.pid())
	if err != nil {
		return 0, err
	}
	t.Conns = idleConnections
	many, err := b.hold(ctx, t)
	if err != nil {
		return 0, err
	}
	defer many.stop()
	after, err := settled(ctx, p.pid())
	return (float64(after.Total) - float64(before.Total)) / idleConnections, err
}

func (b *bed) hold(ctx context.Context, t holdTask) (*process, error) {
	p, err := b.role(ctx, "hold", t)
	if err != nil {
		return nil, err
	}
	var open int
	if err := readAnswer(p, &open); err != nil {
		p.stop()
		return nil, err
	}
	return p, nil
}

// settled is the memory a moment later, when what is deferred has been done.
func settled(ctx context.Context, pid int) (resident, error) {
	select {
	case <-ctx.Done():
		return resident{}, ctx.Err()
	case <-time.After(3 * time.Second):
		return readResident(pid)
	}
}

// holdConnections is the role: connections are opened one after the other.
func holdConnections(t holdTask) error {
	l := &loader{t: loadTask{Kind: "h1", Path: "/api/v1/items", Answer: kib, Conns: 1, Rate: 1}}
	var err error
	if l.addr, err = netip.ParseAddrPort(t.Addr); err != nil {
		return err
	}
	if t.TLS {
		common, err := t.Keys.common("client", tlsconn.ALPNHTTP11)
		if err != nil {
			return err
		}
		if l.tls, err = tlsconn.NewClientConfig(tlsconn.ClientOptions{Common: common, ServerName: "proxy"}); err != nil {
			return err
		}
	}
	e, err := engine.New(engine.Options{Workers: 1})
	if err != nil {
		return err
	}
	l.w = e.Workers()[0]
	e.Start()
	l.measuring = true
	end := time.Now().Add(time.Minute)
	for open := 0; open < t.Conns; {
		l.on(func() {
			// A new connection is idle before its request and after it.
			for _, s := range l.idle {
				if h := s.(*h1Client); h.request != nil {
					h.send(time.Now())
					h.request = nil
				}
			}
			l.idle = l.idle[:0]
			if open < t.Conns && int(l.res.Answers) == open {
				newH1Client(l)
				open++
			}
			err = l.heldError(open)
		})
		if err != nil {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("only %d connections in a minute", open)
		}
		time.Sleep(100 * time.Microsecond)
	}
	if err := answer(t.Conns); err != nil {
		return err
	}
	untilParentEnds()
	l.on(func() { l.ending = true })
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	return e.Close(ctx)
}

func (l *loader) heldError(open int) error {
	if l.res.Errors > 0 {
		return errors.New(l.res.First)
	}
	if int(l.res.Answers) > open {
		return fmt.Errorf("%d answers on %d connections", l.res.Answers, open)
	}
	return nil
}
