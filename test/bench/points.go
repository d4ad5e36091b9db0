package main

import (
	"context"
	"fmt"
	"time"
)

// point is an operating point: what is sent, to which of the proxy's ports, and what
// the design asks for.
type point struct {
	name   string
	what   string
	task   loadTask
	port   func(ports) int
	must   float64 // smallest acceptable ratio of Envoy's time to ours
	target string  // the row of the design's table
	goal   float64 // the ratio to stretch for
}

// points is the list of what is measured, in the order of the report.
func points() []point {
	h1 := func(p ports) int { return p.H1 }
	h1tls := func(p ports) int { return p.H1TLS }
	h2 := func(p ports) int { return p.H2 }
	get := func(kind string, conns, streams int) loadTask {
		return loadTask{Kind: kind, Path: "/api/v1/items", Answer: kib, Conns: conns, Streams: streams}
	}
	grpc := func(conns, streams int) loadTask {
		return loadTask{Kind: "grpc", Path: "/bench.Echo/Unary", Answer: len(grpcMessage), Conns: conns, Streams: streams}
	}
	with := func(t loadTask, change func(*loadTask)) loadTask { change(&t); return t }
	secure := func(t *loadTask) { t.TLS = true }
	paced := func(t *loadTask) { t.Rate = 1000 }
	sized := func(path string, n int) func(*loadTask) {
		return func(t *loadTask) { t.Path, t.Answer = "/api/v1/"+path, n }
	}
	return []point{
		{"h1-c16", "HTTP/1.1, 1 KiB, 16 connections", get("h1", 16, 1), h1, 2.2, "H1 plaintext 1 KB, closed loop", 3},
		{"h1-c64", "HTTP/1.1, 1 KiB, 64 connections", get("h1", 64, 1), h1, 2.2, "H1 plaintext 1 KB, closed loop", 3},
		{"h1-rps1000", "HTTP/1.1, 1000 requests/s, 16 connections", with(get("h1", 16, 1), paced), h1, 2.0, "H1 1000 rps paced", 3},
		{"h1-mtls-in", "HTTP/1.1, mTLS from the client", with(get("h1", 16, 1), secure), h1tls, 2.0, "H1 mTLS (inbound or outbound)", 2.8},
		{"h1-mtls-out", "HTTP/1.1, mTLS to the backend", get("h1", 16, 1), func(p ports) int { return p.H1Out }, 2.0, "H1 mTLS (inbound or outbound)", 2.8},
		{"h2-c4m16", "HTTP/2, 1 KiB, 4 connections of 16 streams", get("h2", 4, 16), h2, 3, "H2 multiplexed / gRPC unary", 5},
		{"grpc-c8m8", "gRPC unary, 8 connections of 8 streams", grpc(8, 8), h2, 3, "H2 multiplexed / gRPC unary", 5},
		{"grpc-rps1000", "gRPC unary, 1000 calls/s", with(grpc(8, 8), paced), h2, 3, "H2 multiplexed / gRPC unary", 5},
		{"grpc-stream", "gRPC streaming, 1 KiB messages both ways, 4 connections of 8 streams", loadTask{Kind: "stream", Path: "/bench.Echo/Stream", Answer: len(streamMessage), Conns: 4, Streams: 8}, h2, 2, "gRPC streaming, 1 KB messages", 3},
		{"grpc-mtls", "gRPC unary, mTLS on both sides", with(grpc(8, 8), secure), func(p ports) int { return p.GRPCTLS }, 3, "H2 multiplexed / gRPC unary", 5},
		{"tcp-pingpong", "TCP, 1 KiB there and back, 16 connections", loadTask{Kind: "tcp", Answer: kib, Conns: 16}, func(p ports) int { return p.TCP }, 1.1, "TCP ping-pong", 1.2},
		{"tcp-bulk", "TCP, 1 MiB answers, 4 connections", loadTask{Kind: "tcp", Answer: mib, Conns: 4}, func(p ports) int { return p.Bulk }, 1.0, "bulk >= 1 MB, plain or TLS", 1.1},
		{"h1-64k", "HTTP/1.1, 64 KiB answers", with(get("h1", 16, 1), sized("64k", 64*kib)), h1, 1.4, "64 KB bodies plain / TLS", 1.7},
		{"h1-64k-tls", "HTTP/1.1, 64 KiB answers, mTLS from the client", with(with(get("h1", 16, 1), sized("64k", 64*kib)), secure), h1tls, 1.2, "64 KB bodies plain / TLS", 1.35},
		{"h1-64k-up", "HTTP/1.1, 64 KiB requests", with(with(get("h1", 16, 1), sized("empty", 0)), func(t *loadTask) { t.Upload = 64 * kib }), h1, 1.4, "64 KB bodies plain / TLS", 1.7},
		{"h1-1m", "HTTP/1.1, 1 MiB answers", with(get("h1", 4, 1), sized("1m", mib)), h1, 1.0, "bulk >= 1 MB, plain or TLS", 1.1},
		{"h1-1m-tls", "HTTP/1.1, 1 MiB answers, mTLS from the client", with(with(get("h1", 4, 1), sized("1m", mib)), secure), h1tls, 1.0, "bulk >= 1 MB, plain or TLS", 1.1},
		{"h1-new", "HTTP/1.1, a connection for each request", with(get("h1", 8, 1), func(t *loadTask) { t.Once = true }), h1, 0, "", 0},
		{"mtls-new", "HTTP/1.1, an mTLS connection for each request", with(with(get("h1", 8, 1), secure), func(t *loadTask) { t.Once = true }), h1tls, 1.0, "full mTLS handshake", 1.2},
	}
}

// measured is what came out at one point, a sample of each proxy in each round.
type measured struct {
	point
	rounds   [2][]sample
	repeated [2]int // windows thrown away
}

// sample is one window.
type sample struct {
	us       float64 // processor time per request, microseconds
	user     float64 // of that, the share outside of the kernel
	rps      float64
	switches float64 // voluntary context switches per request
	p50, p99 time.Duration
	others   float64 // how busy programs that do not belong to the run kept the machine, in processors
}

// measure takes all samples, round by round, one proxy right after the other.
func (b *bed) measure(ctx context.Context) ([]*measured, error) {
	var all []*measured
	for _, p := range points() {
		if b.only.MatchString(p.name) {
			all = append(all, &measured{point: p})
		}
	}
	for round := range b.rounds {
		for i, m := range all {
			order := []kind{native, envoy}
			if (round+i)%2 == 1 {
				order = []kind{envoy, native}
			}
			for _, k := range order {
				s, err := b.sampleAgain(ctx, m, b.proxies[k])
				if err != nil {
					return nil, fmt.Errorf("measure %s of %s: %w", m.name, k, err)
				}
				m.rounds[k] = append(m.rounds[k], s)
			}
			n, e := m.rounds[native][round], m.rounds[envoy][round]
			say("round %d/%d  %-13s native %8.1f us  envoy %8.1f us  ratio %.2f  (others %.2f)", round+1, b.rounds, m.name, n.us, e.us, e.us/n.us, max(n.others, e.others))
		}
	}
	return all, nil
}

// sampleAgain gives a window that failed two more chances: on a busy machine the
// generator may not get the time to send what is due. The report says so.
func (b *bed) sampleAgain(ctx context.Context, m *measured, p *proxyUnderTest) (s sample, err error) {
	for range 3 {
		if s, err = b.sample(ctx, m.point, p); err == nil || ctx.Err() != nil {
			return s, err
		}
		m.repeated[p.kind]++
		say("%s of %s: %v", m.name, p.kind, err)
	}
	return s, err
}

// sample runs the generator once.
func (b *bed) sample(ctx context.Context, pt point, p *proxyUnderTest) (sample, error) {
	t := pt.task
	t.Addr = fmt.Sprintf("127.0.0.1:%d", pt.port(p.ports))
	t.Keys, t.PID, t.Warm, t.Window = b.keys, p.pid(), b.warm, b.window
	ctx, cancel := context.WithTimeout(ctx, b.warm+b.window+15*time.Second)
	defer cancel()
	others := b.machineBusy()
	began := time.Now()
	l, err := b.role(ctx, "load", t)
	if err != nil {
		return sample{}, err
	}
	defer l.stop()
	var r loadResult
	if err := readAnswer(l, &r); err != nil {
		return sample{}, err
	}
	if err := l.wait(); err != nil {
		return sample{}, err
	}
	others = b.machineBusy() - others - l.cmd.ProcessState.SystemTime() - l.cmd.ProcessState.UserTime()
	switch {
	case r.Errors > 0:
		return sample{}, fmt.Errorf("%d errors, the first: %s", r.Errors, r.First)
	case r.Answers == 0:
		return sample{}, fmt.Errorf("no answer in %s", t.Window)
	case t.Rate > 0 && float64(r.Unsent) > 0.02*t.Rate*t.Window.Seconds():
		return sample{}, fmt.Errorf("%d requests that were due could not be sent: the machine is too busy", r.Unsent)
	}
	n := float64(r.Answers)
	s := sample{
		us: float64(r.Usage.CPU.Nanoseconds()) / 1000 / n, rps: n / r.Elapsed.Seconds(), switches: float64(r.Usage.Switches) / n,
		p50: r.P50, p99: r.P99, others: max(0, others.Seconds()/time.Since(began).Seconds()),
	}
	if total := r.Usage.User + r.Usage.Sys; total > 0 {
		s.user = s.us * r.Usage.User.Seconds() / total.Seconds()
	}
	return s, nil
}

// machineBusy is how long both processors have worked for programs other than the
// backend and the proxies.
func (b *bed) machineBusy() time.Duration {
	sum := busy(b.proxyCPU)
	if b.loadCPU != b.proxyCPU {
		sum += busy(b.loadCPU)
	}
	for _, p := range []*process{b.backend, b.proxies[native].process, b.proxies[envoy].process} {
		if u, err := readUsage(p.pid()); err == nil {
			sum -= u.CPU
		}
	}
	return sum
}
