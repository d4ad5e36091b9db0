package pod

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/meshctl/meshctl/internal/capture"
	"github.com/meshctl/meshctl/internal/inject"
	"github.com/meshctl/meshctl/internal/local/controller"
	"github.com/meshctl/meshctl/internal/local/image"
)

// Proxy is what a pod's proxy is given. Read-only.
type Proxy struct {
	Program     image.Program // started with "proxy sidecar|router --domain …" behind its own words
	Discovery   string        // control plane's address
	ClusterID   string
	MeshID      string
	TrustDomain string
	RootCertPEM []byte
	Config      map[string]any // ProxyConfig, the mesh's defaults
	Capture     capture.Config
	Image       string // shown in status
	// Envoy is the program of a pod whose data plane is a stock Envoy; "": it is the
	// native one.
	Envoy string
}

// Ports and paths of the proxy.
const (
	readinessPort = 15021
	readinessPath = "/healthz/ready"
	// DefaultMark is the socket mark by which a sidecar's traffic is known.
	DefaultMark = 1337
)

// files of the proxy in the pod's directory.
const (
	fileToken       = "token"
	fileRoot        = "root-cert.pem"
	fileLabels      = "labels.json"
	fileAnnotations = "annotations.json"
)

const proxyConfigAnnotation = "proxy.istio.io/config"

// writeFiles writes what the proxy reads: identity token, root certificate,
// labels and annotations. All are readable by the user only.
func (x *Proxy) writeFiles(cfg Config, f Facts) error {
	dir := filepath.Join(cfg.Dir, "proxy")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make proxy directory: %w", err)
	}
	labels, err := json.Marshal(f.Labels)
	if err != nil {
		return fmt.Errorf("encode labels: %w", err)
	}
	annotations, err := json.Marshal(f.Annotations)
	if err != nil {
		return fmt.Errorf("encode annotations: %w", err)
	}
	for name, content := range map[string][]byte{fileRoot: x.RootCertPEM, fileLabels: labels, fileAnnotations: annotations} {
		if err := writeAtomically(filepath.Join(dir, name), content); err != nil {
			return err
		}
	}
	return writeToken(cfg)
}

// writeToken issues a token for the pod's identity and puts it where the proxy reads it.
func writeToken(cfg Config) error {
	token, err := cfg.Token()
	if err != nil {
		return fmt.Errorf("issue token of %s: %w", cfg.Spec.ServiceAccount(), err)
	}
	return writeAtomically(filepath.Join(cfg.Dir, "proxy", fileToken), []byte(token))
}

// RenewToken replaces the proxy's token by a fresh one.
func (p *Pod) RenewToken() error {
	if p.cfg.Proxy == nil || p.sandbox() == nil {
		return nil
	}
	return writeToken(p.cfg)
}

// writeAtomically lets readers see the old or the new content, nothing between.
func writeAtomically(path string, content []byte) error {
	tmp := path + ".new"
	if err := os.WriteFile(tmp, content, 0o600); err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	return nil
}

// container is the proxy as a container of the pod.
func (x *Proxy) container(domain string, f Facts) corev1.Container {
	kind := "sidecar"
	if f.Injection == controller.Gateway {
		kind = "router"
	}
	c := corev1.Container{
		Name: ProxyName, Image: x.Image,
		Args: []string{"proxy", kind, "--domain", f.Namespace + ".svc." + domain},
		ReadinessProbe: &corev1.Probe{
			ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{
				Host: "127.0.0.1", Path: readinessPath, Port: intstr.FromInt32(readinessPort),
			}},
			PeriodSeconds: 2, FailureThreshold: 3, TimeoutSeconds: 3,
		},
	}
	if f.Injection == controller.Gateway && len(f.Spec.Containers) > 0 {
		// The gateway's manifest may say more about its container.
		c.Env = append(c.Env, f.Spec.Containers[0].Env...)
		c.EnvFrom = f.Spec.Containers[0].EnvFrom
		c.Ports = f.Spec.Containers[0].Ports
	}
	return c
}

// variables is the proxy's environment: the contract with meshproxy.
func (x *Proxy) variables(cfg Config, f Facts) ([]corev1.EnvVar, error) {
	dir := filepath.Join(cfg.Dir, "proxy")
	proxyConfig, err := x.config(f)
	if err != nil {
		return nil, err
	}
	ports, err := podPorts(f)
	if err != nil {
		return nil, err
	}
	var apps []string
	if f.Injection == controller.Sidecar {
		for _, c := range f.Spec.Containers {
			apps = append(apps, c.Name)
		}
	}
	gateway := cfg.Network.Gateway().String()
	mark := strconv.FormatUint(uint64(x.Capture.ProxyMark), 10)
	if f.Injection == controller.Gateway {
		mark = "0"
	}
	pairs := [][2]string{
		{"POD_NAME", f.Name},
		{"POD_NAMESPACE", f.Namespace},
		{"INSTANCE_IP", f.IP},
		{"SERVICE_ACCOUNT", f.ServiceAccount()},
		{"NODE_NAME", f.NodeName},
		{"HOST_IP", f.HostIP},
		{"ISTIO_META_WORKLOAD_NAME", f.Workload.Name},
		{"ISTIO_META_OWNER", owner(f)},
		{"ISTIO_META_CLUSTER_ID", x.ClusterID},
		{"ISTIO_META_MESH_ID", x.MeshID},
		{"ISTIO_META_APP_CONTAINERS", strings.Join(apps, ",")},
		{"ISTIO_META_POD_PORTS", ports},
		{"ISTIO_META_DNS_CAPTURE", strconv.FormatBool(x.Capture.DNSCapture && f.Injection == controller.Sidecar)},
		{"ISTIO_META_INTERCEPTION_MODE", string(x.Capture.Mode)},
		{"TRUST_DOMAIN", x.TrustDomain},
		{"PROXY_CONFIG", proxyConfig},
		{"MESH_DISCOVERY_ADDRESS", x.Discovery},
		{"MESH_TOKEN_FILE", filepath.Join(dir, fileToken)},
		{"MESH_ROOT_CERT_FILE", filepath.Join(dir, fileRoot)},
		{"MESH_LABELS_FILE", filepath.Join(dir, fileLabels)},
		{"MESH_ANNOTATIONS_FILE", filepath.Join(dir, fileAnnotations)},
		{"MESH_SO_MARK", mark},
		{"MESH_DNS_UPSTREAMS", gateway + ":53"},
		{"ISTIO_PROMETHEUS_ANNOTATIONS", prometheusAnnotations(f)},
	}
	if x.Envoy != "" {
		pairs = append(pairs, [2]string{"MESH_DATAPLANE", string(inject.Envoy)}, [2]string{"MESH_ENVOY", x.Envoy}, [2]string{"MESH_ENVOY_DIR", filepath.Join(dir, "envoy")})
	}
	own := cfg.Network.ProxyVariables(cfg.IP)
	for _, name := range slices.Sorted(maps.Keys(own)) {
		pairs = append(pairs, [2]string{name, own[name]})
	}
	env := make([]corev1.EnvVar, len(pairs))
	for i, p := range pairs {
		// The values are final: nothing in them is a reference.
		env[i] = corev1.EnvVar{Name: p[0], Value: strings.ReplaceAll(p[1], "$", "$$")}
	}
	return env, nil
}

func owner(f Facts) string {
	version := f.APIVersion
	plural := map[string]string{
		"Deployment": "deployments", "StatefulSet": "statefulsets", "DaemonSet": "daemonsets",
		"ReplicaSet": "replicasets", "Job": "jobs", "Pod": "pods",
	}[f.Workload.Kind]
	return fmt.Sprintf("kubernetes://apis/%s/namespaces/%s/%s/%s", version, f.Namespace, plural, f.Workload.Name)
}

type podPort struct {
	Name          string `json:"name,omitempty"`
	ContainerPort int32  `json:"containerPort"`
	Protocol      string `json:"protocol"`
}

func podPorts(f Facts) (string, error) {
	ports := []podPort{}
	for _, c := range f.Spec.Containers {
		for _, p := range c.Ports {
			protocol := string(p.Protocol)
			if protocol == "" {
				protocol = "TCP"
			}
			ports = append(ports, podPort{p.Name, p.ContainerPort, protocol})
		}
	}
	b, err := json.Marshal(ports)
	if err != nil {
		return "", fmt.Errorf("encode ports: %w", err)
	}
	return string(b), nil
}

// prometheusAnnotations tells the proxy where the containers' own metrics are.
func prometheusAnnotations(f Facts) string {
	if f.Annotations["prometheus.io/scrape"] != "true" {
		return ""
	}
	b, err := json.Marshal(map[string]string{
		"scrape": "true", "path": f.Annotations["prometheus.io/path"],
		"port": f.Annotations["prometheus.io/port"], "scheme": f.Annotations["prometheus.io/scheme"],
	})
	if err != nil {
		return ""
	}
	return string(b)
}
