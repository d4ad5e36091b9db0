package install

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
)

// Names of components, in the order that they need each other.
const (
	Base           = "Base"
	Pilot          = "Pilot"
	CNI            = "Cni"
	IngressGateway = "IngressGateways"
	EgressGateway  = "EgressGateways"
)

// titles are what people read.
var titles = map[string]string{
	Base: "Istio core", Pilot: "Istiod", CNI: "CNI", IngressGateway: "Ingress gateways", EgressGateway: "Egress gateways",
}

// Title is what to call a component in a message.
func Title(component string) string { return cmp.Or(titles[component], component) }

// Component is one chart with its values.
type Component struct {
	Kind      string // Base, Pilot, …
	Name      string // of the release: the gateway's own name
	Namespace string
	Chart     string
	Values    map[string]any
	K8s       map[string]any // settings laid over what the chart makes
}

// wave is the place of a component in the order: what has a lower number is
// ready first.
func wave(kind string) int {
	switch kind {
	case Base:
		return 0
	case Pilot, CNI:
		return 1
	default:
		return 2
	}
}

// Components are those that are enabled, in order.
func (c *Config) Components() ([]Component, error) {
	values := c.values()
	all := mapAt(c.Spec, "components")
	var out []Component
	add := func(kind, chart string, spec, values map[string]any) {
		if !boolAt(spec, "enabled") {
			return
		}
		out = append(out, Component{
			Kind: kind, Chart: chart, Name: cmp.Or(stringAt(spec, "name"), chart), Values: values, K8s: mapAt(spec, "k8s"),
			Namespace: cmp.Or(stringAt(spec, "namespace"), c.Namespace),
		})
	}
	add(Base, "base", mapAt(all, "base"), pick(values, "global", "base"))
	add(Pilot, "istiod", mapAt(all, "pilot"), c.pilotValues(mapAt(all, "pilot")))
	cni := pick(values, "global", "cni", "revision")
	for _, k := range []string{"hub", "tag"} {
		if v := stringAt(all, "cni", k); v != "" {
			cni = mergeOver(cni, map[string]any{"cni": map[string]any{k: v}})
		}
	}
	add(CNI, "cni", mapAt(all, "cni"), cni)
	for _, g := range []struct{ kind, list, values string }{{IngressGateway, gatewayLists[0], ingress}, {EgressGateway, gatewayLists[1], egress}} {
		list, _ := all[g.list].([]any)
		for _, item := range list {
			spec, _ := item.(map[string]any)
			if !boolAt(spec, "enabled") {
				continue
			}
			if stringAt(spec, "name") == "" {
				return nil, fmt.Errorf("a gateway of components.%s has no name", g.list)
			}
			add(g.kind, "gateway", spec, c.gatewayValues(spec, mapAt(values, "gateways", g.values)))
		}
	}
	slices.SortStableFunc(out, func(a, b Component) int { return cmp.Compare(wave(a.Kind), wave(b.Kind)) })
	return out, nil
}

// values are those for the charts, with the ones that nobody checks.
func (c *Config) values() map[string]any {
	out, _ := clone(c.Spec["values"]).(map[string]any)
	unchecked, _ := clone(c.Spec["unvalidatedValues"]).(map[string]any)
	return mergeOver(out, unchecked)
}

// pick copies some keys.
func pick(from map[string]any, keys ...string) map[string]any {
	out := map[string]any{}
	for _, k := range keys {
		if v, ok := from[k]; ok {
			out[k] = clone(v)
		}
	}
	return out
}

// pilotValues are those of the control plane's chart: everything that is not
// another chart's.
func (c *Config) pilotValues(spec map[string]any) map[string]any {
	out := c.values()
	for _, other := range []string{"gateways", "base", "cni"} {
		delete(out, other)
	}
	out["meshConfig"] = clone(c.Spec["meshConfig"])
	for _, k := range []string{"hub", "tag"} {
		if v := stringAt(spec, k); v != "" {
			out = mergeOver(out, map[string]any{"pilot": map[string]any{k: v}})
		}
	}
	// Whoever installs the node agent wants pods to use it, as with istioctl. A switch that
	// is written down counts: with several control planes, one may not.
	_, said := lookup(out, []string{"pilot", "cni", "enabled"})
	_, older := lookup(out, []string{"istio_cni", "enabled"})
	if boolAt(c.Spec, "components", "cni", "enabled") && !said && !older {
		out = mergeOver(out, map[string]any{"pilot": map[string]any{"cni": map[string]any{"enabled": true}}})
	}
	return out
}

// gatewayNames maps Istio's older names of gateway values to the chart's.
var gatewayNames = map[string][]string{
	"type":                            {"service", "type"},
	"ports":                           {"service", "ports"},
	"loadBalancerIP":                  {"service", "loadBalancerIP"},
	"loadBalancerClass":               {"service", "loadBalancerClass"},
	"loadBalancerSourceRanges":        {"service", "loadBalancerSourceRanges"},
	"externalTrafficPolicy":           {"service", "externalTrafficPolicy"},
	"externalIPs":                     {"service", "externalIPs"},
	"ipFamilyPolicy":                  {"service", "ipFamilyPolicy"},
	"ipFamilies":                      {"service", "ipFamilies"},
	"serviceAnnotations":              {"service", "annotations"},
	"autoscaleEnabled":                {"autoscaling", "enabled"},
	"autoscaleMin":                    {"autoscaling", "minReplicas"},
	"autoscaleMax":                    {"autoscaling", "maxReplicas"},
	"autoscaleBehavior":               {"autoscaling", "autoscaleBehavior"},
	"cpu.targetAverageUtilization":    {"autoscaling", "targetCPUUtilizationPercentage"},
	"memory.targetAverageUtilization": {"autoscaling", "targetMemoryUtilizationPercentage"},
	"rollingMaxSurge":                 {"strategy", "rollingUpdate", "maxSurge"},
	"rollingMaxUnavailable":           {"strategy", "rollingUpdate", "maxUnavailable"},
	"resources":                       {"resources"},
	"env":                             {"env"},
	"labels":                          {"labels"},
	"name":                            {"name"},
	"podAnnotations":                  {"podAnnotations"},
	"nodeSelector":                    {"nodeSelector"},
	"tolerations":                     {"tolerations"},
	"affinity":                        {"affinity"},
	"topologySpreadConstraints":       {"topologySpreadConstraints"},
	"replicaCount":                    {"replicaCount"},
	"serviceAccount.annotations":      {"serviceAccount", "annotations"},
	"terminationGracePeriodSeconds":   {"terminationGracePeriodSeconds"},
	"podDisruptionBudget":             {"podDisruptionBudget"},
	"networkGateway":                  {"networkGateway"},
}

// gatewayValues are those of one gateway.
func (c *Config) gatewayValues(spec, values map[string]any) map[string]any {
	var tree any = map[string]any{}
	for _, from := range slices.Sorted(maps.Keys(gatewayNames)) {
		v, ok := lookup(values, mustPath(from))
		if !ok || v == nil {
			continue
		}
		if t, err := put(tree, gatewayNames[from], clone(v)); err == nil {
			tree = t
		}
	}
	out := tree.(map[string]any)
	out["name"] = stringAt(spec, "name")
	if label := mapAt(spec, "label"); label != nil {
		out = mergeOver(out, map[string]any{"labels": clone(label)})
	}
	if c.Revision != DefaultRevision {
		out["revision"] = c.Revision
	}
	global := mapAt(c.Spec, "values", "global")
	for _, k := range []string{"imagePullPolicy", "imagePullSecrets"} {
		if v, ok := global[k]; ok {
			out[k] = clone(v)
		}
	}
	return out
}
