package stats

import (
	"math"
	"runtime/metrics"
	"strings"
	"time"

	"github.com/meshctl/meshctl/internal/proxy/listener"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
	"github.com/meshctl/meshctl/internal/proxy/xdsclient"
)

// Listeners is the source of listener.<address>.*.
type Listeners struct {
	Status func() []listener.Status // (*listener.Manager).Status
}

// Families implements Source.
func (l Listeners) Families(used bool, yield func(*Family)) {
	all := l.Status()
	for _, m := range []struct {
		name string
		kind Kind
		get  func(*listener.Stats) int64
	}{
		{"downstream_cx_total", Counter, func(s *listener.Stats) int64 { return int64(s.Total) }},
		{"downstream_cx_active", Gauge, func(s *listener.Stats) int64 { return s.Active }},
		{"downstream_cx_overflow", Counter, func(s *listener.Stats) int64 { return int64(s.Overflow) }},
		{"downstream_pre_cx_timeout", Counter, func(s *listener.Stats) int64 { return int64(s.Timeout) }},
		{"no_filter_chain_match", Counter, func(s *listener.Stats) int64 { return int64(s.NoChain) }},
		{"ssl.connection_error", Counter, func(s *listener.Stats) int64 { return int64(s.TLSFailed) }},
	} {
		f := &Family{Name: "envoy_listener_" + strings.ReplaceAll(m.name, ".", "_"), Suffix: m.name, Kind: m.kind}
		seen := map[string]int{} // listeners of one address are one in statistics
		for i := range all {
			if used && all[i].Stats.Total == 0 {
				continue
			}
			name := ListenerStat(all[i].Listener)
			at, ok := seen[name]
			if !ok {
				at = len(f.Points)
				seen[name] = at
				f.Points = append(f.Points, Point{Prefix: "listener." + name, Labels: string(appendLabel(nil, "listener_address", name))})
			}
			f.Points[at].Value += m.get(&all[i].Stats)
		}
		if len(f.Points) > 0 {
			yield(f)
		}
	}
}

// Server state, as Envoy numbers it.
const (
	StateLive int64 = iota
	StateDraining
	StatePreInitializing
	StateInitializing
)

// Server is the source of server.*, cluster_manager.*, listener_manager.* and
// control_plane.*.
type Server struct {
	State       func() int64
	Began       time.Time
	Concurrency int
	Version     string
	Connections func() int
	Snapshot    func() *snapshot.Snapshot
	Listeners   func() []listener.Status
	XDS         func() xdsclient.Status // may be nil
	Now         func() time.Time        // default time.Now
}

// Families implements Source.
func (s Server) Families(_ bool, yield func(*Family)) {
	now := time.Now
	if s.Now != nil {
		now = s.Now
	}
	one := func(prefix, name string, kind Kind, v int64) {
		yield(&Family{
			Name:   "envoy_" + strings.ReplaceAll(prefix+"."+name, ".", "_"),
			Suffix: name, Kind: kind, Points: []Point{{Prefix: prefix, Value: v}},
		})
	}
	snap := s.Snapshot()
	state := s.State()
	live := int64(0)
	if state == StateLive {
		live = 1
	}
	mem := ReadMemory()
	one("server", "state", Gauge, state)
	one("server", "live", Gauge, live)
	one("server", "uptime", Gauge, int64(now().Sub(s.Began).Seconds()))
	one("server", "concurrency", Gauge, int64(s.Concurrency))
	one("server", "total_connections", Gauge, int64(s.Connections()))
	one("server", "parent_connections", Gauge, 0)
	one("server", "hot_restart_epoch", Gauge, 0)
	one("server", "memory_allocated", Gauge, int64(mem.Allocated))
	one("server", "memory_heap_size", Gauge, int64(mem.Heap))
	one("server", "memory_physical_size", Gauge, int64(mem.Total))
	one("server", "days_until_first_cert_expiring", Gauge, daysLeft(snap, now()))
	yield(&Family{Suffix: "version_text", Kind: Text, Points: []Point{{Prefix: "server", Text: s.Version}}})
	s.managers(snap, one)
}

func (s Server) managers(snap *snapshot.Snapshot, one func(prefix, name string, kind Kind, v int64)) {
	one("cluster_manager", "active_clusters", Gauge, int64(len(snap.Clusters)))
	one("cluster_manager", "warming_clusters", Gauge, int64(len(snap.Missing.WarmingClusters)))
	var active, failed, workers int64
	for _, l := range s.Listeners() {
		if len(l.Errors) > 0 {
			failed++
		} else {
			active++
		}
	}
	if snap.Generation > 0 {
		workers = 1
	}
	one("listener_manager", "total_listeners_active", Gauge, active)
	one("listener_manager", "total_listeners_warming", Gauge, int64(len(snap.Missing.WarmingListeners)))
	one("listener_manager", "total_listeners_draining", Gauge, 0)
	one("listener_manager", "listener_create_failure", Gauge, failed)
	one("listener_manager", "workers_started", Gauge, workers)
	if s.XDS == nil {
		return
	}
	st := s.XDS()
	connected := int64(0)
	if st.Connected {
		connected = 1
	}
	one("control_plane", "connected_state", Gauge, connected)
	for _, url := range sortedByID(st.Types) {
		t := st.Types[url]
		prefix, ok := subscriptionStat(url)
		if !ok {
			continue
		}
		one(prefix, "update_success", Counter, int64(t.Accepted))
		one(prefix, "update_rejected", Counter, int64(t.Rejected))
		one(prefix, "update_attempt", Counter, int64(t.Accepted+t.Rejected))
		one(prefix, "resources", Gauge, int64(t.Resources))
	}
}

// subscriptionStat is where Envoy counts the updates of a type. Routes and
// endpoints have one subscription here, not one for each resource.
func subscriptionStat(url string) (string, bool) {
	_, name, _ := strings.Cut(url, "/")
	s, ok := map[string]string{
		"envoy.config.cluster.v3.Cluster":                  "cluster_manager.cds",
		"envoy.config.endpoint.v3.ClusterLoadAssignment":   "cluster_manager.eds",
		"envoy.config.listener.v3.Listener":                "listener_manager.lds",
		"envoy.config.route.v3.RouteConfiguration":         "listener_manager.rds",
		"envoy.extensions.transport_sockets.tls.v3.Secret": "sds",
		"envoy.config.route.v3.VirtualHost":                "listener_manager.vhds",
	}[name]
	return s, ok
}

// daysLeft is the time until the first certificate expires; the largest number
// when there is none, as in Envoy.
func daysLeft(s *snapshot.Snapshot, now time.Time) int64 {
	days := int64(math.MaxUint32)
	for _, sec := range s.Secrets {
		if sec.Certificate != nil && !sec.NotAfter.IsZero() {
			days = min(days, max(0, int64(sec.NotAfter.Sub(now).Hours()/24)))
		}
	}
	return days
}

// Memory is the process' memory in bytes.
type Memory struct{ Allocated, Heap, Unmapped, Free, Total uint64 }

// ReadMemory asks the runtime.
func ReadMemory() Memory {
	s := []metrics.Sample{
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/memory/classes/heap/unused:bytes"},
		{Name: "/memory/classes/heap/released:bytes"},
		{Name: "/memory/classes/heap/free:bytes"},
		{Name: "/memory/classes/total:bytes"},
	}
	metrics.Read(s)
	v := func(i int) uint64 { return s[i].Value.Uint64() }
	return Memory{Allocated: v(0), Heap: v(0) + v(1) + v(3), Unmapped: v(2), Free: v(3), Total: v(4) - v(2)}
}
