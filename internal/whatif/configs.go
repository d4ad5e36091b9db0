package whatif

import (
	"context"

	"github.com/meshctl/meshctl/internal/compare"
	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// Configs are what every proxy of the mesh would be sent, by namespace and name.
func (w *World) Configs(ctx context.Context) ([]compare.Config, error) {
	var out []compare.Config
	var nodes []*mesh.Proxy
	for _, p := range w.pods {
		if p.role == plain {
			continue
		}
		kind := mesh.Sidecar
		if p.role == gateway {
			kind = mesh.Router
		}
		n, err := w.node(p, kind)
		if err != nil {
			return nil, err
		}
		nodes = append(nodes, n)
		out = append(out, compare.Config{Proxy: p.proxy()})
	}
	all, err := w.cp.Preview(ctx, nodes...)
	if err != nil {
		return nil, err
	}
	for i := range out {
		out[i].Snapshot = all[i]
	}
	return out, nil
}

func (p *pod) proxy() compare.Proxy {
	return compare.Proxy{Name: p.name, Namespace: p.namespace, Workload: p.owner, Kind: p.role.String()}
}

// Snapshot is the configuration of a proxy, compiled as the proxy compiles it; nil
// when there is no such proxy.
func (w *World) Snapshot(ctx context.Context, of compare.Proxy) (*snapshot.Snapshot, error) {
	for _, p := range w.pods {
		if p.name == of.Name && p.namespace == of.Namespace && p.role != plain {
			x, err := w.proxy(ctx, p)
			if err != nil {
				return nil, err
			}
			return x.snap, nil
		}
	}
	return nil, nil //nolint:nilnil // nothing to look at is an answer
}
