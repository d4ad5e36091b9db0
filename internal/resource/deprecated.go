package resource

import (
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/meshctl/meshctl/internal/diag"
)

// deprecatedFix says what to write instead of a deprecated field.
func deprecatedFix(name protoreflect.FullName) string {
	const vs, dr = "istio.networking.v1alpha3.", "istio.networking.v1alpha3."
	switch name {
	case vs + "HTTPRoute.mirror_percent":
		return "use mirrorPercentage.value"
	case vs + "CorsPolicy.allow_origin":
		return "use allowOrigins with exact, prefix or regex"
	case vs + "HTTPFaultInjection.Delay.percent":
		return "use percentage.value"
	case dr + "LoadBalancerSettings.ConsistentHashLB.minimum_ring_size":
		return "use ringHash.minimumRingSize"
	case dr + "LoadBalancerSettings.warmup_duration_secs":
		return "use warmup.duration"
	case dr + "OutlierDetection.consecutive_errors":
		return "use consecutive5xxErrors or consecutiveGatewayErrors"
	case vs + "Port.target_port":
		return "remove it: it never had an effect"
	}
	return "remove it, or use its successor"
}

// successor writes the value of a deprecated field in the field that took its place,
// where both mean exactly the same.
func (r *reporter) successor(f *field, name protoreflect.FullName) diag.Edit {
	const api = "istio.networking.v1alpha3."
	if f.value.kind != intNode {
		return diag.Edit{}
	}
	e := diag.Edit{Path: r.path(), Value: "{value: " + f.value.text + "}"}
	switch name {
	case api + "HTTPRoute.mirror_percent":
		e.Key = "mirrorPercentage"
	case api + "HTTPFaultInjection.Delay.percent":
		e.Key = "percentage"
	default:
		return diag.Edit{}
	}
	return e
}
