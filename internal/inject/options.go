package inject

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"
	meshv1alpha1 "istio.io/api/mesh/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	kresource "k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/meshctl/meshctl/internal/capture"
	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/resource"
)

// Templates that a pod may name in inject.istio.io/templates.
const (
	templateSidecar = "sidecar"
	templateGateway = "gateway"
)

// options are what the mesh's defaults and the pod's annotations come to.
type options struct {
	gateway bool
	native  bool // sidecar as an init container that keeps running
	cni     bool

	proxyConfig *meshv1alpha1.ProxyConfig
	capture     capture.Config
	noCapture   bool // interception mode NONE
	privileged  bool

	dataPlane  DataPlane
	image      string
	resources  corev1.ResourceRequirements
	statusPort int32 // 0: no readiness probe
	hold       bool
	rewrite    bool // probes
	merge      bool // metrics

	volumes []corev1.Volume
	mounts  []corev1.VolumeMount
}

func (m *mutation) readOptions() {
	v := &m.in.Values
	o := &m.opt
	o.gateway = m.template() == templateGateway
	o.native = m.flag(annNativeSidecar, m.in.NativeSidecars) && !o.gateway
	o.cni = v.cni()
	o.privileged = v.Global.Proxy.Privileged
	o.resources = m.resources()
	m.readProxyConfig()
	m.readDataPlane()
	o.hold = o.proxyConfig.GetHoldApplicationUntilProxyStarts().GetValue() || v.Global.Proxy.HoldApplication
	o.statusPort = cmp.Or(o.proxyConfig.GetStatusPort(), 15020)
	if p, ok := m.pod.Annotations[annStatusPort]; ok && isPortOrZero(p) == nil {
		n, _ := strconv.ParseInt(p, 10, 32)
		if o.statusPort = int32(n); n != 0 {
			o.proxyConfig.StatusPort = int32(n)
		}
	} else if v.Global.Proxy.StatusPort != nil {
		o.statusPort = *v.Global.Proxy.StatusPort
	}
	// A gateway's own probes are asked directly: nothing is redirected there.
	o.rewrite = m.flag(annRewriteProbers, *v.Webhook.RewriteAppHTTPProbe) && !o.gateway && o.statusPort != 0
	merge := m.in.Mesh.GetEnablePrometheusMerge() == nil || m.in.Mesh.GetEnablePrometheusMerge().GetValue()
	o.merge = m.flag(annMergeMetrics, merge) && o.statusPort != 0
	m.readCapture()
	m.readUserVolumes()
}

// template is the one the pod asks for.
func (m *mutation) template() string {
	asked, ok := m.pod.Annotations[annTemplates]
	if !ok {
		return templateSidecar
	}
	known := []string{templateSidecar, templateGateway}
	names := slices.DeleteFunc(strings.Split(asked, ","), func(s string) bool { return strings.TrimSpace(s) == "" })
	if len(names) != 1 || !slices.Contains(known, strings.TrimSpace(names[0])) {
		fix := "use one of " + strings.Join(known, ", ")
		if near := resource.Nearest(asked, known); near != "" {
			fix = "did you mean " + near + "?"
		}
		m.refuse(CodeBadAnnotation, annotationField(annTemplates), fmt.Sprintf("annotation %s: %q is not one template of this mesh", annTemplates, asked), fix)
		return templateSidecar
	}
	return strings.TrimSpace(names[0])
}

// flag is a boolean annotation; a wrong one was reported by checkAnnotations.
func (m *mutation) flag(name string, otherwise bool) bool {
	b, err := strconv.ParseBool(m.pod.Annotations[name])
	if err != nil {
		return otherwise
	}
	return b
}

// readProxyConfig lays, over the mesh's default: ProxyConfig resources of the root
// namespace, of the pod's namespace, those that select the pod; its annotation.
func (m *mutation) readProxyConfig() {
	m.opt.proxyConfig = resource.DefaultProxyConfig()
	if base := m.in.Mesh.GetDefaultConfig(); base != nil {
		m.opt.proxyConfig = proto.CloneOf(base)
	}
	m.applyProxyConfigs()
	if a, ok := m.pod.Annotations[annProxyConfig]; ok {
		pc, ds := resource.DecodeProxyConfig(annProxyConfig, []byte(a), m.opt.proxyConfig)
		for _, d := range ds {
			d.Object, d.Field = m.obj, annotationField(annProxyConfig)+"."+d.Field
			d.Field = strings.TrimSuffix(d.Field, ".")
			if d.Severity == diag.Error {
				d.Effect = refused
			}
			m.ds = append(m.ds, d)
		}
		if pc != nil {
			m.opt.proxyConfig = pc
		}
	}
	if a := m.pod.Annotations[annDiscovery]; a != "" {
		m.opt.proxyConfig.DiscoveryAddress = a
	}
	if m.opt.proxyConfig.GetInterceptionMode() == meshv1alpha1.ProxyConfig_TPROXY && m.pod.Annotations[annInterception] == "" {
		m.refuse(CodeUnsupported, "", "the proxy's configuration asks for interception mode TPROXY, which is not supported", "use REDIRECT")
	}
}

func (m *mutation) applyProxyConfigs() {
	rank := func(c ProxyConfig) int {
		selects := len(c.Spec.GetSelector().GetMatchLabels()) > 0
		switch {
		case selects && !labels.SelectorFromSet(c.Spec.GetSelector().GetMatchLabels()).Matches(labels.Set(m.pod.Labels)):
			return 0
		case c.Namespace == m.in.rootNamespace() && !selects:
			return 1
		case c.Namespace == m.in.Namespace.Name && !selects:
			return 2
		case c.Namespace == m.in.Namespace.Name && selects:
			return 3
		default:
			return 0
		}
	}
	all := slices.DeleteFunc(slices.Clone(m.in.ProxyConfigs), func(c ProxyConfig) bool { return rank(c) == 0 })
	slices.SortStableFunc(all, func(a, b ProxyConfig) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.Name, b.Name))
	})
	pc := m.opt.proxyConfig
	for _, c := range all {
		if c.Spec.GetConcurrency() != nil {
			pc.Concurrency = c.Spec.GetConcurrency()
		}
		if len(c.Spec.GetEnvironmentVariables()) > 0 {
			env := maps.Clone(pc.GetProxyMetadata())
			if env == nil {
				env = map[string]string{}
			}
			maps.Copy(env, c.Spec.GetEnvironmentVariables())
			pc.ProxyMetadata = env
		}
		if t := c.Spec.GetImage().GetImageType(); t != "" {
			if err := isImageType(t); err != nil {
				m.refuse(CodeUnsupported, "", fmt.Sprintf("ProxyConfig %s/%s: image type: %v", c.Namespace, c.Name, err), "")
				continue
			}
			pc.Image = c.Spec.GetImage()
		}
	}
}

// resources are the values', or, as soon as one annotation is there, what the
// annotations say and nothing else.
func (m *mutation) resources() corev1.ResourceRequirements {
	var r corev1.ResourceRequirements
	any := false
	set := func(list *corev1.ResourceList, name corev1.ResourceName, annotation string) {
		v, ok := m.pod.Annotations[annotation]
		if !ok {
			return
		}
		any = true
		if q, err := kresource.ParseQuantity(v); err == nil {
			if *list == nil {
				*list = corev1.ResourceList{}
			}
			(*list)[name] = q
		}
	}
	set(&r.Requests, corev1.ResourceCPU, annProxyCPU)
	set(&r.Requests, corev1.ResourceMemory, annProxyMem)
	set(&r.Limits, corev1.ResourceCPU, annProxyCPULimit)
	set(&r.Limits, corev1.ResourceMemory, annProxyMemLimit)
	if !any {
		return *m.in.Values.Global.Proxy.Resources.DeepCopy()
	}
	for name, limit := range r.Limits {
		if request, ok := r.Requests[name]; ok && request.Cmp(limit) > 0 {
			m.refuse(CodeBadAnnotation, "metadata.annotations", fmt.Sprintf("the sidecar's request of %s (%s) is above its limit (%s)", name, request.String(), limit.String()), "")
		}
	}
	return r
}
