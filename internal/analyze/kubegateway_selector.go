package analyze

import (
	extensions "istio.io/api/extensions/v1alpha1"
	security "istio.io/api/security/v1beta1"
	api "istio.io/api/telemetry/v1alpha1"

	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/resource"
)

// gatewaySelectorsInVain reports policies that select the pods of a Gateway of the
// Gateway API by labels: they apply by targetRefs only.
func gatewaySelectorsInVain(w *world, f *findings) {
	for _, k := range []resource.Kind{resource.KindAuthorizationPolicy, resource.KindRequestAuthentication, resource.KindTelemetry, resource.KindWasmPlugin} {
		for _, o := range w.of(k) {
			labels := matchLabels(o)
			if len(labels) == 0 {
				continue
			}
			name := labels[mesh.LabelGatewayName]
			for _, p := range w.governed(o.Key.Namespace, labels) {
				if p.labels[mesh.LabelGatewayName] != "" {
					name = p.labels[mesh.LabelGatewayName]
				}
			}
			if name == "" {
				continue
			}
			f.add(o, codeIneffectiveSelector, "spec.selector.matchLabels", text{
				"the selector selects pods of Gateway " + name + ", to which it does not apply", "the gateway does not follow the object",
				"name the Gateway in spec.targetRefs",
			})
		}
	}
}

// matchLabels is the selector of a policy; nil when it has none.
func matchLabels(o *resource.Object) map[string]string {
	switch s := o.Spec.(type) {
	case *security.AuthorizationPolicy:
		return s.GetSelector().GetMatchLabels()
	case *security.RequestAuthentication:
		return s.GetSelector().GetMatchLabels()
	case *api.Telemetry:
		return s.GetSelector().GetMatchLabels()
	case *extensions.WasmPlugin:
		return s.GetSelector().GetMatchLabels()
	}
	return nil
}
