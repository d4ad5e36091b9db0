package inject

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// DefaultHub is where the images are when no value says otherwise.
const DefaultHub = "docker.io/meshctl"

// Values are the install values that injection uses, in the form that the chart
// writes into the ConfigMap istio-sidecar-injector. Others are not looked at.
type Values struct {
	Global   GlobalValues  `json:"global"`
	Revision string        `json:"revision"`
	Webhook  WebhookValues `json:"sidecarInjectorWebhook"`
	IstioCNI Enabled       `json:"istio_cni"`
	Pilot    PilotValues   `json:"pilot"`
}

// ValuesDigest tells one text of values from another, as the control plane's page
// /injection shows it.
func ValuesDigest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// PilotValues is what of the control plane's values matters here.
type PilotValues struct {
	CNI Enabled `json:"cni"`
}

// Enabled is a switch.
type Enabled struct {
	Enabled bool `json:"enabled"`
}

// WebhookValues are the values under sidecarInjectorWebhook.
type WebhookValues struct {
	RewriteAppHTTPProbe       *bool                  `json:"rewriteAppHTTPProbe"`
	AlwaysInjectSelector      []metav1.LabelSelector `json:"alwaysInjectSelector"`
	NeverInjectSelector       []metav1.LabelSelector `json:"neverInjectSelector"`
	InjectedAnnotations       map[string]string      `json:"injectedAnnotations"`
	EnableNamespacesByDefault bool                   `json:"enableNamespacesByDefault"`
}

// GlobalValues are the values under global.
type GlobalValues struct {
	Hub              string          `json:"hub"`
	Tag              Scalar          `json:"tag"`
	ImagePullPolicy  string          `json:"imagePullPolicy"`
	ImagePullSecrets []string        `json:"imagePullSecrets"`
	IstioNamespace   string          `json:"istioNamespace"`
	Network          string          `json:"network"`
	MeshID           string          `json:"meshID"`
	CAAddress        string          `json:"caAddress"`
	TrustDomain      string          `json:"trustDomain"`
	LogAsJSON        bool            `json:"logAsJson"`
	Logging          LoggingValues   `json:"logging"`
	MultiCluster     ClusterValues   `json:"multiCluster"`
	Proxy            ProxyValues     `json:"proxy"`
	ProxyInit        ProxyInitValues `json:"proxy_init"`
}

// LoggingValues is the level of the agent's log.
type LoggingValues struct {
	Level string `json:"level"`
}

// ClusterValues names the cluster in a mesh of several.
type ClusterValues struct {
	ClusterName string `json:"clusterName"`
}

// ProxyInitValues are of the container that redirects traffic.
type ProxyInitValues struct {
	Image     string                       `json:"image"`
	Resources *corev1.ResourceRequirements `json:"resources"`
}

// ProxyValues are of the sidecar.
type ProxyValues struct {
	Image             string                       `json:"image"`
	DataPlane         string                       `json:"dataplane"` // native or envoy
	Resources         *corev1.ResourceRequirements `json:"resources"`
	LogLevel          string                       `json:"logLevel"`
	ComponentLogLevel string                       `json:"componentLogLevel"`
	ClusterDomain     string                       `json:"clusterDomain"`
	Privileged        bool                         `json:"privileged"`
	StatusPort        *int32                       `json:"statusPort"`
	HoldApplication   bool                         `json:"holdApplicationUntilProxyStarts"`
	SeccompProfile    *corev1.SeccompProfile       `json:"seccompProfile"`
	Lifecycle         *corev1.Lifecycle            `json:"lifecycle"`
	StartupProbe      *StartupProbeValues          `json:"startupProbe"`

	ReadinessInitialDelaySeconds int32 `json:"readinessInitialDelaySeconds"`
	ReadinessPeriodSeconds       int32 `json:"readinessPeriodSeconds"`
	ReadinessFailureThreshold    int32 `json:"readinessFailureThreshold"`

	IncludeIPRanges      Scalar `json:"includeIPRanges"`
	ExcludeIPRanges      Scalar `json:"excludeIPRanges"`
	IncludeInboundPorts  Scalar `json:"includeInboundPorts"`
	ExcludeInboundPorts  Scalar `json:"excludeInboundPorts"`
	IncludeOutboundPorts Scalar `json:"includeOutboundPorts"`
	ExcludeOutboundPorts Scalar `json:"excludeOutboundPorts"`
}

// StartupProbeValues are of the probe that gives the sidecar time to become ready.
type StartupProbeValues struct {
	Enabled          bool  `json:"enabled"`
	FailureThreshold int32 `json:"failureThreshold"`
}

// Scalar is a text that charts may also write as a number or not at all.
type Scalar string

// UnmarshalJSON takes a string, a number, or null.
func (s *Scalar) UnmarshalJSON(b []byte) error {
	var text string
	if json.Unmarshal(b, &text) == nil {
		*s = Scalar(text)
		return nil
	}
	var n json.Number
	if err := json.Unmarshal(b, &n); err != nil {
		return fmt.Errorf("%s is neither text nor a number", b)
	}
	*s = Scalar(n.String())
	return nil
}

// maxValues bounds the text of the values.
const maxValues = 1 << 20

// ParseValues reads values as JSON over the defaults. version is the tag of the
// images when none is given. Keys that injection does not use are let through:
// the same document configures the control plane.
func ParseValues(data []byte, version string) (Values, error) {
	v := DefaultValues(version)
	if len(data) > maxValues {
		return v, fmt.Errorf("injection values have %d bytes, at most %d are read", len(data), maxValues)
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return v, nil
	}
	if err := json.Unmarshal(data, &v); err != nil {
		return v, fmt.Errorf("read injection values: %w", err)
	}
	v.fill(version)
	return v, nil
}

// DefaultValues are the values when none are written.
func DefaultValues(version string) Values {
	v := Values{}
	v.fill(version)
	return v
}

func (v *Values) fill(version string) {
	set := func(to *string, value string) {
		if *to == "" {
			*to = value
		}
	}
	g := &v.Global
	set(&g.Hub, DefaultHub)
	set((*string)(&g.Tag), version)
	set(&g.IstioNamespace, "istio-system")
	set(&g.TrustDomain, "cluster.local")
	set(&g.MultiCluster.ClusterName, "Kubernetes")
	set(&g.Logging.Level, "default:info")
	p := &g.Proxy
	set(&p.Image, nativeImage)
	set(&p.DataPlane, string(Native))
	set(&p.LogLevel, "warning")
	set(&p.ClusterDomain, "cluster.local")
	set((*string)(&p.IncludeIPRanges), "*")
	set((*string)(&p.IncludeInboundPorts), "*")
	if p.ReadinessPeriodSeconds == 0 {
		p.ReadinessPeriodSeconds = 15
	}
	if p.ReadinessFailureThreshold == 0 {
		p.ReadinessFailureThreshold = 4
	}
	if p.StartupProbe == nil {
		p.StartupProbe = &StartupProbeValues{Enabled: true}
	}
	if p.StartupProbe.FailureThreshold == 0 {
		p.StartupProbe.FailureThreshold = 600
	}
	if p.Resources == nil {
		// A native proxy at rest needs about 20 MiB.
		p.Resources = &corev1.ResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("50m"), corev1.ResourceMemory: resource.MustParse("64Mi")},
			Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("1Gi")},
		}
	}
	if v.Webhook.RewriteAppHTTPProbe == nil {
		yes := true
		v.Webhook.RewriteAppHTTPProbe = &yes
	}
}

// cni reports whether a CNI plugin redirects traffic, so that pods need no rights for it.
func (v *Values) cni() bool { return v.IstioCNI.Enabled || v.Pilot.CNI.Enabled }

// image is the full name of an image: one with a slash is complete already.
func (v *Values) image(name string) string {
	if strings.Contains(name, "/") {
		return name
	}
	return v.Global.Hub + "/" + name + ":" + string(v.Global.Tag)
}
