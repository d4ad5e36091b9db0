package agent

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/meshctl/meshctl/internal/proxy/flow"
)

// NodeID is how the control plane names this proxy: type~ip~pod.namespace~domain.
func (s Settings) NodeID() string {
	ip := ""
	if len(s.InstanceIPs) > 0 {
		ip = s.InstanceIPs[0].String()
	}
	return s.Role + "~" + ip + "~" + s.PodName + "." + s.Namespace + "~" + s.Domain
}

// Node describes this proxy to the control plane, with the metadata keys of
// Istio's proxies and MESHCTL_NATIVE for what only ours understand.
func (s Settings) Node() (*corev3.Node, error) {
	ips := make([]string, len(s.InstanceIPs))
	for i, a := range s.InstanceIPs {
		ips[i] = a.String()
	}
	m := map[string]any{
		"NAME": s.PodName, "NAMESPACE": s.Namespace, "INSTANCE_IPS": strings.Join(ips, ","),
		"SERVICE_ACCOUNT": s.ServiceAccount, "WORKLOAD_NAME": s.Workload, "OWNER": s.Owner,
		"CLUSTER_ID": s.Cluster, "MESH_ID": s.MeshID, "NODE_NAME": s.NodeName,
		"INTERCEPTION_MODE": s.Interception, "APP_CONTAINERS": s.AppContainers,
		"ISTIO_VERSION": s.Version, "LABELS": s.Labels, "ANNOTATIONS": s.Annotations,
		"PROXY_CONFIG": map[string]any{},
	}
	if s.DataPlane != planeEnvoy {
		m["MESHCTL_NATIVE"] = "1"
	}
	if len(s.ProxyConfig) > 0 {
		m["PROXY_CONFIG"] = s.ProxyConfig
	}
	for k, v := range s.Extra {
		m[k] = v
	}
	if s.Network != "" {
		m["NETWORK"] = s.Network
	}
	if s.Bound != "" {
		m["MESHCTL_BOUND"] = s.Bound
	}
	if s.DNSCapture {
		m["DNS_CAPTURE"], m["DNS_AUTO_ALLOCATE"] = "true", "true"
	}
	if len(s.PodPorts) > 0 {
		m["POD_PORTS"] = string(s.PodPorts)
	}
	b, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode node metadata: %w", err)
	}
	md := &structpb.Struct{}
	if err := md.UnmarshalJSON(b); err != nil {
		return nil, fmt.Errorf("encode node metadata: %w", err)
	}
	n := &corev3.Node{Id: s.NodeID(), Cluster: s.Peer().CanonicalName + "." + s.Namespace, Metadata: md}
	if s.DataPlane != planeEnvoy { // which says itself what it is
		n.UserAgentName, n.UserAgentVersionType = "meshproxy", &corev3.Node_UserAgentVersion{UserAgentVersion: s.Version}
	}
	return n, nil
}

// loopbackSource is the workload's own address where it shares the machine's
// loopback with others: peers are to see who calls. Invalid elsewhere.
func (s Settings) loopbackSource() netip.Addr {
	if s.Bound == "" {
		return netip.Addr{}
	}
	return s.InstanceIPs[0]
}

// Peer is what this workload tells others of itself.
func (s Settings) Peer() *flow.Peer {
	first := func(vs ...string) string {
		for _, v := range vs {
			if v != "" {
				return v
			}
		}
		return ""
	}
	l := s.Labels
	return &flow.Peer{
		NodeID: s.NodeID(), Workload: first(s.Workload, s.PodName), Namespace: s.Namespace, Cluster: s.Cluster, Owner: s.Owner,
		App: first(l["app"], l["app.kubernetes.io/name"]), Version: first(l["version"], l["app.kubernetes.io/version"]),
		CanonicalName:     first(l["service.istio.io/canonical-name"], l["app.kubernetes.io/name"], l["app"], s.Workload, s.PodName),
		CanonicalRevision: first(l["service.istio.io/canonical-revision"], l["app.kubernetes.io/version"], l["version"], "latest"),
		Identity:          "spiffe://" + s.TrustDomain + "/ns/" + s.Namespace + "/sa/" + s.ServiceAccount,
	}
}
