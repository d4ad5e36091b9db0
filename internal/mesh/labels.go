package mesh

import (
	"maps"
	"slices"
	"strings"
)

// LabelGatewayName is on all that is made for a Gateway of the Gateway API, with its
// name: by it a Gateway finds the pods that serve it.
const LabelGatewayName = "gateway.networking.k8s.io/gateway-name"

// Selects reports whether every label of selector is on the workload. An empty
// selector selects everything.
func Selects(selector, labels map[string]string) bool {
	for k, v := range selector {
		if got, ok := labels[k]; !ok || got != v {
			return false
		}
	}
	return true
}

// LabelsKey prints labels in a fixed order, for keys.
func LabelsKey(labels map[string]string) string {
	var b strings.Builder
	for i, k := range slices.Sorted(maps.Keys(labels)) {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(k)
		b.WriteByte('=')
		b.WriteString(labels[k])
	}
	return b.String()
}
