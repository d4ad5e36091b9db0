// Package alpn is Istio's filter that offers the mesh's own protocols to the
// upstream by the HTTP version of the request (istio.alpn), so that the peer's
// sidecar knows HTTP from its handshake.
package alpn

import (
	"github.com/meshctl/meshctl/internal/proxy/codec"
	"github.com/meshctl/meshctl/internal/proxy/filter"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

type alpn struct {
	filter.Pass
	cfg *snapshot.ALPN
}

// New makes the filter.
func New(cfg *snapshot.ALPN) filter.Filter { return &alpn{cfg: cfg} }

// Request sets the protocols unless the cluster declines (metadata istio alpn_override "false").
func (f *alpn) Request(x *filter.Exchange) filter.Verdict {
	if x.Cluster == nil || x.Cluster.Mesh.ALPNOverride == "false" {
		return filter.Continue
	}
	proto := x.Protocol
	if x.Cluster.HTTP != nil {
		switch x.Cluster.HTTP.Protocol {
		case snapshot.UpstreamHTTP1:
			proto = codec.HTTP11
		case snapshot.UpstreamHTTP2:
			proto = codec.HTTP2
		case snapshot.UpstreamDownstream, snapshot.UpstreamAuto: // as the client came
		}
	}
	switch proto {
	case codec.HTTP2:
		x.ALPN = f.cfg.HTTP2
	case codec.HTTP10:
		x.ALPN = f.cfg.HTTP10
	default:
		x.ALPN = f.cfg.HTTP11
	}
	return filter.Continue
}
