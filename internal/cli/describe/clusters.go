package describe

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/controlplane"
	"github.com/meshctl/meshctl/internal/inspect"
	"github.com/meshctl/meshctl/internal/localmesh/meshapi"
	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/resource"
	"github.com/meshctl/meshctl/internal/whatif"
)

// clusters says where things are in a mesh of several clusters. Objects are read of the
// cluster that is asked; what runs in the others the control plane knows.
func (o *Options) clusters(ctx context.Context, w *whatif.World, kind resource.Kind, d *inspect.Description) error {
	pod := slices.Contains(workloads, kind)
	if !w.Running() || !pod && kind != resource.KindService {
		return nil
	}
	m, err := o.Env.Mesh(ctx)
	if err != nil || m.Cluster == nil {
		return nil //nolint:nilerr // objects came from files, or of one machine
	}
	all, in, err := clustersOf(ctx, m)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil || len(all) < 2 {
		return nil //nolint:nilerr // a control plane of another make, or no right to ask it
	}
	home := all[0].ID
	d.Facts = append(d.Facts, inspect.Fact{Name: "cluster", Value: fmt.Sprintf("%s, one of %d of the mesh", home, len(all))})
	if pod {
		return nil
	}
	sec := inspect.Section{Title: "Endpoints of other clusters", Columns: []string{"CLUSTER", "WORKLOAD", "ADDRESS", "NETWORK", "HEALTH"}}
	body, err := m.API.Page(ctx, in, "/debug/endpointz")
	if err != nil {
		return fmt.Errorf("ask for the endpoints of other clusters: %w", err)
	}
	var sets []mesh.EndpointSet
	if err := json.Unmarshal(body, &sets); err != nil {
		return fmt.Errorf("control plane %s says something unknown of endpoints: %w", in.Name, err)
	}
	for _, s := range sets {
		if !strings.HasPrefix(s.Service, d.Namespace+"/"+d.Name+"."+d.Namespace+".svc.") {
			continue
		}
		for _, e := range s.Endpoints {
			if e.Cluster == home || e.Cluster == "" {
				continue
			}
			sec.Rows = append(sec.Rows, inspect.Row{Cells: []string{
				e.Cluster, e.Workload + "." + e.Namespace, net.JoinHostPort(e.Address, strconv.FormatUint(uint64(e.Port), 10)), e.Network, unwell(e.Health),
			}})
		}
	}
	slices.SortFunc(sec.Rows, func(a, b inspect.Row) int { return slices.Compare(a.Cells, b.Cells) })
	if len(sec.Rows) > 0 {
		at := slices.IndexFunc(d.Sections, func(s inspect.Section) bool { return strings.HasPrefix(s.Title, "Endpoints") })
		d.Sections = slices.Insert(d.Sections, at+1, sec)
	}
	return nil
}

// unwell names a state in which an endpoint gets no requests, or fewer.
func unwell(h mesh.Health) string {
	if h == mesh.Healthy || h == "" {
		return ""
	}
	return string(h)
}

// clustersOf are the clusters of the mesh, home first, with who said so.
func clustersOf(ctx context.Context, m *env.Mesh) ([]controlplane.ClusterStatus, meshapi.Instance, error) {
	pods, err := m.Cluster.ControlPlanePods(ctx)
	if err != nil || len(pods) == 0 {
		return nil, meshapi.Instance{}, err
	}
	in := meshapi.Instance{Name: pods[0].Name, Namespace: pods[0].Namespace}
	body, err := m.API.Page(ctx, in, "/debug/clusterz")
	if err != nil {
		return nil, in, err
	}
	var all []controlplane.ClusterStatus
	if err := json.Unmarshal(body, &all); err != nil {
		return nil, in, fmt.Errorf("control plane %s says something unknown of its clusters: %w", in.Name, err)
	}
	return all, in, nil
}
