package mesh

import (
	"slices"

	networking "istio.io/api/networking/v1alpha3"
)

// MeshGateway is the reserved name under which a VirtualService applies to sidecars.
const MeshGateway = "mesh"

// VirtualService routes requests for its hosts. Compared with what the user wrote,
// its hosts and destinations are fully qualified, its gateways are "mesh" or
// namespace/name, and its delegates are inlined. Read-only.
type VirtualService struct {
	Origin   Origin
	Hosts    []string
	Gateways []string // sorted; MeshGateway or namespace/name
	ExportTo Visibility
	// Spec has fully qualified destinations and no delegates left.
	Spec *networking.VirtualService
	// HTTPOrigins names, for each of Spec.Http, the object that wrote it: this one or a delegate.
	HTTPOrigins []Origin
	// Hash identifies Spec and HTTPOrigins.
	Hash   uint64
	Fields Fields
}

// CollectionKey makes virtual services usable in collections.
func (v *VirtualService) CollectionKey() string { return v.Origin.Key() }

// Equal compares content and place.
func (v *VirtualService) Equal(w *VirtualService) bool {
	return v == w || v.Hash == w.Hash && v.Origin == w.Origin && v.ExportTo.Equal(w.ExportTo) &&
		slices.Equal(v.Hosts, w.Hosts) && slices.Equal(v.Gateways, w.Gateways)
}

// AppliesTo reports whether the object applies to a gateway: MeshGateway or namespace/name.
func (v *VirtualService) AppliesTo(gateway string) bool { return slices.Contains(v.Gateways, gateway) }

// Destinations visits every destination that the routes name.
func (v *VirtualService) Destinations(visit func(d *networking.Destination, path string)) {
	visitDestinations(v.Spec, visit)
}
