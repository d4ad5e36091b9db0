package xdsserve

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
)

// skim is a client codec that counts the bytes of a response and reads only its
// type and nonce, so that the benchmark measures the server rather than a
// hundred clients parsing what they got.
type skim struct{ proto encoding.CodecV2 }

type skimmed struct {
	typeURL, nonce string
	bytes          int
}

func (skim) Name() string                             { return "proto" }
func (s skim) Marshal(v any) (mem.BufferSlice, error) { return s.proto.Marshal(v) }
func (s skim) Unmarshal(data mem.BufferSlice, v any) error {
	out, ok := v.(*skimmed)
	if !ok {
		return s.proto.Unmarshal(data, v)
	}
	out.bytes = data.Len()
	head := make([]byte, min(out.bytes, 256))
	data.CopyTo(head)
	for len(head) > 2 && head[0] != 0x12 && head[0] != 0x32 {
		n := int(head[1])
		switch head[0] {
		case 4<<3 | 2:
			out.typeURL = string(head[2 : 2+n])
		case 5<<3 | 2:
			out.nonce = string(head[2 : 2+n])
		}
		head = head[2+n:]
	}
	return nil
}

// benchMesh has 1,000 services: a cluster of 700 bytes, endpoints of 400 and a
// route of 600 each.
func benchMesh(b *testing.B, services int) *mesh {
	m := newMesh(b, Inputs{}, nil)
	for _, kind := range []struct {
		typeURL string
		size    int
	}{{TypeCluster, 700}, {TypeEndpoint, 400}, {TypeRoute, 600}} {
		var rs []*Resource
		for i := range services {
			rs = append(rs, raw(kind.typeURL, serviceName(i), strings.Repeat("x", kind.size)))
		}
		m.sets[kind.typeURL], _ = NewSet(nil, rs)
	}
	m.publish()
	return m
}

func serviceName(i int) string {
	return fmt.Sprintf("outbound|8080||service-%04d.default.svc.cluster.local", i)
}

// swarm is a number of clients that acknowledge everything.
type swarm struct {
	cancel context.CancelFunc
}

func (m *mesh) swarm(b *testing.B, clients, services int) *swarm {
	ctx, cancel := context.WithCancel(context.Background())
	s := &swarm{cancel: cancel}
	names := make([]string, services)
	for i := range names {
		names[i] = serviceName(i)
	}
	desc := &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}
	for i := range clients {
		stream, err := m.conn.NewStream(ctx, desc, discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResources_FullMethodName,
			grpc.ForceCodecV2(skim{newCodec(Limits{}).proto}))
		if err != nil {
			b.Fatal(err)
		}
		for _, r := range []*discoveryv3.DeltaDiscoveryRequest{
			{Node: &corev3.Node{Id: fmt.Sprintf("node-%d", i)}, TypeUrl: TypeCluster},
			{TypeUrl: TypeEndpoint, ResourceNamesSubscribe: names},
			{TypeUrl: TypeRoute, ResourceNamesSubscribe: names},
		} {
			if err := stream.SendMsg(r); err != nil {
				b.Fatal(err)
			}
		}
		go func() {
			for {
				var got skimmed
				if stream.RecvMsg(&got) != nil {
					return
				}
				if stream.SendMsg(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: got.typeURL, ResponseNonce: got.nonce}) != nil {
					return
				}
			}
		}()
	}
	return s
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func (m *mesh) allAcked(b *testing.B, clients int) {
	var nodes []string
	for i := range clients {
		nodes = append(nodes, fmt.Sprintf("node-%d", i))
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for {
		if err := m.srv.Ledger().Wait(ctx, m.gen, nodes...); err != nil {
			b.Fatal(err)
		}
		ready := 0
		for _, s := range m.srv.Ledger().Sessions() {
			if len(s.Types) == 3 {
				ready++
			}
		}
		if ready == clients {
			return
		}
	}
}

const benchServices, benchSessions = 1000, 100

// BenchmarkConnect: 100 sessions connect to 1,000 services (CPU of clients included).
func BenchmarkConnect(b *testing.B) {
	m := benchMesh(b, benchServices)
	cpu := cpuTime()
	b.ReportAllocs()
	for b.Loop() {
		s := m.swarm(b, benchSessions, benchServices)
		m.allAcked(b, benchSessions)
		s.cancel()
		for len(m.srv.Ledger().Sessions()) > 0 {
			m.srv.Ledger().mu.Lock()
			progress := m.srv.Ledger().progress
			m.srv.Ledger().mu.Unlock()
			if len(m.srv.Ledger().Sessions()) > 0 {
				<-progress
			}
		}
	}
	b.ReportMetric(float64((cpuTime()-cpu).Microseconds())/1000/float64(b.N), "cpu-ms/op")
}

// BenchmarkOneChange: one resource changes, until the last of 100 sessions has
// acknowledged it.
func BenchmarkOneChange(b *testing.B) {
	m := benchMesh(b, benchServices)
	s := m.swarm(b, benchSessions, benchServices)
	defer s.cancel()
	m.allAcked(b, benchSessions)
	sent := func() (n uint64) {
		for _, s := range m.srv.Ledger().Sessions() {
			for _, t := range s.Types {
				n += t.Bytes
			}
		}
		return n
	}
	before, cpu, i := sent(), cpuTime(), 0
	b.ReportAllocs()
	for b.Loop() {
		i++
		m.put(TypeRoute, serviceName(i%benchServices), strings.Repeat("y", 590)+fmt.Sprintf("%010d", i))
		if err := m.srv.Ledger().Wait(context.Background(), m.gen); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64((cpuTime()-cpu).Microseconds())/1000/float64(i), "cpu-ms/op")
	b.ReportMetric(float64(sent()-before)/float64(i), "sent-B/op")
}

// BenchmarkDiff compares two Sets of 1,000 that differ in one resource.
func BenchmarkDiff(b *testing.B) {
	m := benchMesh(b, benchServices)
	before := m.sets[TypeCluster]
	after := before.With([]*Resource{raw(TypeCluster, serviceName(500), "y")}, nil)
	b.ReportAllocs()
	for b.Loop() {
		n := 0
		Diff(before, after, func(_, _ *Resource) { n++ })
		if n != 1 {
			b.Fatal(n)
		}
	}
}
