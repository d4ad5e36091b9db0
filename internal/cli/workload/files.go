package workload

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"strconv"

	"google.golang.org/protobuf/encoding/protojson"
	networking "istio.io/api/networking/v1alpha3"
	"sigs.k8s.io/yaml"

	"github.com/meshctl/meshctl/internal/machine"
	"github.com/meshctl/meshctl/internal/resource"
)

// excludedPorts are never captured: ssh, by which the machine is reached, and the
// proxy's own.
const excludedPorts = "22,15090,15021,15020"

// files are the texts of all files, by name.
func (o *ConfigureOptions) files(group *resource.Object, spec *networking.WorkloadGroup, account string, j joining) (map[string]string, error) {
	vars, err := o.variables(group, spec, account, j)
	if err != nil {
		return nil, err
	}
	config, err := meshConfig(spec, vars, j)
	if err != nil {
		return nil, err
	}
	hosts := ""
	if host, _, err := net.SplitHostPort(j.discovery); err == nil && j.address != "" {
		hosts = j.address + " " + host + "\n"
	}
	return map[string]string{
		machine.FileEnv: vars.String(), machine.FileMesh: config, machine.FileRoot: j.root, machine.FileToken: j.token, machine.FileHosts: hosts,
	}, nil
}

// variables are those of cluster.env.
func (o *ConfigureOptions) variables(group *resource.Object, spec *networking.WorkloadGroup, account string, j joining) (machine.Env, error) {
	labels := maps.Clone(spec.GetTemplate().GetLabels())
	if labels == nil {
		labels = map[string]string{}
	}
	maps.Copy(labels, spec.GetMetadata().GetLabels())
	service := cmp.Or(labels["service.istio.io/canonical-name"], labels["app.kubernetes.io/name"], labels["app"], group.Key.Name)
	revision := cmp.Or(labels["service.istio.io/canonical-revision"], labels["app.kubernetes.io/version"], labels["version"], "latest")
	labels["service.istio.io/canonical-name"], labels["service.istio.io/canonical-revision"] = service, revision
	text, err := json.Marshal(labels)
	if err != nil {
		return nil, fmt.Errorf("write labels: %w", err)
	}
	network := cmp.Or(spec.GetTemplate().GetNetwork(), j.network)
	vars := machine.Env{
		"CANONICAL_SERVICE": service, "CANONICAL_REVISION": revision,
		"ISTIO_META_CLUSTER_ID": cmp.Or(o.ClusterID, j.cluster), "ISTIO_META_MESH_ID": j.meshID, "ISTIO_META_NETWORK": network,
		"ISTIO_META_WORKLOAD_NAME": group.Key.Name, "ISTIO_NAMESPACE": group.Key.Namespace, "ISTIO_SERVICE": service + "." + group.Key.Namespace,
		"POD_NAMESPACE": group.Key.Namespace, "SERVICE_ACCOUNT": account, "TRUST_DOMAIN": j.domain,
		machine.VarInboundPorts: "*", machine.VarInboundExcluded: excludedPorts, machine.VarOutboundRanges: "*",
		machine.VarDNSCapture: strconv.FormatBool(o.CaptureDNS), machine.VarLabels: string(text),
	}
	if o.CaptureDNS {
		vars["ISTIO_META_DNS_AUTO_ALLOCATE"] = "true"
	}
	if o.AutoRegister {
		vars[machine.VarGroup] = group.Key.Name
	}
	if ip := cmp.Or(o.InternalIP, o.ExternalIP); ip != "" {
		vars[machine.VarAddress] = ip
	}
	return vars, nil
}

// meshConfig is the text of mesh.yaml.
func meshConfig(spec *networking.WorkloadGroup, vars machine.Env, j joining) (string, error) {
	config := maps.Clone(j.config)
	if config == nil {
		config = map[string]any{}
	}
	config["discoveryAddress"] = j.discovery
	metadata := map[string]any{}
	if old, ok := config["proxyMetadata"].(map[string]any); ok {
		maps.Copy(metadata, old)
	}
	for k, v := range vars {
		metadata[k] = v
	}
	config["proxyMetadata"] = metadata
	if p := spec.GetProbe(); p != nil {
		b, err := protojson.Marshal(p)
		if err != nil {
			return "", fmt.Errorf("write the probe: %w", err)
		}
		var probe map[string]any
		if err := json.Unmarshal(b, &probe); err != nil {
			return "", fmt.Errorf("write the probe: %w", err)
		}
		config["readinessProbe"] = probe
	}
	b, err := yaml.Marshal(map[string]any{"defaultConfig": config})
	return string(b), err
}
