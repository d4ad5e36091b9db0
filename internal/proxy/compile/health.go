package compile

import (
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"

	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// clusterHealth compiles active health checks.
func (c *Compiler) clusterHealth(out *snapshot.Cluster, m *clusterv3.Cluster) error {
	for i, h := range m.HealthChecks {
		v, err := c.healthCheck(h)
		if err != nil {
			return at("health_checks", i, err)
		}
		out.HealthChecks = append(out.HealthChecks, v)
	}
	return nil
}

func (c *Compiler) healthCheck(m *corev3.HealthCheck) (*snapshot.HealthCheck, error) {
	var d durations
	out := &snapshot.HealthCheck{
		Timeout: d.get("timeout", m.Timeout, 0), Interval: d.get("interval", m.Interval, 0), Jitter: d.get("interval_jitter", m.IntervalJitter, 0),
		NoTraffic: d.get("no_traffic_interval", m.NoTrafficInterval, time.Minute), Unhealthy: u32(m.UnhealthyThreshold, 0),
		Healthy: u32(m.HealthyThreshold, 0), ReuseConnection: boolean(m.ReuseConnection, true), AlwaysLogFailures: m.AlwaysLogHealthCheckFailures,
	}
	out.UnhealthyInterval = d.get("unhealthy_interval", m.UnhealthyInterval, out.Interval)
	out.UnhealthyEdge = d.get("unhealthy_edge_interval", m.UnhealthyEdgeInterval, out.UnhealthyInterval)
	out.HealthyEdge = d.get("healthy_edge_interval", m.HealthyEdgeInterval, out.Interval)
	out.NoTrafficHealthy = d.get("no_traffic_healthy_interval", m.NoTrafficHealthyInterval, out.NoTraffic)
	switch {
	case d.err != nil:
		return nil, d.err
	case out.Timeout == 0 || out.Interval == 0:
		return nil, errors.New("timeout and interval must be above zero")
	case out.Unhealthy == 0 || out.Healthy == 0:
		return nil, errors.New("both thresholds must be above zero")
	}
	var err error
	switch h := m.HealthChecker.(type) {
	case *corev3.HealthCheck_HttpHealthCheck_:
		out.HTTP, err = c.httpCheck(h.HttpHealthCheck)
		err = in("http_health_check", err)
	case *corev3.HealthCheck_TcpHealthCheck_:
		out.TCP, err = tcpCheck(h.TcpHealthCheck)
		err = in("tcp_health_check", err)
	case *corev3.HealthCheck_GrpcHealthCheck_:
		out.GRPC = &snapshot.GRPCCheck{Service: h.GrpcHealthCheck.ServiceName, Authority: h.GrpcHealthCheck.Authority}
	default:
		err = unsupported("health checker %T", h)
	}
	return out, err
}

func (c *Compiler) httpCheck(m *corev3.HealthCheck_HttpHealthCheck) (*snapshot.HTTPCheck, error) {
	out := &snapshot.HTTPCheck{Host: m.Host, Path: m.Path, Method: "GET", HTTP2: m.CodecClientType == typev3.CodecClientType_HTTP2}
	if m.Path == "" || m.Path[0] != '/' {
		return nil, in("path", fmt.Errorf("%q is not a path", m.Path))
	}
	if m.Method != corev3.RequestMethod_METHOD_UNSPECIFIED {
		out.Method = m.Method.String()
	}
	for i, r := range m.ExpectedStatuses {
		if r.Start < 100 || r.End > 600 || r.Start >= r.End {
			return nil, at("expected_statuses", i, fmt.Errorf("[%d, %d) is not a range of statuses", r.Start, r.End))
		}
		out.Expected = append(out.Expected, snapshot.CodeRange{From: uint16(r.Start), To: uint16(r.End)})
	}
	var err error
	out.Headers, err = c.headerOpList("request_headers_to_add", m.RequestHeadersToAdd)
	return out, err
}

func tcpCheck(m *corev3.HealthCheck_TcpHealthCheck) (*snapshot.TCPCheck, error) {
	out := &snapshot.TCPCheck{}
	var err error
	if m.Send != nil {
		if out.Send, err = payload(m.Send); err != nil {
			return nil, in("send", err)
		}
	}
	for i, r := range m.Receive {
		b, err := payload(r)
		if err != nil {
			return nil, at("receive", i, err)
		}
		out.Receive = append(out.Receive, b)
	}
	return out, nil
}

func payload(p *corev3.HealthCheck_Payload) ([]byte, error) {
	switch v := p.Payload.(type) {
	case *corev3.HealthCheck_Payload_Text:
		return hex.DecodeString(v.Text)
	case *corev3.HealthCheck_Payload_Binary:
		return v.Binary, nil
	default:
		return nil, errors.New("no payload")
	}
}
