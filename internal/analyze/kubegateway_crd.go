package analyze

import (
	"strconv"
	"strings"

	"github.com/meshctl/meshctl/internal/resource"
)

// leastGatewayAPI is the version from which on every kind of the Gateway API that
// the mesh reads has the form that it reads.
const leastGatewayAPI = "v1.4.0"

const annotationBundleVersion = "gateway.networking.k8s.io/bundle-version"

// gatewayAPIVersions reports definitions of the Gateway API that are too old.
func gatewayAPIVersions(w *world, f *findings) {
	for _, o := range w.of(kindCRD) {
		if !strings.HasSuffix(o.Key.Name, "."+resource.GroupGatewayAPI) {
			continue
		}
		version := o.Meta.Annotations[annotationBundleVersion]
		if version == "" || !olderVersion(version, leastGatewayAPI) {
			continue
		}
		f.add(o, codeGatewayAPIVersion, in("metadata.annotations", annotationBundleVersion), text{
			"definition " + o.Key.Name + " is of version " + version + ", the mesh reads " + leastGatewayAPI + " and later",
			"fields that came later are lost when objects are applied", "install a newer version of the Gateway API's definitions",
		})
	}
}

// olderVersion compares vX.Y.Z by number; what follows a - is not looked at.
func olderVersion(a, b string) bool {
	x, y := versionNumbers(a), versionNumbers(b)
	for i := range x {
		if x[i] != y[i] {
			return x[i] < y[i]
		}
	}
	return false
}

func versionNumbers(v string) (out [3]int) {
	v, _, _ = strings.Cut(strings.TrimPrefix(v, "v"), "-")
	for i, part := range strings.SplitN(v, ".", 3) {
		out[i], _ = strconv.Atoi(part) // what is no number counts as 0
	}
	return out
}
