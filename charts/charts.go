// Package charts holds the Helm charts of the mesh as files, for `meshctl
// install`. They are ordinary Helm charts: `helm install` takes the same folders.
//
//	base     the definitions of Istio's resources
//	istiod   the control plane, one release for each revision
//	gateway  one ingress or egress gateway
//	cni      the node agent that redirects traffic without rights in the pod
package charts

import "embed"

// Files are the four charts, each in a folder of its name.
//
//go:embed all:base all:istiod all:gateway all:cni
var Files embed.FS
