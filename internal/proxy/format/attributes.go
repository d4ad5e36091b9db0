package format

import (
	"bytes"
	"net/netip"
	"strings"
	"time"

	"github.com/meshctl/meshctl/internal/proxy/flow"
	"github.com/meshctl/meshctl/internal/proxy/header"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
	"github.com/meshctl/meshctl/internal/proxy/tlsconn"
)

// Attributes gives Envoy's CEL attributes of a record (request, response, source,
// destination, connection, upstream, xds, metadata, filter_state), and the
// workloads at both ends as filter_state.downstream_peer and upstream_peer.
func Attributes(r *flow.Record) snapshot.ExprSource { return (*source)(r) }

// Attribute implements snapshot.ExprSource.
func (s *source) Attribute(p []string) (any, bool) {
	r := (*flow.Record)(s)
	if len(p) < 2 {
		return nil, false
	}
	switch p[0] {
	case "request":
		return request(r, p[1], p[2:])
	case "response":
		return response(r, p[1], p[2:])
	case "source":
		if r.Conn == nil {
			return nil, false
		}
		return address(r.Conn.Remote, p[1])
	case "destination":
		if r.Conn == nil {
			return nil, false
		}
		return address(r.Conn.Local, p[1])
	case "connection":
		return connection(r, p[1])
	case "upstream":
		return upstream(r, p[1])
	case "xds":
		return xds(r, p[1], p[2:])
	case "metadata":
		if d := dynamic(r); d != nil && p[1] == "filter_metadata" && len(p) > 2 {
			return d.DynamicMetadata(p[2], p[3:])
		}
	case "filter_state":
		return filterState(r, p[1], p[2:])
	}
	return nil, false
}

func text[T ~string | ~[]byte](v T) (any, bool) { return string(v), len(v) > 0 }

func request(r *flow.Record, name string, rest []string) (any, bool) {
	if r.Protocol == 0 {
		return nil, false
	}
	get := func(id header.ID) (any, bool) { return text(r.Req.Get(id)) }
	switch name {
	case "path":
		return get(header.Path)
	case "url_path":
		p, _, _ := bytes.Cut(r.Req.Get(header.Path), []byte("?"))
		return text(p)
	case "query":
		_, q, _ := bytes.Cut(r.Req.Get(header.Path), []byte("?"))
		return string(q), true
	case "host":
		return get(header.Authority)
	case "scheme":
		return get(header.Scheme)
	case "method":
		return get(header.Method)
	case "referer":
		return get(header.Referer)
	case "useragent":
		return get(header.UserAgent)
	case "id":
		return get(header.XRequestID)
	case "protocol":
		return r.Protocol.String(), true
	case "headers":
		return headers(&r.Req, rest)
	case "time":
		return r.Start.UTC().Format(time.RFC3339Nano), true
	case "duration":
		return r.End.String(), true
	case "size":
		return int64(r.BytesReceived), true
	case "total_size":
		return int64(r.BytesReceived + r.ReqHeaderBytes), true
	default:
		return nil, false
	}
}

func response(r *flow.Record, name string, rest []string) (any, bool) {
	switch name {
	case "code":
		return int64(r.Status), r.Status != 0
	case "code_details":
		return text(r.Details)
	case "flags":
		return int64(r.Flags), true
	case "grpc_status":
		return int64(r.GRPCStatus), r.GRPC && r.GRPCStatus >= 0
	case "headers":
		return headers(&r.Resp, rest)
	case "trailers":
		return headers(&r.Trailers, rest)
	case "size":
		return int64(r.BytesSent), true
	case "total_size":
		return int64(r.BytesSent + r.RespHeaderBytes + r.RespTrailerBytes), true
	default:
		return nil, false
	}
}

// headers is one header, or all of them as a map; values of one name are joined.
func headers(h *header.List, rest []string) (any, bool) {
	if len(rest) > 0 {
		v := h.GetName(strings.ToLower(rest[0]))
		return string(v), v != nil && len(rest) == 1
	}
	m := make(map[string]any, h.Len())
	h.All(func(_ header.ID, name, value []byte) bool {
		n := string(name)
		if old, ok := m[n].(string); ok {
			m[n] = old + "," + string(value)
		} else {
			m[n] = string(value)
		}
		return true
	})
	return m, true
}

func address(a netip.AddrPort, name string) (any, bool) {
	switch name {
	case "address":
		return a.String(), a.IsValid()
	case "port":
		return int64(a.Port()), a.IsValid()
	default:
		return nil, false
	}
}

func connection(r *flow.Record, name string) (any, bool) {
	c := r.Conn
	if c == nil {
		return nil, false
	}
	switch name {
	case "id":
		return int64(c.ID), true
	case "mtls":
		return c.Mutual(), true
	case "requested_server_name":
		return text(c.ServerName)
	case "termination_details":
		return text(r.ConnEnd)
	default:
		return peerCertificate(c.TLS, name)
	}
}

func upstream(r *flow.Record, name string) (any, bool) {
	switch name {
	case "address", "port":
		return address(r.Upstream, name)
	case "local_address":
		return r.UpstreamLocal.String(), r.UpstreamLocal.IsValid()
	case "transport_failure_reason":
		return text(r.UpstreamFailure)
	case "request_attempt_count":
		return int64(r.Attempts), true
	default:
		return peerCertificate(r.UpstreamTLS, name)
	}
}

func peerCertificate(t *tlsconn.Info, name string) (any, bool) {
	if t == nil {
		return nil, false
	}
	first := func(l []string) (any, bool) {
		if len(l) == 0 {
			return nil, false
		}
		return l[0], true
	}
	switch name {
	case "tls_version":
		return text(t.Version)
	case "subject_peer_certificate":
		return text(t.Subject)
	case "uri_san_peer_certificate":
		return first(t.PeerURISANs)
	case "dns_san_peer_certificate":
		return first(t.PeerDNSSANs)
	case "sha256_peer_certificate_digest":
		return text(t.SHA256)
	default:
		return nil, false
	}
}

func xds(r *flow.Record, name string, rest []string) (any, bool) {
	// The attribute is the whole metadata message; its one field of use is filter_metadata.
	in := func(m *snapshot.Metadata) (any, bool) {
		if len(rest) < 2 || rest[0] != "filter_metadata" {
			return nil, false
		}
		return m.Lookup(rest[1], rest[2:])
	}
	switch name {
	case "cluster_name":
		return text(clusterName(r))
	case "cluster_metadata":
		if r.Cluster != nil {
			return in(r.Cluster.Metadata)
		}
	case "route_name":
		if r.Route != nil {
			return text(r.Route.Name)
		}
	case "route_metadata":
		if r.Route != nil {
			return in(r.Route.Metadata)
		}
	case "virtual_host_name":
		if r.VHost != nil {
			return text(r.VHost.Name)
		}
	case "upstream_host_metadata":
		if r.Endpoint != nil && r.Endpoint.Info != nil {
			return in(r.Endpoint.Info.Metadata)
		}
	case "filter_chain_name":
		if r.Conn != nil && r.Conn.Chain != nil {
			return text(r.Conn.Chain.Name)
		}
	case "listener_direction":
		if r.Conn != nil && r.Conn.Listener != nil {
			return directionNumber(r.Conn.Listener.Direction), true
		}
	}
	return nil, false
}

// directionNumber is the value of envoy.config.core.v3.TrafficDirection.
func directionNumber(d snapshot.Direction) int64 {
	switch d {
	case snapshot.Inbound:
		return 1
	case snapshot.Outbound:
		return 2
	default:
		return 0
	}
}

func filterState(r *flow.Record, key string, rest []string) (any, bool) {
	switch key {
	case "downstream_peer":
		return peer(r.DownstreamPeer, rest)
	case "upstream_peer":
		return peer(r.UpstreamPeer, rest)
	}
	if d := dynamic(r); d != nil && len(rest) == 0 {
		v, ok := d.FilterState(key)
		return string(v), ok
	}
	return nil, false
}

// peer has the fields of Istio's workload metadata object.
func peer(p *flow.Peer, rest []string) (any, bool) {
	if p == nil {
		return nil, false
	}
	all := map[string]any{
		"workload": p.Workload, "namespace": p.Namespace, "service": p.CanonicalName, "revision": p.CanonicalRevision,
		"app": p.App, "version": p.Version, "cluster": p.Cluster, "name": p.NodeID, "identity": p.Identity,
	}
	return snapshot.Walk(all, rest)
}
