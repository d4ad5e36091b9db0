package analyze

import (
	"slices"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/resource"
)

// meshHostConflicts reports hosts that several VirtualServices route for sidecars:
// they do not merge, the oldest counts.
func meshHostConflicts(w *world, f *findings) {
	type claim struct {
		object *resource.Object
		seenBy mesh.Visibility
	}
	first := map[string][]claim{}
	def := w.meshConfig.spec.GetDefaultVirtualServiceExportTo()
	var all []*resource.Object
	for o, vs := range w.virtualServices() {
		if inMesh(vs) {
			all = append(all, o)
		}
	}
	slices.SortStableFunc(all, olderFirst)
	for _, o := range all {
		vs, _ := o.Spec.(*networking.VirtualService)
		mine := claim{o, mesh.NewVisibility(vs.ExportTo, o.Key.Namespace, def)}
		for i, h := range vs.Hosts {
			host := mesh.QualifyHost(h, o.Key.Namespace, w.domain)
			j := slices.IndexFunc(first[host], func(c claim) bool { return c.object != o && shareClients(c.seenBy, mine.seenBy) })
			if j >= 0 {
				winner := first[host][j].object
				f.add(o, codeMeshHostConflict, at("spec.hosts", i), text{
					"VirtualService " + full(winner) + " already routes " + host + " for sidecars",
					"this object has no effect on requests to " + host + " in the mesh",
					"put the routes in one object, or delegate to this one",
				})
				continue
			}
			first[host] = append(first[host], mine)
		}
	}
}

// olderFirst is the order in which objects win: by age where it is known, else by
// namespace and name.
func olderFirst(a, b *resource.Object) int {
	switch x, y := originOf(a), originOf(b); {
	case x.Before(y):
		return -1
	case y.Before(x):
		return 1
	default:
		return 0
	}
}

// originOf says where an object comes from.
func originOf(o *resource.Object) mesh.Origin {
	return mesh.Origin{
		Group: o.Key.Kind.Group, Kind: o.Key.Kind.Kind, Namespace: o.Key.Namespace, Name: o.Key.Name, Created: o.Meta.Created,
	}
}

// shareClients reports whether any namespace sees both.
func shareClients(a, b mesh.Visibility) bool {
	if a.All {
		return !b.None()
	}
	if b.All {
		return !a.None()
	}
	return slices.ContainsFunc(a.Namespaces, func(n string) bool { return slices.Contains(b.Namespaces, n) })
}
