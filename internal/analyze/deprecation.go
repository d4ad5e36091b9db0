package analyze

import (
	"strings"

	"github.com/meshctl/meshctl/internal/resource"
)

var kindCRD = resource.Kind{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition"}

// removedKinds reports CustomResourceDefinitions of kinds that Istio no longer reads.
func removedKinds(w *world, f *findings) {
	for _, o := range w.of(kindCRD) {
		plural, group, _ := strings.Cut(o.Key.Name, ".")
		removed := group == "rbac.istio.io" || group == "authentication.istio.io" || group == "config.istio.io"
		if !removed {
			continue
		}
		f.add(o, codeDeprecated, "metadata.name", text{
			"kind " + plural + " of " + group + " has been removed from Istio", "objects of the kind change nothing",
			"say the same with PeerAuthentication, RequestAuthentication or AuthorizationPolicy, then delete the definition",
		})
	}
}
