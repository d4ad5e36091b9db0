package analyze

import (
	networking "istio.io/api/networking/v1alpha3"

	"github.com/meshctl/meshctl/internal/resource"
)

// envoyPatches reports operations of EnvoyFilters that depend on what else is
// there (IST0151, IST0155), or that do nothing where they are applied (IST0152,
// IST0153, IST0154).
func envoyPatches(w *world, f *findings) {
	for o, s := range each[*networking.EnvoyFilter](w, resource.KindEnvoyFilter) {
		for i, p := range s.ConfigPatches {
			f.envoyPatch(o, s, at("spec.configPatches", i), p)
		}
	}
}

func (f *findings) envoyPatch(o *resource.Object, s *networking.EnvoyFilter, path string, p *networking.EnvoyFilter_EnvoyConfigObjectPatch) {
	const operation = ".patch.operation"
	to := p.GetApplyTo()
	routes := to == networking.EnvoyFilter_ROUTE_CONFIGURATION || to == networking.EnvoyFilter_HTTP_ROUTE
	switch p.GetPatch().GetOperation() {
	case networking.EnvoyFilter_Patch_INSERT_BEFORE, networking.EnvoyFilter_Patch_INSERT_AFTER, networking.EnvoyFilter_Patch_MERGE:
		f.relative(o, s, path+operation, p)
	case networking.EnvoyFilter_Patch_REPLACE:
		if to != networking.EnvoyFilter_NETWORK_FILTER && to != networking.EnvoyFilter_HTTP_FILTER {
			f.add(o, codeFilterReplace, path+operation, text{
				"REPLACE is only for HTTP_FILTER and NETWORK_FILTER, not for " + to.String(), "the patch changes nothing", "use MERGE",
			})
		}
	case networking.EnvoyFilter_Patch_ADD:
		if routes {
			f.add(o, codeFilterAdd, path+operation, text{
				"ADD does nothing for " + to.String(), "the patch changes nothing", "use MERGE, or INSERT_FIRST for a route",
			})
		}
	case networking.EnvoyFilter_Patch_REMOVE:
		if routes {
			f.add(o, codeFilterRemove, path+operation, text{
				"REMOVE does nothing for " + to.String(), "the patch changes nothing", "take the route out of its VirtualService",
			})
		}
	default: // means the same everywhere
	}
}

// relative reports an operation that means a place among others.
func (f *findings) relative(o *resource.Object, s *networking.EnvoyFilter, field string, p *networking.EnvoyFilter_EnvoyConfigObjectPatch) {
	operation := p.GetPatch().GetOperation()
	if p.GetMatch().GetProxy().GetProxyVersion() != "" {
		f.add(o, codeFilterProxyVersion, field, text{
			operation.String() + " together with proxyVersion", "after an upgrade the patch no longer applies, or finds other filters",
			"leave proxyVersion out, or review the patch with every upgrade",
		})
		return
	}
	if s.Priority == 0 && operation != networking.EnvoyFilter_Patch_MERGE {
		f.add(o, codeFilterRelative, field, text{
			operation.String() + " without spec.priority", "where the filter ends up depends on which EnvoyFilter is older", "set spec.priority, or use INSERT_FIRST",
		})
	}
}
