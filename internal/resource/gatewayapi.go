package resource

import (
	"strconv"
	"strings"
)

// LeastGatewayAPI is the version from which on every kind of the Gateway API that the
// mesh reads has the form that it reads.
const LeastGatewayAPI = "v1.4.0"

// AnnotationBundleVersion is the version of the Gateway API that a definition is of.
const AnnotationBundleVersion = "gateway.networking.k8s.io/bundle-version"

// OldGatewayAPI reports whether a version of the Gateway API is older than
// LeastGatewayAPI; "" is not.
func OldGatewayAPI(version string) bool {
	if version == "" {
		return false
	}
	x, y := versionNumbers(version), versionNumbers(LeastGatewayAPI)
	for i := range x {
		if x[i] != y[i] {
			return x[i] < y[i]
		}
	}
	return false
}

// versionNumbers are those of vX.Y.Z; what follows a - is not looked at.
func versionNumbers(v string) (out [3]int) {
	v, _, _ = strings.Cut(strings.TrimPrefix(v, "v"), "-")
	for i, part := range strings.SplitN(v, ".", 3) {
		out[i], _ = strconv.Atoi(part) // what is no number counts as 0
	}
	return out
}
