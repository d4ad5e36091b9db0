package proxy

import (
	"fmt"

	"github.com/meshctl/meshctl/internal/proxy/engine"
	"github.com/meshctl/meshctl/internal/proxy/filter"
	"github.com/meshctl/meshctl/internal/proxy/filter/alpn"
	"github.com/meshctl/meshctl/internal/proxy/filter/cors"
	"github.com/meshctl/meshctl/internal/proxy/filter/fault"
	"github.com/meshctl/meshctl/internal/proxy/filter/jwt"
	"github.com/meshctl/meshctl/internal/proxy/filter/peermeta"
	"github.com/meshctl/meshctl/internal/proxy/filter/rbac"
	"github.com/meshctl/meshctl/internal/proxy/httpconn"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// acceptFilter says whether a compiled filter can be run; configuration with
// another one is refused when it comes, not when a request meets it. It and
// makeFilters list the same types.
func acceptFilter(config any) error {
	switch c := config.(type) {
	case *snapshot.JWT:
		return jwt.Accept(c)
	case *snapshot.JWTRequirementName, *snapshot.RBAC, *snapshot.Fault, *snapshot.CORS, *snapshot.ALPN, *snapshot.PeerMetadata, *snapshot.GRPCStats,
		*snapshot.IstioStats, *snapshot.Router, *snapshot.MetadataExchange,
		*snapshot.HTTPManager, *snapshot.TCPProxy, *snapshot.DirectResponse, nil:
		return nil
	default:
		return fmt.Errorf("filter of type %T is not supported by the native proxy", config)
	}
}

// filterFactory makes the filters of a connection manager, in order. The router
// is the connection manager's own last step. gRPC is recognised, and its status
// kept, for every request; grpc_stats adds nothing to that.
func (p *Proxy) filterFactory(local peermeta.Local) httpconn.FilterFactory {
	return func(m *snapshot.HTTPManager, w *engine.Worker) ([]filter.Filter, error) {
		var out []filter.Filter
		for i := range m.Filters {
			f := &m.Filters[i]
			switch c := f.Config.(type) {
			case *snapshot.RBAC:
				out = append(out, rbac.New(f.Name, c, f.Disabled))
			case *snapshot.JWT:
				out = append(out, jwt.New(f.Name, c, f.Disabled))
			case *snapshot.Fault:
				out = append(out, fault.New(f.Name, c, f.Disabled))
			case *snapshot.CORS:
				out = append(out, cors.New(f.Name, c, f.Disabled))
			case *snapshot.ALPN:
				out = append(out, alpn.New(c))
			case *snapshot.PeerMetadata:
				out = append(out, peermeta.New(c, local))
			case *snapshot.IstioStats:
				fs, err := p.statsFilter(c, w)
				if err != nil {
					return nil, fmt.Errorf("filter %s: %w", f.Name, err)
				}
				out = append(out, fs)
			case *snapshot.GRPCStats, *snapshot.Router:
			default:
				return nil, fmt.Errorf("filter %s of type %T is not supported", f.Name, f.Config)
			}
		}
		return out, nil
	}
}
