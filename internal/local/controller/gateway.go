package controller

import (
	_ "embed"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/resource"
)

//go:embed gateway.yaml
var gatewayYAML []byte

// DefaultGateway is the ingress gateway, as Istio's demo profile installs it:
// Namespace istio-system, a service account, a Deployment and a Service.
func DefaultGateway() ([]*resource.Object, error) {
	objects, ds := resource.Decode("", gatewayYAML, resource.Options{})
	for _, d := range ds {
		if d.Severity == diag.Error {
			return nil, d
		}
	}
	return objects, nil
}

// HasGateway reports whether objects bring a gateway of their own, so that the
// default one is not needed.
func HasGateway(objects []*resource.Object) bool {
	return slices.ContainsFunc(objects, func(o *resource.Object) bool {
		s, ok := o.Spec.(*corev1.Service)
		return ok && s.Spec.Type == corev1.ServiceTypeLoadBalancer && s.Spec.Selector["istio"] != ""
	})
}
