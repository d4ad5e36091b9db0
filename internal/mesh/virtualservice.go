package mesh

import (
	"fmt"
	"maps"
	"slices"
	"strings"

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
	Gateways []string // as written; MeshGateway or namespace/name
	ExportTo Visibility
	// Spec has fully qualified destinations and no delegates left.
	Spec *networking.VirtualService
	// HTTPFrom says, for each of Spec.Http, where it was written: here or in a
	// delegate. Nil for routes that have HTTPDetails, which say it.
	HTTPFrom []RouteFrom
	// Hash identifies Spec, HTTPFrom and details.
	Hash   uint64
	Fields Fields
	// Key is set where one object gives several virtual services, or several objects
	// one: it is the key then.
	Key string
	// Consumer: for the clients of one namespace, before what holds for all.
	Consumer bool
	// HTTPDetails, TLSDetails and TCPDetails say of each route what its message cannot;
	// nil for those that are written as VirtualServices.
	HTTPDetails, TLSDetails, TCPDetails []RouteDetail
}

// RouteFrom is where a route was written: its index in the spec of an object.
type RouteFrom struct {
	Origin Origin
	Index  int
}

// RouteDetail is what a route of the Gateway API says beyond Istio's message.
type RouteDetail struct {
	Origin Origin // the object that wrote it
	Fields Fields // where its fields are; may be nil
	// Field is the path of the match there (spec.rules[0].matches[1]); Backends that of
	// the destinations (spec.rules[0].backendRefs).
	Field, Backends string
	// PathPrefix holds for this path and those below it, after a slash; it has no slash
	// at its end. "" leaves the path to the message.
	PathPrefix string
	// Unresolved is the weight of the destinations that are not there: their share
	// of requests gets 500, of connections is closed.
	Unresolved uint32
}

// CollectionKey makes virtual services usable in collections.
func (v *VirtualService) CollectionKey() string {
	if v.Key != "" {
		return v.Key
	}
	return v.Origin.Key()
}

// Equal compares content and place.
func (v *VirtualService) Equal(w *VirtualService) bool {
	return v == w || v.Hash == w.Hash && v.Origin == w.Origin && v.Key == w.Key && v.Consumer == w.Consumer && v.ExportTo.Equal(w.ExportTo) &&
		slices.Equal(v.Hosts, w.Hosts) && slices.Equal(v.Gateways, w.Gateways)
}

// AppliesTo reports whether the object applies to a gateway: MeshGateway or namespace/name.
func (v *VirtualService) AppliesTo(gateway string) bool { return slices.Contains(v.Gateways, gateway) }

// Destinations visits every destination that the routes name, with the object
// that wrote it and the path there.
func (v *VirtualService) Destinations(visit func(d *networking.Destination, origin Origin, path string)) {
	visitDestinations(v.Spec, func(d *networking.Destination, part string, route int, path string) {
		from := RouteFrom{v.Origin, route}
		if part == "http" && route < len(v.HTTPFrom) {
			from = v.HTTPFrom[route]
		}
		visit(d, from.Origin, fmt.Sprintf("spec.%s[%d].%s", part, from.Index, path))
	})
}

// HTTPAt is the object that wrote the i-th of Spec.Http, and the path there.
func (v *VirtualService) HTTPAt(i int) (Origin, string) {
	if i < len(v.HTTPDetails) {
		return v.HTTPDetails[i].Origin, v.HTTPDetails[i].Field
	}
	from := RouteFrom{v.Origin, i}
	if i < len(v.HTTPFrom) {
		from = v.HTTPFrom[i]
	}
	return from.Origin, fmt.Sprintf("spec.http[%d]", from.Index)
}

// Writers are the objects that it is made of: itself first, then those of its HTTP
// routes, of which one may be there several times.
func (v *VirtualService) Writers() []Origin {
	out := []Origin{v.Origin}
	for i := range v.Spec.GetHttp() {
		o, _ := v.HTTPAt(i)
		out = append(out, o)
	}
	return out
}

// QualifyGateway makes namespace/name of a gateway reference; "mesh" stays.
// The old form name.namespace.svc.domain is understood too.
func QualifyGateway(name, namespace string) string {
	if name == MeshGateway || strings.Contains(name, "/") {
		return strings.TrimPrefix(name, "./")
	}
	if parts := strings.SplitN(name, ".", 3); len(parts) >= 2 {
		return parts[1] + "/" + parts[0]
	}
	return namespace + "/" + name
}

// FindVirtualServices returns the objects that apply to a host at a gateway for
// a client namespace, the deciding one first: the most specific of its hosts
// that covers host counts, then Origin. For MeshGateway only the first decides,
// the others are conflicts; at other gateways the routes of all that have the
// same best host are tried in turn. all may be in any order.
func FindVirtualServices(all []*VirtualService, host, gateway, clientNamespace string) []*VirtualService {
	type candidate struct {
		vs   *VirtualService
		best string
	}
	var found []candidate
	for _, v := range all {
		if !v.AppliesTo(gateway) || !v.ExportTo.To(clientNamespace) {
			continue
		}
		if best, ok := MostSpecific(v.Hosts, host); ok {
			found = append(found, candidate{v, best})
		}
	}
	slices.SortFunc(found, func(a, b candidate) int {
		if c := MoreSpecificHost(a.best, b.best); c != 0 {
			return c
		}
		return CompareVirtualServices(a.vs, b.vs)
	})
	var out []*VirtualService
	for _, f := range found {
		if f.best == found[0].best {
			out = append(out, f.vs)
		}
	}
	return out
}

// CompareVirtualServices is the order in which virtual services of one host
// compete: what a client's own namespace says goes first, then the older.
func CompareVirtualServices(a, b *VirtualService) int {
	if a.Consumer != b.Consumer {
		if a.Consumer {
			return -1
		}
		return 1
	}
	if c := a.Origin.compare(b.Origin); c != 0 {
		return c
	}
	return strings.Compare(a.Key, b.Key)
}

// SourceLabels are the labels of callers that the object's matches look at.
func (v *VirtualService) SourceLabels() []string {
	seen := map[string]bool{}
	for _, r := range v.Spec.GetHttp() {
		for _, m := range r.Match {
			collectKeys(seen, m.SourceLabels)
		}
	}
	for _, r := range v.Spec.GetTls() {
		for _, m := range r.Match {
			collectKeys(seen, m.SourceLabels)
		}
	}
	for _, r := range v.Spec.GetTcp() {
		for _, m := range r.Match {
			collectKeys(seen, m.SourceLabels)
		}
	}
	return slices.Sorted(maps.Keys(seen))
}

func collectKeys(into map[string]bool, labels map[string]string) {
	for k := range labels {
		into[k] = true
	}
}
