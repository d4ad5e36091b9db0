package analyze

import (
	networking "istio.io/api/networking/v1alpha3"

	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/resource"
)

// sidecarSelectors reports Sidecars that select nothing (IST0101), what a Sidecar
// does not apply to (IST0167), pods that two of them select (IST0110), and several
// without a selector in one namespace (IST0111).
func sidecarSelectors(w *world, f *findings) {
	chosen := map[*pod]*resource.Object{}
	general := map[string]*resource.Object{}
	for o, s := range each[*networking.Sidecar](w, resource.KindSidecar) {
		labels := s.GetWorkloadSelector().GetLabels()
		if len(labels) == 0 {
			if first := general[o.Key.Namespace]; first != nil {
				f.add(o, codeSidecarDefaults, "spec", text{
					"Sidecar " + full(first) + " has no workloadSelector either", "only one of them is used for the namespace",
					"keep one without a selector, or add a workloadSelector",
				})
				continue
			}
			general[o.Key.Namespace] = o
			continue
		}
		f.selectsWorkload(o, codeNotFound, "spec.workloadSelector.labels", labels)
		said := false
		for _, p := range w.selected(o.Key.Namespace, labels) {
			if p.isAmbient(w) || p.isGateway() {
				f.sidecarInVain(o, p)
				break
			}
			if first := chosen[p]; first != nil && !said {
				said = true
				f.add(o, codeSidecarConflict, "spec.workloadSelector.labels", text{
					p.name() + " is selected by Sidecar " + full(first) + " too", "only one of them is used for it",
					"make the selectors exclude each other",
				})
			} else if first == nil {
				chosen[p] = o
			}
		}
	}
}

func (f *findings) sidecarInVain(o *resource.Object, p *pod) {
	why := "is a gateway"
	if !p.isGateway() {
		why = "is in ambient mode"
	}
	f.add(o, codeIneffectivePolicy, "spec.workloadSelector.labels", text{
		p.name() + " " + why + ", to which a Sidecar does not apply", "the object does not change what the workload sees",
		"select workloads that have a sidecar",
	})
}

// isAmbient reports whether a pod is in the mesh without a sidecar.
func (p *pod) isAmbient(w *world) bool {
	mode, ok := p.labels[labelDataplaneMode]
	if !ok && w.namespaces[p.namespace] != nil {
		mode = w.namespaces[p.namespace].labels[labelDataplaneMode]
	}
	return mode == "ambient"
}

const labelDataplaneMode = "istio.io/dataplane-mode"

// isGateway reports whether a pod is one of a gateway rather than an application's.
func (p *pod) isGateway() bool {
	return p.labels[mesh.LabelGatewayName] != "" || p.labels["istio"] == "ingressgateway" || p.labels["istio"] == "egressgateway"
}
