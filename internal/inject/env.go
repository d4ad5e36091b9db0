package inject

import (
	"bytes"
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	meshv1alpha1 "istio.io/api/mesh/v1alpha1"
	corev1 "k8s.io/api/core/v1"

	"github.com/meshctl/meshctl/internal/resource"
)

// env is the proxy's environment, under the names that Istio's agent has.
func (m *mutation) env() []corev1.EnvVar {
	v := m.in.Values.Global
	var env []corev1.EnvVar
	set := func(name, value string) {
		if value != "" {
			env = append(env, corev1.EnvVar{Name: name, Value: value})
		}
	}
	field := func(name, path string) {
		env = append(env, corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: path}}})
	}
	limit := func(name, resource string) {
		env = append(env, corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{ResourceFieldRef: &corev1.ResourceFieldSelector{Resource: resource}}})
	}
	set("CA_ADDR", cmp.Or(v.CAAddress, m.opt.proxyConfig.GetDiscoveryAddress()))
	field("POD_NAME", "metadata.name")
	field("POD_NAMESPACE", "metadata.namespace")
	field("INSTANCE_IP", "status.podIP")
	field("INSTANCE_IPS", "status.podIPs")
	field("SERVICE_ACCOUNT", "spec.serviceAccountName")
	field("HOST_IP", "status.hostIP")
	set("PROXY_CONFIG", proxyConfigJSON(m.opt.proxyConfig))
	if m.opt.dataPlane == Envoy {
		set("MESH_DATAPLANE", string(Envoy))
		set("MESH_ENVOY_DIR", envoyFolder)
	}
	if !m.opt.gateway {
		set("ISTIO_META_POD_PORTS", m.podPorts())
		set("ISTIO_META_APP_CONTAINERS", strings.Join(m.appContainers(), ","))
	}
	// Unset limits count as the node's, which is what there is then.
	limit("GOMEMLIMIT", "limits.memory")
	limit("GOMAXPROCS", "limits.cpu")
	set("ISTIO_META_CLUSTER_ID", cmp.Or(m.in.Cluster, v.MultiCluster.ClusterName))
	field("ISTIO_META_NODE_NAME", "spec.nodeName")
	if !m.opt.gateway {
		set("ISTIO_META_INTERCEPTION_MODE", string(m.opt.capture.Mode))
	}
	set("ISTIO_META_NETWORK", cmp.Or(m.in.Network, v.Network))
	set("ISTIO_META_WORKLOAD_NAME", m.owner.Name)
	set("ISTIO_META_OWNER", m.ownerURL())
	set("ISTIO_META_MESH_ID", cmp.Or(v.MeshID, m.in.Mesh.GetTrustDomain(), v.TrustDomain))
	set("TRUST_DOMAIN", cmp.Or(m.in.Mesh.GetTrustDomain(), v.TrustDomain))
	metadata := m.opt.proxyConfig.GetProxyMetadata()
	for _, name := range slices.Sorted(maps.Keys(metadata)) {
		set(name, metadata[name])
	}
	return env
}

// proxyConfigJSON is what differs from Istio's defaults, and the discovery address.
func proxyConfigJSON(pc *meshv1alpha1.ProxyConfig) string {
	out, defaults := proto.CloneOf(pc), resource.DefaultProxyConfig().ProtoReflect()
	o := out.ProtoReflect()
	o.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if defaults.Has(fd) && v.Equal(defaults.Get(fd)) {
			o.Clear(fd)
		}
		return true
	})
	out.DiscoveryAddress = pc.GetDiscoveryAddress()
	text, err := protojson.Marshal(out)
	if err != nil {
		return "{}" // only invalid UTF-8 fails, which decoding has refused
	}
	var b bytes.Buffer
	if json.Compact(&b, text) != nil { // protojson's blanks differ from run to run
		return string(text)
	}
	return b.String()
}

// podPorts lists what the application's containers say they serve.
func (m *mutation) podPorts() string {
	type podPort struct {
		Name          string          `json:"name,omitempty"`
		ContainerPort int32           `json:"containerPort"`
		Protocol      corev1.Protocol `json:"protocol,omitempty"`
	}
	ports := []podPort{}
	for _, c := range m.pod.Spec.Containers {
		if c.Name == ProxyContainer {
			continue
		}
		for _, p := range c.Ports {
			ports = append(ports, podPort{p.Name, p.ContainerPort, p.Protocol})
		}
	}
	b, err := json.Marshal(ports)
	if err != nil {
		return "[]" // numbers and names always encode
	}
	return string(b)
}

func (m *mutation) appContainers() []string {
	var names []string
	for _, c := range m.pod.Spec.Containers {
		if c.Name != ProxyContainer {
			names = append(names, c.Name)
		}
	}
	return names
}
