package derive

import (
	networking "istio.io/api/networking/v1alpha3"
	security "istio.io/api/security/v1beta1"
	telemetry "istio.io/api/telemetry/v1alpha1"

	"github.com/meshctl/meshctl/internal/collection"
	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/resource"
)

// originOf says where an object comes from.
func originOf(o *resource.Object) mesh.Origin {
	return mesh.Origin{
		Group: o.Key.Kind.Group, Kind: o.Key.Kind.Kind, Namespace: o.Key.Namespace, Name: o.Key.Name, Cluster: o.Key.Cluster,
		Pos: o.Pos, Created: o.Meta.Created,
	}
}

// configOf wraps the spec of an Istio object; ok is false if it is not an M.
func configOf[M any](o *resource.Object) (*mesh.Config[M], bool) {
	spec, ok := o.Spec.(M)
	if !ok {
		return nil, false
	}
	c := &mesh.Config[M]{Origin: originOf(o), Labels: o.Meta.Labels, Annotations: o.Meta.Annotations, Spec: spec, Hash: o.Hash}
	if o.Fields != nil {
		c.Fields = o.Fields
	}
	return c, true
}

// plain is the collection of a kind that is used as it is written.
func plain[M any](g *collection.Graph, name string, in Objects, of func(*resource.Object) (*mesh.Config[M], bool)) collection.Collection[*mesh.Config[M]] {
	return collection.Derive(g, name, in, func(_ *collection.Ctx, o *resource.Object) (*mesh.Config[M], bool) { return of(o) })
}

func gatewayOf(_ *collection.Ctx, o *resource.Object) (*mesh.Gateway, bool) {
	c, ok := configOf[*networking.Gateway](o)
	if !ok {
		return nil, false
	}
	return &mesh.Gateway{Config: *c}, true
}

func sidecarSpec(o *resource.Object) (*mesh.SidecarConfig, bool) {
	return configOf[*networking.Sidecar](o)
}

func peerAuthenticationSpec(o *resource.Object) (*mesh.PeerAuthentication, bool) {
	return configOf[*security.PeerAuthentication](o)
}

func telemetrySpec(o *resource.Object) (*mesh.TelemetryConfig, bool) {
	return configOf[*telemetry.Telemetry](o)
}
