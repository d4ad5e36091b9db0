package analyze

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/resource"
)

// destination is one destination of a VirtualService, and where it is written.
type destination struct {
	*networking.Destination
	host string // full
	path string
}

// destinations lists where a VirtualService leads to.
func (w *world) destinations(o *resource.Object, vs *networking.VirtualService) []destination {
	var out []destination
	mesh.VisitDestinations(vs, func(d *networking.Destination, path string) {
		out = append(out, destination{d, mesh.QualifyHost(d.Host, o.Key.Namespace, w.domain), path})
	})
	return out
}

// inMesh reports whether a VirtualService holds for sidecars.
func inMesh(vs *networking.VirtualService) bool {
	return len(vs.Hosts) > 0 && (len(vs.Gateways) == 0 || slices.Contains(vs.Gateways, mesh.MeshGateway))
}

// labelText prints labels in the form of a selector.
func labelText(labels map[string]string) string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		parts = append(parts, k+"="+labels[k])
	}
	return strings.Join(parts, ",")
}

// full is namespace/name.
func full(o *resource.Object) string { return o.Key.Namespace + "/" + o.Key.Name }

// ruleName names a rule of a list in messages.
func ruleName(i int, name string) string {
	if name == "" {
		return fmt.Sprintf("rule %d", i)
	}
	return fmt.Sprintf("rule %d (%s)", i, name)
}
