package controlplane_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/meshctl/meshctl/internal/controlplane"
	"github.com/meshctl/meshctl/internal/resource"
)

// Size of the benchmark's mesh: issue 3, point 12.
const (
	benchServices   = 1000
	benchEndpoints  = 5
	benchNamespaces = 20
)

// largeMesh is services over namespaces, with endpoints, and one VirtualService
// for a tenth of them.
func largeMesh() string {
	var b strings.Builder
	for i := range benchServices {
		ns, name := fmt.Sprintf("ns-%d", i%benchNamespaces), fmt.Sprintf("svc-%d", i)
		fmt.Fprintf(&b, "---\napiVersion: v1\nkind: Service\nmetadata: {name: %s, namespace: %s}\nspec: {clusterIP: 10.96.%d.%d, selector: {app: %s}, ports: [{name: http, port: 80, targetPort: 8080}]}\n", name, ns, i/250, i%250+1, name)
		fmt.Fprintf(&b, "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: %s-1, namespace: %s, labels: {kubernetes.io/service-name: %s}}\naddressType: IPv4\nports: [{name: http, port: 8080}]\nendpoints:\n", name, ns, name)
		for j := range benchEndpoints {
			n := i*benchEndpoints + j
			fmt.Fprintf(&b, "- {addresses: [10.%d.%d.%d], targetRef: {kind: Pod, name: %s-%d, namespace: %s}}\n", 1+n/60000, n/250%240, n%250+1, name, j, ns)
		}
		for j := range benchEndpoints {
			n := i*benchEndpoints + j
			fmt.Fprintf(&b, "---\napiVersion: v1\nkind: Pod\nmetadata: {name: %s-%d, namespace: %s, labels: {app: %s, security.istio.io/tlsMode: istio}}\nspec: {serviceAccountName: default, containers: [{name: c, image: i}]}\nstatus: {phase: Running, podIPs: [{ip: 10.%d.%d.%d}]}\n", name, j, ns, name, 1+n/60000, n/250%240, n%250+1)
		}
		if i%10 == 0 {
			b.WriteString(benchRoute(i, 1))
		}
	}
	return b.String()
}

func benchRoute(i, seconds int) string {
	return fmt.Sprintf("---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: svc-%d, namespace: ns-%d}\nspec: {hosts: [svc-%d], http: [{timeout: %ds, route: [{destination: {host: svc-%d}}]}]}\n", i, i%benchNamespaces, i, seconds, i)
}

// BenchmarkMesh measures the control plane with MESH_BENCH_SIDECARS (100)
// simulated sidecars: what it costs to connect them, and what one change of a
// VirtualService costs. The clients only count and acknowledge; their CPU is in the
// numbers.
func BenchmarkMesh(b *testing.B) {
	sidecars := 100
	if s := os.Getenv("MESH_BENCH_SIDECARS"); s != "" {
		if _, err := fmt.Sscan(s, &sidecars); err != nil {
			b.Fatal(err)
		}
	}
	p := newPlane(b, controlplane.Settings{})
	objects, ds := resource.Decode("bench.yaml", []byte(largeMesh()), resource.Options{})
	if len(ds) > 0 {
		b.Fatal(ds[0])
	}
	cpu, began := cpuTime(), time.Now()
	p.cp.Sink().Apply("test", objects, nil)
	p.settle()
	loadCPU, load := cpuTime()-cpu, time.Since(began)

	cpu, began = cpuTime(), time.Now()
	sinks := connectCounters(b, p, sidecars)
	connectCPU, connect, bytes := cpuTime()-cpu, time.Since(began), sinks.bytes.Load()
	cpu = cpuTime()
	i := 0
	for b.Loop() {
		i++
		p.apply(benchRoute(i*10%benchServices, 2+i))
	}
	b.ReportMetric(loadCPU.Seconds(), "load-cpu-s")
	b.ReportMetric(load.Seconds(), "load-s")
	b.ReportMetric(connectCPU.Seconds(), "connect-cpu-s")
	b.ReportMetric(connect.Seconds(), "connect-s")
	b.ReportMetric(float64(bytes)/float64(sidecars)/1e6, "MB/sidecar")
	n := float64(i)
	b.ReportMetric(float64(sinks.bytes.Load()-bytes)/n/1e3, "kB/change")
	b.ReportMetric((cpuTime()-cpu).Seconds()/n, "cpu-s/change")
	b.ReportMetric(float64(b.Elapsed().Milliseconds())/n, "ms/change")
}

// counters are clients that count what they get.
type counters struct{ bytes atomic.Int64 }

func connectCounters(b *testing.B, p *plane, n int) *counters {
	c := &counters{}
	ctx, cancel := context.WithCancel(context.Background())
	var first, running sync.WaitGroup
	for i := range n {
		conn, err := grpc.NewClient(p.addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<20), grpc.ForceCodecV2(rawCodec{})))
		if err != nil {
			b.Fatal(err)
		}
		s, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true},
			discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResources_FullMethodName)
		if err != nil {
			b.Fatal(err)
		}
		service := i * 7 % benchServices
		nd := node(fmt.Sprintf("svc-%d-%d.ns-%d", service, i%benchEndpoints, service%benchNamespaces), "sidecar", true, nil)
		first.Add(len(allTypes))
		running.Go(func() { c.run(s, &first) })
		for j, t := range allTypes {
			q := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: t, ResourceNamesSubscribe: []string{"*"}}
			if j == 0 {
				q.Node = nd
			}
			if err := s.SendMsg(q); err != nil {
				b.Fatal(err)
			}
		}
		b.Cleanup(func() { _ = conn.Close() })
	}
	b.Cleanup(func() {
		cancel()
		running.Wait()
	})
	first.Wait()
	p.settle()
	return c
}

func (c *counters) run(s grpc.ClientStream, first *sync.WaitGroup) {
	seen := map[string]bool{}
	for {
		var m rawMessage
		if s.RecvMsg(&m) != nil {
			return
		}
		c.bytes.Add(int64(m.size))
		if s.SendMsg(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: m.typeURL, ResponseNonce: m.nonce}) != nil {
			return
		}
		if !seen[m.typeURL] {
			seen[m.typeURL] = true
			first.Done()
		}
	}
}

// rawMessage is what of a delta response an acknowledgement needs.
type rawMessage struct {
	typeURL, nonce string
	size           int
}

// rawCodec reads only that, so that the clients cost little.
type rawCodec struct{}

var _ encoding.CodecV2 = rawCodec{}

func (rawCodec) Name() string { return "proto" }

func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	raw, err := proto.Marshal(v.(proto.Message))
	return mem.BufferSlice{mem.SliceBuffer(raw)}, err
}

func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	m := v.(*rawMessage)
	raw := data.MaterializeToBuffer(mem.DefaultBufferPool())
	defer raw.Free()
	rest := raw.ReadOnlyData()
	m.size = len(rest)
	for len(rest) > 0 {
		num, typ, n := protowire.ConsumeTag(rest)
		if n < 0 {
			return protowire.ParseError(n)
		}
		rest = rest[n:]
		if typ == protowire.BytesType && (num == 4 || num == 5) {
			val, n := protowire.ConsumeBytes(rest)
			if n < 0 {
				return protowire.ParseError(n)
			}
			if num == 4 {
				m.typeURL = string(val)
			} else {
				m.nonce = string(val)
			}
			rest = rest[n:]
			continue
		}
		n = protowire.ConsumeFieldValue(num, typ, rest)
		if n < 0 {
			return protowire.ParseError(n)
		}
		rest = rest[n:]
	}
	return nil
}

// cpuTime is the processor time that this process has used.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
