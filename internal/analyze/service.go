package analyze

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/meshctl/meshctl/internal/mesh"
)

// portNames reports ports of which nothing says what they speak (IST0118); for
// Services that stand for another host that is worse (IST0150).
func portNames(w *world, f *findings) {
	for _, s := range w.services.all {
		if s.kube == nil || w.isSystem(s.object.Key.Namespace) {
			continue
		}
		for i, p := range s.kube.Spec.Ports {
			protocol := s.ports()[i].protocol
			path := at("spec.ports", i)
			if p.Name != "" {
				path += ".name"
			}
			if s.kube.Spec.Type == corev1.ServiceTypeExternalName {
				if protocol == mesh.ProtocolAuto || protocol == mesh.ProtocolTCP && p.AppProtocol == nil {
					f.add(s.object, codeExternalNamePort, path, text{
						fmt.Sprintf("port %d of a Service of type ExternalName is not known to speak HTTP or TLS", p.Port),
						"all traffic of the mesh to this port number may be taken for it, whatever its host",
						"name the port by its protocol, as in http-api or tls-api, or set appProtocol",
					})
				}
				continue
			}
			if protocol == mesh.ProtocolAuto {
				f.add(s.object, codePortName, path, text{
					fmt.Sprintf("port %q (%d) has no name that begins with a protocol, and no appProtocol", p.Name, p.Port),
					"the proxy waits for the first bytes to tell what is spoken; programs in which the server speaks first are delayed",
					"name it by its protocol, as in http-web, or set appProtocol",
				})
			}
		}
	}
}
