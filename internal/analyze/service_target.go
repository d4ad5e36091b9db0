package analyze

import (
	"fmt"
	"strconv"

	corev1 "k8s.io/api/core/v1"

	"github.com/meshctl/meshctl/internal/diag"
)

// serviceTargets reports Services that select no workload (MSH1113), and ports that
// the selected pods do not have (MSH1114).
func serviceTargets(w *world, f *findings) {
	for _, s := range w.services.all {
		if s.kube == nil || len(s.kube.Spec.Selector) == 0 || s.kube.Spec.Type == corev1.ServiceTypeExternalName {
			continue
		}
		ns := s.object.Key.Namespace
		pods := w.selected(ns, s.kube.Spec.Selector)
		if len(pods) == 0 {
			if w.missingUnless(w.describesWorkloads(ns)) == no && !isStandard(s.kube.Spec.Selector) {
				f.add(s.object, codeNoEndpoints, "spec.selector", text{
					"no workload of namespace " + ns + " has the labels " + labelText(s.kube.Spec.Selector), "requests to the Service get 503",
					"correct the labels, or deploy the workload",
				})
			}
			continue
		}
		f.targetPorts(s, pods)
	}
}

// targetPorts reports ports that no container declares. A number need not be
// declared to be reached; a name must.
func (f *findings) targetPorts(s *service, pods []*pod) {
	for i := range s.kube.Spec.Ports {
		sp := &s.kube.Spec.Ports[i]
		lacking, declares := "", false
		for _, p := range pods {
			if p.spec == nil || p.hasPort(sp) {
				lacking = ""
				break
			}
			lacking, declares = p.name(), declares || p.declaresPorts()
		}
		if lacking == "" {
			continue
		}
		path := at("spec.ports", i) + ".targetPort"
		if name := sp.TargetPort.StrVal; name != "" {
			f.add(s.object, codeTargetPort, path, text{
				"no container of " + lacking + " has a port named " + name, "requests to the port get 503", "correct the name, or name the container's port",
			})
		} else if declares {
			f.addAt(s.object, codeTargetPort, diag.Info, path, text{
				fmt.Sprintf("no container of %s declares port %s", lacking, pods[0].target(sp)), "requests to the port get 503, unless the program listens there all the same",
				"correct the port, or declare it in the container",
			})
		}
	}
}

// hasPort reports whether a container declares the port that a Service leads to.
func (p *pod) hasPort(sp *corev1.ServicePort) bool {
	for _, list := range [][]corev1.Container{p.spec.Containers, p.spec.InitContainers} {
		for i := range list {
			for _, c := range list[i].Ports {
				if sp.TargetPort.StrVal != "" && c.Name == sp.TargetPort.StrVal || strconv.Itoa(int(c.ContainerPort)) == p.target(sp) {
					return true
				}
			}
		}
	}
	return false
}

func (p *pod) declaresPorts() bool {
	for i := range p.spec.Containers {
		if p.spec.Containers[i].Name != proxyContainer && len(p.spec.Containers[i].Ports) > 0 {
			return true
		}
	}
	return false
}
