package admin

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/meshctl/meshctl/internal/proxy/snapshot"
	"github.com/meshctl/meshctl/internal/proxy/upstream"
)

// hostRow is one host of a cluster: its configuration, and its state if it was used.
type hostRow struct {
	addr     netip.AddrPort
	endpoint *snapshot.Endpoint // nil for original destinations
	locality *snapshot.Locality
	state    *upstream.Host // nil: never used
}

// name is the address, or what there is in its place.
func (h *hostRow) name() string {
	switch e := h.endpoint; {
	case h.addr.IsValid():
		return h.addr.String()
	case e != nil && e.Info != nil && e.Info.Pipe != "":
		return e.Info.Pipe
	case e != nil:
		return fmt.Sprintf("%s:%d", e.Host, e.Port)
	default:
		return ""
	}
}

// hosts lists a cluster's hosts: the configured ones, and those found by DNS or
// original destination.
func hosts(s *snapshot.Snapshot, c *snapshot.Cluster, state *upstream.ClusterState) []hostRow {
	byAddr := map[netip.AddrPort]*upstream.Host{}
	var known []*upstream.Host
	if state != nil {
		known = state.Hosts()
		for _, h := range known {
			byAddr[h.Address()] = h
		}
	}
	var out []hostRow
	if eps := s.EndpointsOf(c); eps != nil {
		for i := range eps.Localities {
			l := &eps.Localities[i]
			for j := range l.Endpoints {
				e := &l.Endpoints[j]
				if !e.Addr.IsValid() && (e.Info == nil || e.Info.Pipe == "") && len(known) > 0 {
					continue // a name: its addresses follow
				}
				out = append(out, hostRow{addr: e.Addr, endpoint: e, locality: l, state: byAddr[e.Addr]})
				delete(byAddr, e.Addr)
			}
		}
	}
	for _, h := range known {
		if byAddr[h.Address()] != nil {
			out = append(out, hostRow{addr: h.Address(), endpoint: h.Endpoint(), state: h})
		}
	}
	return out
}

func (s *Server) clusters(w http.ResponseWriter, r *http.Request) {
	snap := s.o.Snapshot()
	names := slices.Sorted(maps.Keys(snap.Clusters))
	if r.URL.Query().Get("format") != "json" {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		s.stream(w, func(b io.Writer) error {
			for _, n := range names {
				if err := s.clusterText(b, snap, snap.Clusters[n]); err != nil {
					return err
				}
			}
			return nil
		})
		return
	}
	w.Header().Set("Content-Type", "application/json")
	s.stream(w, func(b io.Writer) error {
		if _, err := io.WriteString(b, `{"cluster_statuses":[`); err != nil {
			return err
		}
		l := list{w: b}
		for _, n := range names {
			j, err := options().Marshal(s.clusterStatus(snap, snap.Clusters[n]))
			if err != nil {
				return err
			}
			l.raw(j)
		}
		if l.err != nil {
			return l.err
		}
		_, err := io.WriteString(b, "]}\n")
		return err
	})
}

func (s *Server) clusterStatus(snap *snapshot.Snapshot, c *snapshot.Cluster) *adminv3.ClusterStatus {
	out := &adminv3.ClusterStatus{
		Name: c.Name, AddedViaApi: c.Version != "", ObservabilityName: strings.TrimSuffix(c.StatName, ";"), EdsServiceName: c.EDSName,
		CircuitBreakers: breakers(c.Breakers),
	}
	if out.ObservabilityName == "" {
		out.ObservabilityName = c.Name
	}
	now := s.o.Now()
	for _, h := range hosts(snap, c, s.o.Clusters(c.Name)) {
		out.HostStatuses = append(out.HostStatuses, hostStatus(&h, now))
	}
	return out
}

func breakers(b *snapshot.Breakers) *clusterv3.CircuitBreakers {
	if b == nil {
		return nil
	}
	of := func(p corev3.RoutingPriority, t *snapshot.Threshold) *clusterv3.CircuitBreakers_Thresholds {
		return &clusterv3.CircuitBreakers_Thresholds{
			Priority: p, MaxConnections: wrapperspb.UInt32(t.Connections), MaxPendingRequests: wrapperspb.UInt32(t.Pending),
			MaxRequests: wrapperspb.UInt32(t.Requests), MaxRetries: wrapperspb.UInt32(t.Retries),
		}
	}
	return &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{
		of(corev3.RoutingPriority_DEFAULT, &b.Default), of(corev3.RoutingPriority_HIGH, &b.High),
	}}
}

// hostStat is one counter of a host.
type hostStat struct {
	name  string
	gauge bool
	value uint64
}

// hostStats are a host's counters, in the order of their names.
func hostStats(h *upstream.Host) []hostStat {
	if h == nil {
		h = &upstream.Host{}
	}
	s := &h.Stats
	return []hostStat{
		{"cx_active", true, uint64(max(0, s.CxActive.Load()))},
		{"cx_connect_fail", false, s.CxConnectFail.Load()},
		{"cx_total", false, s.CxTotal.Load()},
		{"rq_active", true, uint64(max(0, h.Active()))},
		{"rq_error", false, s.RqError.Load()},
		{"rq_success", false, s.RqSuccess.Load()},
		{"rq_timeout", false, s.RqTimeout.Load()},
		{"rq_total", false, s.RqTotal.Load()},
	}
}

func hostStatus(h *hostRow, now time.Time) *adminv3.HostStatus {
	out := &adminv3.HostStatus{
		Weight: 1, Locality: &corev3.Locality{},
		HealthStatus: &adminv3.HostHealthStatus{EdsHealthStatus: corev3.HealthStatus_HEALTHY},
	}
	for _, st := range hostStats(h.state) {
		m := &adminv3.SimpleMetric{Name: st.name, Value: st.value}
		if st.gauge {
			m.Type = adminv3.SimpleMetric_GAUGE
		}
		out.Stats = append(out.Stats, m)
	}
	if h.addr.IsValid() {
		out.Address = socketAddress(h.addr)
	}
	if e := h.endpoint; e != nil {
		out.Weight = max(1, e.Weight)
		out.Hostname = e.Host
		out.HealthStatus.EdsHealthStatus = health(e.Health)
		if e.Info != nil {
			if e.Info.Hostname != "" {
				out.Hostname = e.Info.Hostname
			}
			if e.Info.Pipe != "" {
				out.Address = pipeAddress(e.Info.Pipe)
			}
		}
	}
	if l := h.locality; l != nil {
		out.Priority = l.Priority
		out.Locality = &corev3.Locality{Region: l.Region, Zone: l.Zone, SubZone: l.SubZone}
	}
	out.HealthStatus.FailedOutlierCheck = h.state != nil && h.state.Ejected(now)
	return out
}

// health follows Envoy, which shows a host whose health is not told as healthy.
func health(h snapshot.Health) corev3.HealthStatus {
	switch h {
	case snapshot.Unhealthy:
		return corev3.HealthStatus_UNHEALTHY
	case snapshot.Draining:
		return corev3.HealthStatus_DRAINING
	case snapshot.HealthTimeout:
		return corev3.HealthStatus_TIMEOUT
	case snapshot.Degraded:
		return corev3.HealthStatus_DEGRADED
	default:
		return corev3.HealthStatus_HEALTHY
	}
}

// clusterText writes Envoy's plain form: cluster::key::value and cluster::host::key::value.
func (s *Server) clusterText(w io.Writer, snap *snapshot.Snapshot, c *snapshot.Cluster) error {
	var b strings.Builder
	name := strings.TrimSuffix(c.StatName, ";")
	if name == "" {
		name = c.Name
	}
	fmt.Fprintf(&b, "%s::observability_name::%s\n", c.Name, name)
	if br := c.Breakers; br != nil {
		for _, p := range []struct {
			name string
			t    *snapshot.Threshold
		}{{"default_priority", &br.Default}, {"high_priority", &br.High}} {
			fmt.Fprintf(&b, "%s::%s::max_connections::%d\n", c.Name, p.name, p.t.Connections)
			fmt.Fprintf(&b, "%s::%s::max_pending_requests::%d\n", c.Name, p.name, p.t.Pending)
			fmt.Fprintf(&b, "%s::%s::max_requests::%d\n", c.Name, p.name, p.t.Requests)
			fmt.Fprintf(&b, "%s::%s::max_retries::%d\n", c.Name, p.name, p.t.Retries)
		}
	}
	fmt.Fprintf(&b, "%s::added_via_api::%t\n", c.Name, c.Version != "")
	if c.EDSName != "" {
		fmt.Fprintf(&b, "%s::eds_service_name::%s\n", c.Name, c.EDSName)
	}
	now := s.o.Now()
	for _, h := range hosts(snap, c, s.o.Clusters(c.Name)) {
		at := c.Name + "::" + h.name() + "::"
		for _, st := range hostStats(h.state) {
			fmt.Fprintf(&b, "%s%s::%d\n", at, st.name, st.value)
		}
		st := hostStatus(&h, now)
		flags := strings.ToLower(st.GetHealthStatus().GetEdsHealthStatus().String())
		if flags != "healthy" {
			flags = "/failed_eds_health"
		}
		if st.GetHealthStatus().GetFailedOutlierCheck() {
			flags = strings.TrimPrefix(flags, "healthy") + "/failed_outlier_check"
		}
		fmt.Fprintf(&b, "%shostname::%s\n%shealth_flags::%s\n%sweight::%d\n", at, st.GetHostname(), at, flags, at, st.GetWeight())
		fmt.Fprintf(&b, "%sregion::%s\n%szone::%s\n%ssub_zone::%s\n%spriority::%d\n",
			at, st.GetLocality().GetRegion(), at, st.GetLocality().GetZone(), at, st.GetLocality().GetSubZone(), at, st.GetPriority())
	}
	_, err := io.WriteString(w, b.String())
	return err
}
