package explicit

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/meshctl/meshctl/internal/mesh"
)

// Variables implements network.Network: where to listen, the sidecar as HTTP
// proxy, and where services are, in the form that Kubernetes has.
//
// HTTPS_PROXY is not set: TLS of a program's own goes where the program wants.
func (n *Network) Variables(ip netip.Addr, proxied bool, services []*corev1.Service) []string {
	env := []string{"POD_IP=" + ip.String()}
	if proxied {
		proxy := fmt.Sprintf("http://%s", netip.AddrPortFrom(ip, httpProxyPort))
		// Addresses of the mesh are listeners of the sidecar already.
		const direct = "localhost,127.0.0.1,127.0.0.0/8,::1"
		env = append(env, "HTTP_PROXY="+proxy, "http_proxy="+proxy, "NO_PROXY="+direct, "no_proxy="+direct)
	}
	for _, s := range services {
		host := s.Spec.ClusterIP
		if proxied {
			a, ok := n.bound(ip).Service(host)
			if !ok {
				continue // headless, or only a name
			}
			host = a.String()
		} else if _, err := netip.ParseAddr(host); err != nil {
			continue
		}
		env = append(env, serviceVariables(s, host)...)
	}
	return env
}

func serviceVariables(s *corev1.Service, host string) []string {
	name := variableName(s.Name)
	env := []string{name + "_SERVICE_HOST=" + host}
	first := true
	for _, p := range s.Spec.Ports {
		if p.Protocol != "" && p.Protocol != corev1.ProtocolTCP {
			continue
		}
		port := strconv.FormatUint(uint64(mesh.BoundPort(uint32(p.Port))), 10)
		if first {
			env = append(env, name+"_SERVICE_PORT="+port)
			first = false
		}
		if p.Name != "" {
			env = append(env, name+"_SERVICE_PORT_"+variableName(p.Name)+"="+port)
		}
	}
	return env
}

func variableName(s string) string { return strings.ToUpper(strings.ReplaceAll(s, "-", "_")) }
