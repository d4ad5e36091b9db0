package controlplane

import (
	"context"
	"fmt"

	"github.com/meshctl/meshctl/internal/controlplane/view"
	"github.com/meshctl/meshctl/internal/controlplane/xdsserve"
	"github.com/meshctl/meshctl/internal/mesh"
)

// Preview is what each of the proxies would be sent by now, in their order: the
// same configuration, byte for byte, as a session would get, without a connection
// or credentials. Run need not be going; then everything applied so far counts.
func (cp *ControlPlane) Preview(ctx context.Context, proxies ...*mesh.Proxy) ([]*xdsserve.Snapshot, error) {
	watches := make([]*view.Watch, len(proxies))
	for i, p := range proxies {
		w := cp.view.Join(p)
		defer w.Close()
		watches[i] = w
	}
	if err := cp.graph.Flush(ctx); err != nil {
		return nil, fmt.Errorf("derive the configuration: %w", err)
	}
	out := make([]*xdsserve.Snapshot, len(proxies))
	for i, w := range watches {
		if out[i] = w.Current(); out[i] == nil {
			return nil, fmt.Errorf("there is no configuration for proxy %s", proxies[i].ID)
		}
	}
	return out, nil
}
