package inject

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"

	kresource "k8s.io/apimachinery/pkg/api/resource"

	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/resource"
)

// Annotations of a pod that injection reads.
const (
	annRewriteProbers  = "sidecar.istio.io/rewriteAppHTTPProbers"
	annProxyImage      = "sidecar.istio.io/proxyImage"
	annProxyImageType  = "sidecar.istio.io/proxyImageType"
	annProxyCPU        = "sidecar.istio.io/proxyCPU"
	annProxyCPULimit   = "sidecar.istio.io/proxyCPULimit"
	annProxyMem        = "sidecar.istio.io/proxyMemory"
	annProxyMemLimit   = "sidecar.istio.io/proxyMemoryLimit"
	annInterception    = "sidecar.istio.io/interceptionMode"
	annUserVolume      = "sidecar.istio.io/userVolume"
	annUserVolumeMount = "sidecar.istio.io/userVolumeMount"
	annLogLevel        = "sidecar.istio.io/logLevel"
	annComponentLog    = "sidecar.istio.io/componentLogLevel"
	annAgentLogLevel   = "sidecar.istio.io/agentLogLevel"
	annNativeSidecar   = "sidecar.istio.io/nativeSidecar"
	annDiscovery       = "sidecar.istio.io/discoveryAddress"
	annStatusPort      = "status.sidecar.istio.io/port"
	annReadyDelay      = "readiness.status.sidecar.istio.io/initialDelaySeconds"
	annReadyPeriod     = "readiness.status.sidecar.istio.io/periodSeconds"
	annReadyFailures   = "readiness.status.sidecar.istio.io/failureThreshold"
	annProxyConfig     = "proxy.istio.io/config"
	annOverrides       = "proxy.istio.io/overrides"
	annTemplates       = "inject.istio.io/templates"
	annMergeMetrics    = "prometheus.istio.io/merge-metrics"
	trafficPrefix      = "traffic.sidecar.istio.io/"
)

// ownPrefixes are the names that belong to the mesh: an annotation under them that
// nobody knows is a mistake of the one who wrote it.
var ownPrefixes = []string{
	"sidecar.istio.io/", "status.sidecar.istio.io/", "readiness.status.sidecar.istio.io/",
	trafficPrefix, "proxy.istio.io/", "inject.istio.io/", "prometheus.istio.io/",
}

// annotation is what is known of one.
type annotation struct {
	check       func(string) error
	unsupported string // why it does nothing here
	refuse      bool   // unsupported, and leaving it out would change what the pod does
	envoy       bool   // unsupported by the native data plane only
}

const statsReason = "the native proxy always exposes Istio's metrics and its own set of Envoy's; they are not chosen one by one"

// knownAnnotations is every annotation under ownPrefixes, but for those that
// package capture reads (traffic.sidecar.istio.io/, interceptionMode).
var knownAnnotations = map[string]annotation{
	NameInject:         {},
	annotationStatus:   {},
	annOverrides:       {},
	annRewriteProbers:  {check: isBool},
	annProxyImage:      {check: isImage},
	annProxyImageType:  {check: isImageType},
	annProxyCPU:        {check: isQuantity},
	annProxyCPULimit:   {check: isQuantity},
	annProxyMem:        {check: isQuantity},
	annProxyMemLimit:   {check: isQuantity},
	annInterception:    {}, // capture
	annUserVolume:      {check: isUserVolumes},
	annUserVolumeMount: {check: isUserMounts},
	annLogLevel:        {check: isLogLevel},
	annComponentLog:    {check: isComponentLevels},
	annAgentLogLevel:   {check: isAgentLevels},
	annNativeSidecar:   {check: isBool},
	annDiscovery:       {check: isHostPort},
	annStatusPort:      {check: isPortOrZero},
	annReadyDelay:      {check: isCount},
	annReadyPeriod:     {check: isCount},
	annReadyFailures:   {check: isCount},
	annProxyConfig:     {}, // options.go
	annTemplates:       {}, // options.go
	annMergeMetrics:    {check: isBool},

	"readiness.status.sidecar.istio.io/applicationPorts": {unsupported: "the proxy's readiness does not depend on the application's ports; the application's own readinessProbe does that"},
	"sidecar.istio.io/bootstrapOverride":                 {unsupported: "the native proxy has no Envoy bootstrap that could be overridden", refuse: true},
	"sidecar.istio.io/statsInclusionPrefixes":            {unsupported: statsReason, envoy: true},
	"sidecar.istio.io/statsInclusionSuffixes":            {unsupported: statsReason, envoy: true},
	"sidecar.istio.io/statsInclusionRegexps":             {unsupported: statsReason, envoy: true},
	"sidecar.istio.io/statsHistogramBuckets":             {unsupported: statsReason},
	"sidecar.istio.io/statsHistogramBins":                {unsupported: statsReason},
	"sidecar.istio.io/statsFlushInterval":                {unsupported: statsReason},
	"sidecar.istio.io/statsEvictionInterval":             {unsupported: statsReason},
	"sidecar.istio.io/extraStatTags":                     {unsupported: "tags are added by a Telemetry resource (metrics.overrides.tagOverrides)"},
	"sidecar.istio.io/enableCoreDump":                    {unsupported: "Istio no longer has it either"},
	"sidecar.istio.io/controlPlaneAuthPolicy":            {unsupported: "the control plane is always reached over mutual TLS"},
}

// checkAnnotations reports every annotation of the mesh that is unknown, wrong, or
// not there in this mesh. Those of capture are left to capture.
func (m *mutation) checkAnnotations() {
	for _, name := range slices.Sorted(maps.Keys(m.pod.Annotations)) {
		prefix := ownPrefix(name)
		if prefix == "" || prefix == trafficPrefix {
			continue
		}
		field := annotationField(name)
		a, known := knownAnnotations[name]
		switch value := m.pod.Annotations[name]; {
		case !known:
			fix := "take it away"
			if near := resource.Nearest(name, annotationNames()); near != "" {
				fix = "did you mean " + near + "?"
			}
			m.add(CodeUnknownAnnotation, diag.Warning, field, "there is no annotation "+name, "it does nothing", fix)
		case a.envoy && m.opt.dataPlane == Envoy:
		case a.refuse:
			m.refuse(CodeUnsupported, field, "annotation "+name+" is not supported: "+a.unsupported, "take it away")
		case a.unsupported != "":
			m.add(CodeUnsupported, diag.Warning, field, "annotation "+name+" is not supported: "+a.unsupported, "it does nothing", "take it away")
		case a.check != nil:
			if err := a.check(value); err != nil {
				m.refuse(CodeBadAnnotation, field, fmt.Sprintf("annotation %s: %v", name, err), "")
			}
		}
	}
}

func annotationField(name string) string { return "metadata.annotations[" + name + "]" }

func annotationNames() []string { return slices.Sorted(maps.Keys(knownAnnotations)) }

// ownPrefix is the prefix of ours that a name has.
func ownPrefix(name string) string {
	for _, p := range ownPrefixes {
		if strings.HasPrefix(name, p) {
			return p
		}
	}
	return ""
}

func isBool(v string) error {
	if _, err := strconv.ParseBool(v); err != nil {
		return fmt.Errorf("%q is not true or false", v)
	}
	return nil
}

func isQuantity(v string) error {
	if q, err := kresource.ParseQuantity(v); err != nil || q.Sign() < 0 {
		return fmt.Errorf("%q is not a quantity such as 100m or 128Mi", v)
	}
	return nil
}

func isCount(v string) error {
	if n, err := strconv.ParseInt(v, 10, 32); err != nil || n < 0 {
		return fmt.Errorf("%q is not a number from 0 on", v)
	}
	return nil
}

func isPortOrZero(v string) error {
	if _, err := strconv.ParseUint(v, 10, 16); err != nil {
		return fmt.Errorf("%q is not a port", v)
	}
	return nil
}

func isHostPort(v string) error {
	host, port, err := net.SplitHostPort(v)
	if err != nil || host == "" || isPortOrZero(port) != nil || port == "0" {
		return fmt.Errorf("%q is not host:port, such as istiod.istio-system.svc:15012", v)
	}
	return nil
}

func isImage(v string) error {
	if strings.TrimSpace(v) != v || v == "" {
		return fmt.Errorf("%q is not the name of an image", v)
	}
	return nil
}

// isImageType takes the data planes that there are, and Istio's kinds of image.
func isImageType(v string) error {
	_, err := ofImageType(v, Native)
	return err
}

var errNoDebugImage = errors.New("there is no debug image; use an ephemeral container (kubectl debug)")

var logLevels = []string{"trace", "debug", "info", "warning", "warn", "error", "critical", "off"}

func isLogLevel(v string) error {
	if !slices.Contains(logLevels, v) {
		return fmt.Errorf("%q is not one of %s", v, strings.Join(logLevels, ", "))
	}
	return nil
}

func isComponentLevels(v string) error {
	for part := range strings.SplitSeq(v, ",") {
		name, level, ok := strings.Cut(part, ":")
		if !ok || name == "" {
			return fmt.Errorf("%q is not component:level", part)
		}
		if err := isLogLevel(level); err != nil {
			return err
		}
	}
	return nil
}

// isAgentLevels takes Istio's scopes: "default:info,xdsproxy:debug", or a level alone.
func isAgentLevels(v string) error {
	for part := range strings.SplitSeq(v, ",") {
		_, level, ok := strings.Cut(part, ":")
		if !ok {
			level = part
		}
		switch level {
		case "debug", "info", "warn", "error", "fatal", "none":
		default:
			return fmt.Errorf("%q is not a level: debug, info, warn, error, fatal or none, or scope:level", part)
		}
	}
	return nil
}
