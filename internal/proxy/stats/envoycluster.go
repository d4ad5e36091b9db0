package stats

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/meshctl/meshctl/internal/proxy/snapshot"
	"github.com/meshctl/meshctl/internal/proxy/upstream"
	"github.com/meshctl/meshctl/internal/proxy/xdsclient"
)

// Clusters is the source of cluster.<name>.*. Scrapes show only clusters that
// have been used: a mesh has many, a workload talks to few.
type Clusters struct {
	Find     func(name string) *upstream.ClusterState // (*upstream.Shared).Find
	Snapshot func() *snapshot.Snapshot
	// XDS is the connection to the control plane, shown as the cluster xds-grpc; may be nil.
	XDS func() xdsclient.Status
}

// xdsCluster is the name under which dashboards look for the control plane.
const xdsCluster = "xds-grpc"

// ClusterStat is a cluster's name in statistics, as Envoy writes it.
func ClusterStat(c *snapshot.Cluster) string {
	n := c.StatName
	if n == "" {
		n = c.Name
	}
	return strings.ReplaceAll(n, ":", "_")
}

// clusterRow is a cluster with its values read once.
type clusterRow struct {
	prefix, labels string
	s              *upstream.ClusterStats
	total, healthy int64
	ejected        int64
}

type clusterMetric struct {
	name string
	kind Kind
	get  func(r *clusterRow) int64
}

func count(get func(s *upstream.ClusterStats) uint64) func(*clusterRow) int64 {
	return func(r *clusterRow) int64 { return int64(get(r.s)) }
}

// clusterMetrics are Envoy's names for what package upstream counts.
func clusterMetrics() []clusterMetric {
	type st = upstream.ClusterStats
	return []clusterMetric{
		{"upstream_cx_total", Counter, count(func(s *st) uint64 { return s.CxTotal.Load() })},
		{"upstream_cx_http1_total", Counter, count(func(s *st) uint64 { return s.CxHTTP1.Load() })},
		{"upstream_cx_http2_total", Counter, count(func(s *st) uint64 { return s.CxHTTP2.Load() })},
		{"upstream_cx_connect_fail", Counter, count(func(s *st) uint64 { return s.CxConnectFail.Load() })},
		{"upstream_cx_connect_timeout", Counter, count(func(s *st) uint64 { return s.CxConnectTimeout.Load() })},
		{"upstream_cx_overflow", Counter, count(func(s *st) uint64 { return s.CxOverflow.Load() })},
		{"upstream_cx_destroy", Counter, count(func(s *st) uint64 { return s.CxDestroy.Load() })},
		{"upstream_cx_none_healthy", Counter, count(func(s *st) uint64 { return s.NoneHealthy.Load() })},
		{"upstream_cx_active", Gauge, func(r *clusterRow) int64 { return r.s.CxActive.Load() }},
		{"upstream_rq_total", Counter, count(func(s *st) uint64 { return s.RqTotal.Load() })},
		{"upstream_rq_completed", Counter, count(func(s *st) uint64 { return s.RqCompleted.Load() })},
		{"upstream_rq_pending_total", Counter, count(func(s *st) uint64 { return s.RqPendingTotal.Load() })},
		{"upstream_rq_pending_overflow", Counter, count(func(s *st) uint64 { return s.RqPendingOverflow.Load() + s.RqOverflow.Load() })},
		{"upstream_rq_pending_failure_eject", Counter, count(func(s *st) uint64 { return s.RqPendingFailure.Load() })},
		{"upstream_rq_retry", Counter, count(func(s *st) uint64 { return s.RqRetry.Load() })},
		{"upstream_rq_timeout", Counter, count(func(s *st) uint64 { return s.RqTimeout.Load() })},
		{"upstream_rq_cancelled", Counter, count(func(s *st) uint64 { return s.RqCancelled.Load() })},
		{"upstream_rq_rx_reset", Counter, count(func(s *st) uint64 { return s.RqRxReset.Load() })},
		{"upstream_rq_tx_reset", Counter, count(func(s *st) uint64 { return s.RqTxReset.Load() })},
		{"upstream_rq_active", Gauge, func(r *clusterRow) int64 { return r.s.RqActive.Load() }},
		{"upstream_rq_pending_active", Gauge, func(r *clusterRow) int64 { return r.s.RqPendingActive.Load() }},
		{"membership_total", Gauge, func(r *clusterRow) int64 { return r.total }},
		{"membership_healthy", Gauge, func(r *clusterRow) int64 { return r.healthy }},
		{"outlier_detection.ejections_enforced_total", Counter, count(func(s *st) uint64 { return s.OutlierEjections.Load() })},
		{"outlier_detection.ejections_active", Gauge, func(r *clusterRow) int64 { return r.ejected }},
		{"update_success", Counter, count(func(s *st) uint64 { return s.UpdateSuccess.Load() })},
		{"update_failure", Counter, count(func(s *st) uint64 { return s.DNSFailed.Load() })},
	}
}

// Families implements Source.
func (c Clusters) Families(used bool, yield func(*Family)) {
	rows := c.rows(used)
	if len(rows) == 0 {
		return
	}
	points := make([]Point, len(rows))
	for _, m := range clusterMetrics() {
		for i := range rows {
			points[i] = Point{Prefix: rows[i].prefix, Labels: rows[i].labels, Value: m.get(&rows[i])}
		}
		yield(&Family{Name: "envoy_cluster_" + strings.ReplaceAll(m.name, ".", "_"), Suffix: m.name, Kind: m.kind, Points: points})
	}
	c.classes(rows, yield)
}

// classes shows upstream_rq_Nxx, one family in Prometheus' form.
func (c Clusters) classes(rows []clusterRow, yield func(*Family)) {
	all := &Family{Name: "envoy_cluster_upstream_rq_xx", Kind: Counter}
	for class := 2; class <= 5; class++ {
		dotted := &Family{Suffix: "upstream_rq_" + strconv.Itoa(class) + "xx", Kind: Counter}
		for i := range rows {
			s := rows[i].s
			n := int64([...]uint64{s.Rq2xx.Load(), s.Rq3xx.Load(), s.Rq4xx.Load(), s.Rq5xx.Load()}[class-2])
			dotted.Points = append(dotted.Points, Point{Prefix: rows[i].prefix, Value: n})
			all.Points = append(all.Points, Point{
				Labels: string(appendLabel(appendLabel(nil, "response_code_class", strconv.Itoa(class)), "cluster_name", rows[i].label())), Value: n,
			})
		}
		yield(dotted)
	}
	yield(all)
}

// label is the cluster's name as the label cluster_name: without the delimiter.
func (r *clusterRow) label() string {
	return strings.TrimSuffix(strings.TrimPrefix(r.prefix, "cluster."), ";")
}

func (c Clusters) rows(used bool) []clusterRow {
	snap, now := c.Snapshot(), time.Now()
	names := make([]string, 0, len(snap.Clusters))
	for n := range snap.Clusters {
		names = append(names, n)
	}
	slices.Sort(names)
	var rows []clusterRow
	for _, n := range names {
		cl := snap.Clusters[n]
		state := c.Find(n)
		if state == nil && used {
			continue
		}
		row := clusterRow{prefix: "cluster." + ClusterStat(cl), s: &upstream.ClusterStats{}}
		if state != nil {
			row.s = &state.Stats
		}
		row.labels = string(appendLabel(nil, "cluster_name", row.label()))
		row.members(snap.EndpointsOf(cl), state, now)
		rows = append(rows, row)
	}
	if c.XDS != nil {
		st := c.XDS()
		row := clusterRow{prefix: "cluster." + xdsCluster, labels: string(appendLabel(nil, "cluster_name", xdsCluster)), s: &upstream.ClusterStats{}, total: 1}
		row.s.CxTotal.Store(uint64(st.Reconnects))
		if st.Connected {
			row.s.CxActive.Store(1)
			row.s.CxTotal.Add(1)
			row.healthy = 1
		}
		rows = append(rows, row)
	}
	return rows
}

func (r *clusterRow) members(eps *snapshot.Endpoints, state *upstream.ClusterState, now time.Time) {
	if eps != nil {
		for i := range eps.Localities {
			for j := range eps.Localities[i].Endpoints {
				r.total++
				if eps.Localities[i].Endpoints[j].Health.Usable() {
					r.healthy++
				}
			}
		}
	}
	if state == nil {
		return
	}
	for _, h := range state.Hosts() {
		if h.Ejected(now) {
			r.ejected++
		}
	}
	r.healthy = max(0, r.healthy-r.ejected)
}
