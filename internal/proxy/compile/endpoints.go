package compile

import (
	"errors"
	"fmt"
	"math"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/proto"

	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// endpoints compiles a load assignment. With dns, hosts may be names.
func (c *Compiler) endpoints(m *endpointv3.ClusterLoadAssignment, dns bool) (*snapshot.Endpoints, error) {
	out := &snapshot.Endpoints{
		Name: c.str(m.GetClusterName()), Overprovisioning: u32(m.GetPolicy().GetOverprovisioningFactor(), 140),
		WeightedPriority: m.GetPolicy().GetWeightedPriorityHealth(),
	}
	var err error
	if out.StaleAfter, err = dur(m.GetPolicy().GetEndpointStaleAfter(), 0); err != nil {
		return nil, in("policy.endpoint_stale_after", err)
	}
	for i, d := range m.GetPolicy().GetDropOverloads() {
		f, err := fraction(d.DropPercentage, 0)
		if err != nil {
			return nil, in("policy", at("drop_overloads", i, err))
		}
		out.Drops = append(out.Drops, snapshot.Drop{Category: c.str(d.Category), Fraction: f})
	}
	total := 0
	if n := len(m.GetEndpoints()); n > 0 {
		out.Localities = make([]snapshot.Locality, n)
	}
	for i, l := range m.GetEndpoints() {
		if total += len(l.LbEndpoints); total > maxEndpoints {
			return nil, fmt.Errorf("more than %d endpoints", maxEndpoints)
		}
		if err := c.locality(&out.Localities[i], l, dns); err != nil {
			return nil, at("endpoints", i, err)
		}
	}
	return out, nil
}

func (c *Compiler) locality(out *snapshot.Locality, m *endpointv3.LocalityLbEndpoints, dns bool) error {
	out.Region, out.Zone, out.SubZone = c.str(m.GetLocality().GetRegion()), c.str(m.GetLocality().GetZone()), c.str(m.GetLocality().GetSubZone())
	out.Priority, out.Weight = m.Priority, u32(m.LoadBalancingWeight, 0)
	if out.Priority > 128 {
		return in("priority", fmt.Errorf("%d, at most 128", out.Priority))
	}
	if m.LbConfig != nil {
		return unsupported("endpoints by reference (%T)", m.LbConfig)
	}
	out.Endpoints = make([]snapshot.Endpoint, len(m.LbEndpoints))
	for i, e := range m.LbEndpoints {
		if err := c.endpoint(&out.Endpoints[i], e, dns); err != nil {
			return at("lb_endpoints", i, err)
		}
	}
	return nil
}

func (c *Compiler) endpoint(out *snapshot.Endpoint, m *endpointv3.LbEndpoint, dns bool) error {
	e := m.GetEndpoint()
	if e == nil {
		return unsupported("endpoint %T", m.HostIdentifier)
	}
	if out.Weight = u32(m.LoadBalancingWeight, 1); out.Weight == 0 {
		return in("load_balancing_weight", errors.New("must be above zero"))
	}
	switch m.HealthStatus {
	case corev3.HealthStatus_UNKNOWN:
		out.Health = snapshot.HealthUnknown
	case corev3.HealthStatus_HEALTHY:
		out.Health = snapshot.Healthy
	case corev3.HealthStatus_UNHEALTHY:
		out.Health = snapshot.Unhealthy
	case corev3.HealthStatus_DRAINING:
		out.Health = snapshot.Draining
	case corev3.HealthStatus_TIMEOUT:
		out.Health = snapshot.HealthTimeout
	case corev3.HealthStatus_DEGRADED:
		out.Health = snapshot.Degraded
	default:
		return in("health_status", unsupported("status %v", m.HealthStatus))
	}
	pipe := ""
	switch a := e.GetAddress().GetAddress().(type) {
	case *corev3.Address_SocketAddress:
		if err := c.endpointAddr(out, a.SocketAddress, dns); err != nil {
			return in("endpoint.address", err)
		}
	case *corev3.Address_Pipe:
		pipe = a.Pipe.GetPath()
	default:
		return in("endpoint.address", unsupported("address %T", a))
	}
	info, err := c.endpointInfo(m, e, pipe)
	out.Info = info
	return err
}

func (c *Compiler) endpointAddr(out *snapshot.Endpoint, s *corev3.SocketAddress, dns bool) error {
	ap, err := socketAddr(s)
	if err == nil {
		out.Addr = ap
		return nil
	}
	if !dns {
		return err
	}
	if s.Address == "" || len(s.Address) > 253 || strings.ContainsAny(s.Address, " /\x00") {
		return in("socket_address.address", fmt.Errorf("%q is not a host name", s.Address))
	}
	out.Host = c.str(lowerASCII(s.Address))
	out.Port, err = socketPort(s)
	return err
}

// endpointInfo gives the shared part of an endpoint; nil when there is none.
func (c *Compiler) endpointInfo(m *endpointv3.LbEndpoint, e *endpointv3.Endpoint, pipe string) (*snapshot.EndpointInfo, error) {
	hc := e.HealthCheckConfig
	if e.Hostname == "" && pipe == "" && m.Metadata == nil && hc == nil && len(e.AdditionalAddresses) == 0 {
		return nil, nil
	}
	// Endpoints of one workload differ by address only: what is left after
	// taking it away identifies the info.
	rest := &endpointv3.LbEndpoint{Metadata: m.Metadata, HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{
		Hostname: e.Hostname, HealthCheckConfig: hc, AdditionalAddresses: e.AdditionalAddresses,
	}}}
	k, err := proto.MarshalOptions{Deterministic: true}.MarshalAppend(c.scratch[:0], rest)
	if err != nil {
		return nil, err
	}
	k = append(k, pipe...)
	c.scratch = k
	if v := c.infos[string(k)]; v != nil {
		return v, nil
	}
	v := &snapshot.EndpointInfo{Hostname: e.Hostname, Pipe: pipe}
	p := hc.GetPortValue()
	if p > math.MaxUint16 {
		return nil, in("endpoint.health_check_config.port_value", fmt.Errorf("%d is not a port", p))
	}
	v.HealthPort = uint16(p)
	for i, a := range e.AdditionalAddresses {
		ap, err := socketAddr(a.GetAddress().GetSocketAddress())
		if err != nil {
			return nil, in("endpoint", at("additional_addresses", i, err))
		}
		v.Additional = append(v.Additional, ap)
	}
	if err := c.endpointMetadata(v, m.Metadata); err != nil {
		return nil, in("metadata", err)
	}
	if len(c.infos) > maxMemo {
		clear(c.infos)
	}
	c.infos[string(k)] = v
	return v, nil
}

func (c *Compiler) endpointMetadata(v *snapshot.EndpointInfo, m *corev3.Metadata) error {
	f := m.GetFilterMetadata()
	v.SocketMatch = c.criteria(m, "envoy.transport_socket_match")
	v.LB = c.criteria(m, "envoy.lb")
	v.Canary = f["envoy.lb"].GetFields()["canary"].GetBoolValue()
	v.HashKey = structString(f["envoy.lb"], "hash_key")
	// workload;namespace;canonical name;canonical revision;cluster
	parts := strings.Split(structString(f["istio"], "workload"), ";")
	for i, dst := range []*string{&v.Workload.Name, &v.Workload.Namespace, &v.Workload.CanonicalName, &v.Workload.CanonicalRevision, &v.Workload.Cluster} {
		if i < len(parts) {
			*dst = c.str(parts[i])
		}
	}
	var err error
	v.Metadata, err = c.metadata(m)
	return err
}
