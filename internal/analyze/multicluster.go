package analyze

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/meshctl/meshctl/internal/resource"
)

// clusterServices reports Services that are not the same in all clusters that have
// them: clients take them for one.
func clusterServices(w *world, f *findings) {
	for _, o := range w.of(resource.KindService) {
		mine := kubeService(o)
		if mine == nil {
			continue
		}
		for _, cluster := range slices.Sorted(maps.Keys(w.clusters)) {
			other := w.clusters[cluster][o.Key]
			if other == nil {
				continue
			}
			theirs := kubeService(other)
			if theirs == nil {
				continue
			}
			if problem := serviceDifference(mine, theirs); problem != "" {
				f.add(o, codeInconsistentService, "spec", text{
					"the Service is another one in cluster " + cluster + ": " + problem, "requests work or fail depending on the cluster that they reach",
					"make the Service the same in all clusters",
				})
			}
		}
	}
}

// serviceDifference says how two Services of one name differ, "" when they do not.
func serviceDifference(a, b *corev1.Service) string {
	if ha, hb := a.Spec.ClusterIP == corev1.ClusterIPNone, b.Spec.ClusterIP == corev1.ClusterIPNone; ha != hb {
		return "only one of the two is headless"
	}
	if ta, tb := serviceType(a), serviceType(b); ta != tb {
		return "its type is " + ta + " here and " + tb + " there"
	}
	if pa, pb := portsText(a), portsText(b); pa != pb {
		return "its ports are " + pa + " here and " + pb + " there"
	}
	return ""
}

func serviceType(s *corev1.Service) string {
	if s.Spec.Type == "" {
		return string(corev1.ServiceTypeClusterIP)
	}
	return string(s.Spec.Type)
}

func portsText(s *corev1.Service) string {
	var parts []string
	for _, p := range s.Spec.Ports {
		app := ""
		if p.AppProtocol != nil {
			app = "/" + *p.AppProtocol
		}
		parts = append(parts, fmt.Sprintf("%s:%d%s", p.Name, p.Port, app))
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}
