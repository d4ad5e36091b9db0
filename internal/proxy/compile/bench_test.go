package compile

import (
	"fmt"
	"runtime"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
)

// mesh fills a compiler with n services: cluster, five endpoints, virtual host.
func mesh(t testing.TB, n int) (*Compiler, []*routev3.VirtualHost) {
	c := newCompiler(t)
	var hosts []*routev3.VirtualHost
	var cds, edss []Raw
	for i := range n {
		name := fmt.Sprintf("outbound|80||svc-%d.ns.svc.cluster.local", i)
		cds, edss = append(cds, edsCluster(name, 0)), append(edss, eds(name, 5))
		hosts = append(hosts, vhost(fmt.Sprintf("svc-%d.ns", i), name))
	}
	set(t, c, TypeCluster, cds...)
	set(t, c, TypeEndpoints, edss...)
	set(t, c, TypeRoute, rds("80", hosts...))
	set(t, c, TypeListener, lds("0.0.0.0_80", 80, "80"))
	if s := c.Snapshot(); len(s.Clusters) != n || len(s.Listeners) != 1 {
		t.Fatal("not published")
	}
	return c, hosts
}

func BenchmarkOneEndpointsChangeAmong1000(b *testing.B) {
	c, _ := mesh(b, 1000)
	name := "outbound|80||svc-500.ns.svc.cluster.local"
	v := []Raw{eds(name, 5), eds(name, 6)}
	i := 0
	for b.Loop() {
		i++
		set(b, c, TypeEndpoints, v[i%2])
		c.Snapshot()
	}
}

func BenchmarkOneHostChangeAmong1000(b *testing.B) {
	c, hosts := mesh(b, 1000)
	a := rds("80", hosts...)
	hosts[500] = vhost("svc-500.ns", "outbound|80||svc-1.ns.svc.cluster.local")
	v := []Raw{rds("80", hosts...), a}
	i := 0
	for b.Loop() {
		set(b, c, TypeRoute, v[i%2])
		c.Snapshot()
		i++
	}
}

func BenchmarkStartWith1000Services(b *testing.B) {
	for b.Loop() {
		mesh(b, 1000)
	}
}

// TestMemoryPerService keeps the compiled form of a service (cluster, five
// endpoints, virtual host with three domains) within its budget.
func TestMemoryPerService(t *testing.T) {
	const n = 2000
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	mesh(t, 10) // descriptors and caches
	before := heap()
	c, hosts := mesh(t, n)
	clear(hosts)
	per := (heap() - before) / n
	runtime.KeepAlive(c)
	t.Logf("%d bytes per service", per)
	if per > 8<<10 {
		t.Errorf("%d bytes per service, at most 8 KiB", per)
	}
}
