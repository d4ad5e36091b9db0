package analyze

import (
	"slices"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/meshctl/meshctl/internal/resource"
)

// isTopology reports labels that endpoints have from their node, or from the
// network and cluster that they are in.
func isTopology(label string) bool {
	return slices.Contains([]string{
		"topology.kubernetes.io/region", "topology.kubernetes.io/zone", "topology.istio.io/subzone",
		"topology.istio.io/network", "topology.istio.io/cluster", "kubernetes.io/hostname",
	}, label)
}

// ofNodes reports which of those labels a node has.
func ofNodes(label string) bool {
	return label != "topology.istio.io/network" && label != "topology.istio.io/cluster"
}

// topologySubset reports a subset of a region, zone or node that no Node is in.
func (f *findings) topologySubset(r rule, i int, s *networking.Subset) {
	nodes := f.w.of(resource.KindNode)
	for k, v := range s.Labels {
		if !isTopology(k) || !ofNodes(k) || slices.ContainsFunc(nodes, func(o *resource.Object) bool { return o.Meta.Labels[k] == v }) {
			continue
		}
		f.missing(r.object, codeEmptySubset, f.w.missingUnless(len(nodes) > 0), in(at("spec.subsets", i)+".labels", k), "", text{
			"subset " + s.Name + " of " + r.host + ": no Node has the label " + k + "=" + v,
			"requests routed to the subset get 503", "correct the label's value",
		})
	}
}
