package analyze

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"istio.io/api/annotation"
	"k8s.io/apimachinery/pkg/api/resource"

	objects "github.com/meshctl/meshctl/internal/resource"
)

// annotationProblem checks the value of an annotation, "" when nothing is wrong.
func annotationProblem(name, value string) string {
	value = strings.TrimSpace(value)
	switch name {
	case annotation.SidecarInject.Name, annotation.SidecarRewriteAppHTTPProbers.Name, annotation.PrometheusMergeMetrics.Name,
		annotation.IoIstioDryRun.Name, annotation.SidecarNativeSidecar.Name:
		return oneOf(value, "true", "false")
	case annotation.SidecarInterceptionMode.Name:
		return oneOf(value, "REDIRECT", "TPROXY", "NONE")
	case annotation.SidecarTrafficIncludeInboundPorts.Name, annotation.SidecarTrafficIncludeOutboundPorts.Name:
		if value == "*" {
			return ""
		}
		return portList(value)
	case annotation.SidecarTrafficExcludeInboundPorts.Name, annotation.SidecarTrafficExcludeOutboundPorts.Name, annotation.SidecarStatusReadinessApplicationPorts.Name:
		return portList(value)
	case annotation.SidecarTrafficIncludeOutboundIPRanges.Name, annotation.SidecarTrafficExcludeOutboundIPRanges.Name:
		if value == "*" {
			return ""
		}
		return rangeList(value)
	case annotation.SidecarStatusPort.Name:
		if value == "" {
			return "a port is missing"
		}
		return portList(value)
	case annotation.SidecarStatusReadinessFailureThreshold.Name, annotation.SidecarStatusReadinessInitialDelaySeconds.Name, annotation.SidecarStatusReadinessPeriodSeconds.Name:
		if n, err := strconv.ParseUint(value, 10, 31); err != nil || n == 0 && name == annotation.SidecarStatusReadinessPeriodSeconds.Name {
			return strconv.Quote(value) + " is not a number"
		}
	case annotation.SidecarProxyCPU.Name, annotation.SidecarProxyCPULimit.Name, annotation.SidecarProxyMemory.Name, annotation.SidecarProxyMemoryLimit.Name:
		if _, err := resource.ParseQuantity(value); err != nil {
			return strconv.Quote(value) + " is not an amount such as 100m or 128Mi"
		}
	case annotation.ProxyConfig.Name:
		if _, ds := objects.DecodeProxyConfig("", []byte(value), objects.DefaultProxyConfig()); len(ds) > 0 {
			return ds[0].Message
		}
	}
	return ""
}

func oneOf(value string, allowed ...string) string {
	if slices.Contains(allowed, value) {
		return ""
	}
	return strconv.Quote(value) + " is none of " + strings.Join(allowed, ", ")
}

func portList(value string) string {
	if value == "" {
		return ""
	}
	for p := range strings.SplitSeq(value, ",") {
		if n, err := strconv.ParseUint(strings.TrimSpace(p), 10, 16); err != nil || n == 0 {
			return strconv.Quote(p) + " is not a port"
		}
	}
	return ""
}

func rangeList(value string) string {
	if value == "" {
		return ""
	}
	for r := range strings.SplitSeq(value, ",") {
		if _, err := netip.ParsePrefix(strings.TrimSpace(r)); err != nil {
			return strconv.Quote(r) + " is not an IP range such as 10.0.0.0/8"
		}
	}
	return ""
}
