package derive

import (
	"github.com/meshctl/meshctl/internal/collection"
	"github.com/meshctl/meshctl/internal/controlplane/gatewayapi"
	"github.com/meshctl/meshctl/internal/resource"
)

// gatewayAPI derives routing of the objects of the Gateway API, and their statuses.
func gatewayAPI(g *collection.Graph, m *Mesh, in *Inputs) {
	m.GatewayStatuses = collection.Derive(g, "gateway-class-statuses", Objects(in.Of(resource.KindGatewayClass)), func(_ *collection.Ctx, o *resource.Object) (*gatewayapi.Status, bool) {
		s := gatewayapi.ClassStatus(o)
		return s, s != nil
	})
}
