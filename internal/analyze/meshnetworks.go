package analyze

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	meshv1alpha1 "istio.io/api/mesh/v1alpha1"
	corev1 "k8s.io/api/core/v1"

	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/resource"
)

// meshNetworkRegistries reports clusters in the networks of the mesh that no remote
// secret names, and what is wrong with the text of the mesh's own ConfigMap.
func meshNetworkRegistries(w *world, f *findings) {
	for field, ds := range map[string][]diag.Diagnostic{"data.mesh": w.meshConfig.ds, "data.meshNetworks": w.networks.ds} {
		for _, d := range ds {
			o := w.meshConfig.object
			if field == "data.meshNetworks" {
				o = w.networks.object
			}
			d.Message = fmt.Sprintf("line %d of %s: %s", d.Pos.Line, field, d.Message)
			d.Object, d.Pos, d.Field = o.Ref(), o.At(field), field
			f.out = append(f.out, d)
		}
	}
	if w.networks.spec == nil {
		return
	}
	clusters, any := w.remoteClusters()
	for _, name := range slices.Sorted(maps.Keys(w.networks.spec.Networks)) {
		for _, e := range w.networks.spec.Networks[name].GetEndpoints() {
			from, ok := e.GetNe().(*meshv1alpha1.Network_NetworkEndpoints_FromRegistry)
			if !ok || slices.Contains(clusters, from.FromRegistry) {
				continue
			}
			t := text{
				"network " + name + ": there is no cluster " + from.FromRegistry + "; there are " + strings.Join(clusters, ", "),
				"endpoints of the cluster count as being in the network of whoever asks, and are not reached through its gateway",
				"correct the name, or add the cluster's remote secret",
			}
			if o := w.networks.object; o != nil {
				f.missing(o, codeNetworkRegistry, w.missingUnless(any), "data.meshNetworks", w.root, t)
				continue
			}
			level := codeNetworkRegistry.level
			if w.missingUnless(any) == unknown {
				level = diag.Unknown
			}
			f.out = append(f.out, diag.Diagnostic{Code: codeNetworkRegistry.id, Severity: level, Object: diag.Object{Kind: "MeshNetworks"}, Message: t.message, Effect: t.effect, Fix: t.fix})
		}
	}
}

// remoteClusters are the names of the clusters that the mesh has credentials for;
// any is false when no remote secret is given.
func (w *world) remoteClusters() (names []string, any bool) {
	names = []string{"Kubernetes"}
	for _, s := range each[*corev1.Secret](w, resource.KindSecret) {
		if s.Labels["istio/multiCluster"] != "true" {
			continue
		}
		any = true
		names = append(names, slices.Sorted(maps.Keys(s.Data))...)
		names = append(names, slices.Sorted(maps.Keys(s.StringData))...)
	}
	return names, any
}
