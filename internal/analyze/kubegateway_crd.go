package analyze

import (
	"strings"

	"github.com/meshctl/meshctl/internal/resource"
)

// gatewayAPIVersions reports definitions of the Gateway API that are too old.
func gatewayAPIVersions(w *world, f *findings) {
	for _, o := range w.of(kindCRD) {
		if !strings.HasSuffix(o.Key.Name, "."+resource.GroupGatewayAPI) {
			continue
		}
		version := o.Meta.Annotations[resource.AnnotationBundleVersion]
		if !resource.OldGatewayAPI(version) {
			continue
		}
		f.add(o, codeGatewayAPIVersion, in("metadata.annotations", resource.AnnotationBundleVersion), text{
			"definition " + o.Key.Name + " is of version " + version + ", the mesh reads " + resource.LeastGatewayAPI + " and later",
			"fields that came later are lost when objects are applied", "install a newer version of the Gateway API's definitions",
		})
	}
}
