package analyze

import (
	"strings"

	meshv1alpha1 "istio.io/api/mesh/v1alpha1"
	corev1 "k8s.io/api/core/v1"

	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/resource"
)

// meshConfig is the mesh config in force.
type meshConfig struct {
	spec   *meshv1alpha1.MeshConfig // never nil
	object *resource.Object         // the ConfigMap that it is written in, or nil
	given  bool                     // it was written anywhere
	ds     []diag.Diagnostic        // what is wrong with the text
}

// meshNetworks are the networks of the mesh.
type meshNetworks struct {
	spec   *meshv1alpha1.MeshNetworks // nil when there are none
	object *resource.Object
	ds     []diag.Diagnostic
}

// controlNamespace is where an installation puts its ConfigMaps.
const controlNamespace = "istio-system"

// readMeshConfig takes mesh config and networks from the input, else from the
// control plane's ConfigMap: that of the default revision, else of any.
func (w *world) readMeshConfig(in Input) {
	w.meshConfig.spec = resource.DefaultMeshConfig()
	w.networks.spec = in.MeshNetworks
	if in.MeshConfig != nil {
		w.meshConfig.spec, w.meshConfig.given = in.MeshConfig, true
	}
	for o, c := range each[*corev1.ConfigMap](w, resource.KindConfigMap) {
		if o.Key.Name != "istio" && !strings.HasPrefix(o.Key.Name, "istio-") || c.Data["mesh"] == "" && c.Data["meshNetworks"] == "" {
			continue
		}
		if w.meshConfig.object != nil && o.Key.Name != "istio" {
			continue
		}
		if in.MeshConfig == nil && c.Data["mesh"] != "" {
			spec, ds := resource.DecodeMeshConfig("", []byte(c.Data["mesh"]))
			w.meshConfig.object, w.meshConfig.given, w.meshConfig.ds = o, true, ds
			if spec != nil {
				w.meshConfig.spec = spec
			}
		}
		if text := c.Data["meshNetworks"]; in.MeshNetworks == nil && strings.TrimSpace(text) != "" {
			w.networks.spec, w.networks.ds = resource.DecodeMeshNetworks("", []byte(text))
			w.networks.object = o
		}
	}
}
