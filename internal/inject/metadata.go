package inject

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/meshctl/meshctl/internal/capture"
)

const (
	labelTLSMode           = "security.istio.io/tlsMode"
	labelCanonicalName     = "service.istio.io/canonical-name"
	labelCanonicalRevision = "service.istio.io/canonical-revision"
	labelNetwork           = "topology.istio.io/network"
	annDefaultContainer    = "kubectl.kubernetes.io/default-container"
	annDefaultLogs         = "kubectl.kubernetes.io/default-logs-container"
)

// status is what injection added, written into the pod.
type status struct {
	InitContainers   []string `json:"initContainers"`
	Containers       []string `json:"containers"`
	Volumes          []string `json:"volumes"`
	ImagePullSecrets []string `json:"imagePullSecrets"`
	Revision         string   `json:"revision"`
}

// Status reads what injection wrote into a pod: the revision that did it and what it added.
func Status(pod *corev1.Pod) (revision string, containers []string, ok bool) {
	var s status
	if json.Unmarshal([]byte(pod.Annotations[annotationStatus]), &s) != nil {
		return "", nil, false
	}
	return s.Revision, slices.Concat(s.InitContainers, s.Containers), s.Revision != ""
}

// addMetadata adds labels and annotations; what is there already stays.
func (m *mutation) addMetadata() {
	p := m.pod
	name, revision := m.canonical()
	if p.Labels == nil {
		p.Labels = map[string]string{}
	}
	add := func(to map[string]string, key, value string) {
		if _, there := to[key]; !there && value != "" {
			to[key] = value
		}
	}
	// A gateway speaks mTLS only where its servers say so.
	if !m.opt.gateway {
		add(p.Labels, labelTLSMode, "istio")
	}
	add(p.Labels, labelCanonicalName, name)
	add(p.Labels, labelCanonicalRevision, revision)
	add(p.Labels, labelNetwork, cmp.Or(m.in.Network, m.in.Values.Global.Network))
	p.Annotations[LabelRevision] = m.in.revision()
	if app := m.appContainers(); len(app) > 0 {
		add(p.Annotations, annDefaultContainer, app[0])
		add(p.Annotations, annDefaultLogs, app[0])
	}
	injected := m.in.Values.Webhook.InjectedAnnotations
	for _, k := range slices.Sorted(maps.Keys(injected)) {
		add(p.Annotations, k, injected[k])
	}
	if m.opt.cni && !m.opt.gateway {
		m.writeTraffic()
	}
}

// writeTraffic tells the CNI plugin, which sees the pod and not the mesh's values.
func (m *mutation) writeTraffic() {
	c, a := m.opt.capture, m.pod.Annotations
	a[annInterception] = string(c.Mode)
	if c.Mode == capture.None {
		return
	}
	for name, v := range map[string]string{
		"includeOutboundIPRanges": ranges(c.IncludeOutboundRanges), "excludeOutboundIPRanges": joinRanges(c.ExcludeOutboundRanges),
		"includeInboundPorts": portsOrAll(c.IncludeInboundPorts), "excludeInboundPorts": joinPorts(c.ExcludeInboundPorts),
		"includeOutboundPorts": joinPorts(c.IncludeOutboundPorts), "excludeOutboundPorts": joinPorts(c.ExcludeOutboundPorts),
	} {
		name = trafficPrefix + name
		if _, there := a[name]; there || v != "" {
			a[name] = v
		}
	}
}

// writeStatus records what was added.
func (m *mutation) writeStatus() {
	m.added.Revision = m.in.revision()
	b, err := json.Marshal(m.added)
	if err != nil {
		return // names always encode
	}
	m.pod.Annotations[annotationStatus] = string(b)
}
