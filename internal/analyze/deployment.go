package analyze

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/meshctl/meshctl/internal/resource"
)

// sharedPort is one port of a workload, as several Services see it.
type sharedPort struct {
	names     []string // of the Services
	protocols []string
	ports     []string
}

// deploymentServices reports Deployments of which several Services see one port
// differently: as another protocol (IST0116), or under another number (IST0137).
func deploymentServices(w *world, f *findings) {
	for _, p := range w.pods.all {
		if p.object.Key.Kind != resource.KindDeployment || len(w.services.inFront[p]) < 2 || !w.mayInject(p) {
			continue
		}
		byTarget := map[string]*sharedPort{}
		for _, s := range w.services.inFront[p] {
			if s.kube.Spec.ClusterIP == corev1.ClusterIPNone {
				continue
			}
			for i, sp := range s.kube.Spec.Ports {
				target := p.target(&sp)
				x := byTarget[target]
				if x == nil {
					x = &sharedPort{}
					byTarget[target] = x
				}
				x.names = append(x.names, s.object.Key.Name)
				x.protocols = append(x.protocols, string(s.ports()[i].protocol))
				x.ports = append(x.ports, strconv.Itoa(int(sp.Port)))
			}
		}
		f.sharedPorts(p, byTarget)
	}
}

func (f *findings) sharedPorts(p *pod, byTarget map[string]*sharedPort) {
	for target, x := range byTarget {
		names := distinct(x.names)
		if len(names) < 2 {
			continue
		}
		path := under(p.path, "spec")
		if protocols := distinct(x.protocols); len(protocols) > 1 {
			f.add(p.object, codeServiceProtocols, path, text{
				fmt.Sprintf("Services %s see port %s of %s as different protocols: %s", strings.Join(names, ", "), target, p.name(), strings.Join(protocols, ", ")),
				"the sidecar takes what comes in as one of them only", "give the port the same name or appProtocol in each",
			})
		} else if ports := distinct(x.ports); len(ports) > 1 {
			f.add(p.object, codeServicePorts, path, text{
				fmt.Sprintf("Services %s lead to port %s of %s from different ports: %s", strings.Join(names, ", "), target, p.name(), strings.Join(ports, ", ")),
				"which Service's settings hold for what comes in is not certain", "use the same port in each",
			})
		}
	}
}

// target is the port of the pod that a Service's port leads to.
func (p *pod) target(sp *corev1.ServicePort) string {
	if sp.TargetPort.StrVal != "" {
		for i := range p.spec.Containers {
			for _, c := range p.spec.Containers[i].Ports {
				if c.Name == sp.TargetPort.StrVal {
					return strconv.Itoa(int(c.ContainerPort))
				}
			}
		}
		return sp.TargetPort.StrVal
	}
	if sp.TargetPort.IntVal != 0 {
		return strconv.Itoa(int(sp.TargetPort.IntVal))
	}
	return strconv.Itoa(int(sp.Port))
}

func distinct(values []string) []string {
	out := slices.Sorted(slices.Values(values))
	return slices.Compact(out)
}
