package format

import (
	"net/netip"
	"strings"

	"github.com/meshctl/meshctl/internal/proxy/flow"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// appendAddress gives the operators that are addresses and clusters.
func appendAddress(dst []byte, p *snapshot.FormatPart, r *flow.Record) (out []byte, ok, known bool) {
	switch p.Op {
	case snapshot.OpUpstreamHost, snapshot.OpUpstreamRemoteAddress:
		out, ok = addrPort(dst, r.Upstream)
	case snapshot.OpUpstreamRemoteAddressWithoutPort:
		out, ok = addr(dst, r.Upstream)
	case snapshot.OpUpstreamLocalAddress:
		out, ok = addrPort(dst, r.UpstreamLocal)
	case snapshot.OpUpstreamLocalAddressWithoutPort:
		out, ok = addr(dst, r.UpstreamLocal)
	case snapshot.OpUpstreamHostName, snapshot.OpUpstreamHostNameWithoutPort:
		out, ok = hostName(dst, p.Op, r)
	case snapshot.OpUpstreamCluster:
		out, ok = appendText(dst, statName(r))
	case snapshot.OpUpstreamClusterRaw:
		out, ok = appendText(dst, clusterName(r))
	case snapshot.OpUpstreamProtocol:
		if r.UpstreamProto == 0 {
			return dst, false, true
		}
		out, ok = appendText(dst, r.UpstreamProto.String())
	case snapshot.OpDownstreamRemoteAddress, snapshot.OpDownstreamDirectRemoteAddress, snapshot.OpDownstreamLocalAddress:
		if r.Conn == nil {
			return dst, false, true
		}
		out, ok = addrPort(dst, downstreamAddr(p.Op, r.Conn))
	case snapshot.OpDownstreamRemoteAddressWithoutPort, snapshot.OpDownstreamDirectRemoteAddressWithoutPort,
		snapshot.OpDownstreamLocalAddressWithoutPort:
		if r.Conn == nil {
			return dst, false, true
		}
		out, ok = addr(dst, downstreamAddr(p.Op, r.Conn))
	default:
		return dst, false, false
	}
	return out, ok, true
}

func addrPort(dst []byte, a netip.AddrPort) ([]byte, bool) {
	if !a.IsValid() {
		return dst, false
	}
	return a.AppendTo(dst), true
}

func addr(dst []byte, a netip.AddrPort) ([]byte, bool) {
	if !a.Addr().IsValid() {
		return dst, false
	}
	return a.Addr().AppendTo(dst), true
}

func downstreamAddr(op snapshot.Operator, c *flow.Conn) netip.AddrPort {
	switch op {
	case snapshot.OpDownstreamLocalAddress, snapshot.OpDownstreamLocalAddressWithoutPort, snapshot.OpDownstreamLocalPort:
		return c.Local
	case snapshot.OpDownstreamDirectRemoteAddress, snapshot.OpDownstreamDirectRemoteAddressWithoutPort,
		snapshot.OpDownstreamDirectRemotePort:
		return c.Direct
	default:
		return c.Remote
	}
}

// hostName is the endpoint's name if it has one, else its address.
func hostName(dst []byte, op snapshot.Operator, r *flow.Record) ([]byte, bool) {
	if e := r.Endpoint; e != nil {
		name := e.Host
		if e.Info != nil && e.Info.Hostname != "" {
			name = e.Info.Hostname
		}
		if name != "" {
			return append(dst, name...), true
		}
	}
	if op == snapshot.OpUpstreamHostNameWithoutPort {
		return addr(dst, r.Upstream)
	}
	return addrPort(dst, r.Upstream)
}

func clusterName(r *flow.Record) string {
	if r.Cluster != nil {
		return r.Cluster.Name
	}
	return r.ClusterName
}

// statName is the cluster's name in statistics, without the delimiter Istio ends it by.
func statName(r *flow.Record) string {
	if r.Cluster != nil && r.Cluster.StatName != "" {
		return strings.TrimSuffix(r.Cluster.StatName, ";")
	}
	return clusterName(r)
}
