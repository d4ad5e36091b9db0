package xdsgen

import (
	"cmp"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/meshctl/meshctl/internal/mesh"
)

// LoadAssignment gives the endpoints of a cluster, by locality.
func LoadAssignment(in EndpointsInput) *endpointv3.ClusterLoadAssignment {
	out := &endpointv3.ClusterLoadAssignment{ClusterName: ClusterName(in.Port.Number, in.Subset, in.Service.Host)}
	if in.SNI {
		out.ClusterName = SNIClusterName(in.Port.Number, in.Subset, in.Service.Host)
	}
	groups := map[mesh.Locality]*endpointv3.LocalityLbEndpoints{}
	of := map[*endpointv3.LocalityLbEndpoints][]*mesh.Endpoint{}
	for _, e := range in.reached(selected(in)) {
		g := groups[e.Locality]
		if g == nil {
			g = &endpointv3.LocalityLbEndpoints{Locality: localityOf(e.Locality)}
			groups[e.Locality] = g
			out.Endpoints = append(out.Endpoints, g)
		}
		g.LbEndpoints = append(g.LbEndpoints, lbEndpoint(in, e))
		of[g] = append(of[g], e)
	}
	slices.SortFunc(out.Endpoints, func(a, b *endpointv3.LocalityLbEndpoints) int {
		return cmp.Or(cmp.Compare(a.Locality.GetRegion(), b.Locality.GetRegion()),
			cmp.Compare(a.Locality.GetZone(), b.Locality.GetZone()), cmp.Compare(a.Locality.GetSubZone(), b.Locality.GetSubZone()))
	})
	for _, g := range out.Endpoints {
		g.LoadBalancingWeight = u32(sum(g.LbEndpoints))
	}
	if LocalityMatters(in) {
		localityRules{EndpointsInput: in, setting: localitySetting(in.Common, policyOf(in))}.apply(out, of)
	}
	return out
}

// selected are the endpoints of the subset that can be of use, in a fixed order.
func selected(in EndpointsInput) []*mesh.Endpoint {
	var labels map[string]string
	if in.Subset != "" {
		s, ok := in.Policy.Subset(in.Subset)
		if !ok {
			return nil
		}
		labels = s.Labels
	}
	var out []*mesh.Endpoint
	for _, e := range in.Endpoints {
		if e.Health == mesh.Unhealthy && !in.Service.PublishNotReady || !e.Selected(labels) {
			continue
		}
		if in.SNI && (e.TLSMode != mesh.TLSModeIstio || in.ClientNetwork != "" && e.Network != "" && e.Network != in.ClientNetwork) {
			continue
		}
		if !in.IPv6 {
			e = e.OverIPv4()
		}
		out = append(out, e)
	}
	slices.SortFunc(out, func(a, b *mesh.Endpoint) int {
		return cmp.Or(strings.Compare(a.Address, b.Address), cmp.Compare(a.Port, b.Port), strings.Compare(a.Pod, b.Pod))
	})
	return slices.CompactFunc(out, func(a, b *mesh.Endpoint) bool {
		return a.Address == b.Address && a.Port == b.Port && a.Network == b.Network
	})
}

func localityOf(l mesh.Locality) *corev3.Locality {
	if l == (mesh.Locality{}) {
		return nil
	}
	return &corev3.Locality{Region: l.Region, Zone: l.Zone, SubZone: l.Subzone}
}

func sum(l []*endpointv3.LbEndpoint) uint32 {
	var n uint64
	for _, e := range l {
		n += uint64(e.GetLoadBalancingWeight().GetValue())
	}
	return uint32(min(n, 1<<32-1))
}

func lbEndpoint(in EndpointsInput, e *mesh.Endpoint) *endpointv3.LbEndpoint {
	to := &endpointv3.Endpoint{Address: tcpAddress(e.Address, e.Port)}
	if strings.HasPrefix(e.Address, "/") {
		to.Address = pipeAddress(e.Address)
	}
	if in.Dialect != mesh.DialectNative { // which calls the first alone
		for _, a := range e.Additional {
			to.AdditionalAddresses = append(to.AdditionalAddresses, &endpointv3.Endpoint_AdditionalAddress{Address: tcpAddress(a, e.Port)})
		}
	}
	out := &endpointv3.LbEndpoint{
		HostIdentifier:      &endpointv3.LbEndpoint_Endpoint{Endpoint: to},
		LoadBalancingWeight: u32(max(e.Weight, 1)),
		Metadata:            endpointMetadata(in, e),
	}
	switch e.Health {
	case mesh.Draining:
		out.HealthStatus = corev3.HealthStatus_DRAINING
	case mesh.Unhealthy: // publishNotReadyAddresses
	default:
		out.HealthStatus = corev3.HealthStatus_HEALTHY
	}
	return out
}

// endpointMetadata tells what the endpoint is, for metrics, and whether it takes mTLS.
func endpointMetadata(in EndpointsInput, e *mesh.Endpoint) *corev3.Metadata {
	m := map[string]*structpb.Struct{}
	if in.AutoMTLS && !in.SNI && e.TLSMode == mesh.TLSModeIstio {
		m["envoy.transport_socket_match"] = object(map[string]any{tlsModeKey: mesh.TLSModeIstio})
	}
	if w := workloadOf(e); w != "" {
		fields := map[string]any{"workload": w}
		if in.Dialect != mesh.DialectNative { // its formats cannot take w apart
			for i, k := range []string{"workload_name", "workload_namespace", "canonical_service", "canonical_revision", "cluster"} {
				fields[k] = strings.Split(w, ";")[i]
			}
		}
		m["istio"] = object(fields)
	}
	if len(m) == 0 {
		return nil
	}
	return &corev3.Metadata{FilterMetadata: m}
}

// Labels by which Istio names the canonical service of a workload.
const (
	labelCanonicalName     = "service.istio.io/canonical-name"
	labelCanonicalRevision = "service.istio.io/canonical-revision"
)

// workloadOf is workload;namespace;canonical service;canonical revision;cluster.
func workloadOf(e *mesh.Endpoint) string {
	if e.Workload == "" && len(e.Labels) == 0 {
		return ""
	}
	name := cmp.Or(e.Labels[labelCanonicalName], e.Labels["app.kubernetes.io/name"], e.Labels["app"], e.Workload)
	rev := cmp.Or(e.Labels[labelCanonicalRevision], e.Labels["app.kubernetes.io/version"], e.Labels["version"], "latest")
	return strings.Join([]string{e.Workload, e.Namespace, name, rev, e.Cluster}, ";")
}
