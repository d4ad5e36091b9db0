package controller

import (
	"slices"
	"strings"
)

// Injection is which proxy a pod gets.
type Injection int

// Injections.
const (
	NoProxy Injection = iota // plain: no proxy, no capture
	Sidecar                  // a proxy beside the containers
	Gateway                  // a proxy in place of the container
)

// String names it as status output does.
func (i Injection) String() string {
	switch i {
	case Sidecar:
		return "sidecar"
	case Gateway:
		return "gateway"
	default:
		return "none"
	}
}

const (
	annotationTemplates = "inject.istio.io/templates"
	labelInject         = "sidecar.istio.io/inject"
	labelInjection      = "istio-injection"
)

// gatewayImage is the image name that stands for "the proxy" in a gateway's manifest.
const gatewayImage = "auto"

// Decide says which proxy a pod gets. On one machine every pod gets a sidecar
// unless its namespace or it says no.
func Decide(namespaceLabels map[string]string, p PodSpec) Injection {
	if isGateway(p) {
		return Gateway
	}
	inject := p.Labels[labelInject]
	if inject == "" {
		inject = p.Annotations[labelInject]
	}
	switch {
	case inject == "false", p.Spec.HostNetwork:
		return NoProxy
	case inject == "true":
		return Sidecar
	case namespaceLabels[labelInjection] == "disabled":
		return NoProxy
	}
	return Sidecar
}

func isGateway(p PodSpec) bool {
	if len(p.Spec.Containers) == 0 || p.Spec.Containers[0].Image != gatewayImage {
		return false
	}
	templates := strings.Split(p.Annotations[annotationTemplates], ",")
	return slices.Contains(templates, "gateway") || p.Labels["istio"] != ""
}

// labelInjected adds the labels that an injection webhook sets: that the pod ends
// mutual TLS, by which others know to speak it, and the names that metrics have.
func labelInjected(p *PodSpec, workload string) {
	if p.Injection == NoProxy {
		return
	}
	set := func(key string, values ...string) {
		if p.Labels[key] != "" {
			return
		}
		for _, v := range values {
			if v != "" {
				p.Labels[key] = v
				return
			}
		}
	}
	l := p.Labels
	set("security.istio.io/tlsMode", "istio")
	set("service.istio.io/canonical-name", l["app.kubernetes.io/name"], l["app"], workload)
	set("service.istio.io/canonical-revision", l["app.kubernetes.io/version"], l["version"], "latest")
}
