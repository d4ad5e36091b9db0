package resource

import "google.golang.org/protobuf/reflect/protoreflect"

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
