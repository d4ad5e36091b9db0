package inspect

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/resource"
	"github.com/meshctl/meshctl/internal/whatif"
)

// Pod describes a pod and all that is in force on it.
func (in *Inspector) Pod(p whatif.Pod) *Description {
	a := in.about(p.Object)
	a.Kind, a.Namespace, a.Name = "Pod", p.Namespace, p.Name
	a.meet(mesh.Origin{Kind: "Deployment", Namespace: p.Namespace, Name: p.Workload})
	a.identity(p)
	services := in.servicesOf(p)
	a.podPorts(p, services)
	a.rulesFor(services, p.Labels)
	keep := func(t Target) bool { return in.leadsTo(t, services, p.Labels) }
	a.routesTo(services, keep)
	a.exposed(keep)
	a.tokens(p)
	a.authorization(p)
	return a.done()
}

func (a *about) identity(p whatif.Pod) {
	if p.Workload != p.Name {
		a.fact("workload", p.Workload, nil)
	}
	a.fact("identity", a.w.Identity(p), nil)
	var addresses []string
	for _, x := range p.Addresses {
		addresses = append(addresses, x.String())
	}
	if a.w.Running() { // else they are made up
		a.fact("address", strings.Join(addresses, ", "), nil)
	}
	switch p.Proxy {
	case "none":
		why, d := a.whyNoSidecar(p)
		a.bad("mesh", "no: it has no sidecar"+why, d)
	case "gateway":
		a.fact("mesh", "yes: it is a gateway", nil)
	default:
		a.fact("mesh", "yes: it has a sidecar", nil)
	}
	if pod, ok := p.Object.Spec.(*corev1.Pod); ok && !ready(pod) {
		a.bad("ready", "no: no service sends it requests", nil)
	}
}

// whyNoSidecar is what keeps injection away from a pod.
func (a *about) whyNoSidecar(p whatif.Pod) (string, *whatif.Decision) {
	if v := cmp.Or(p.Labels["sidecar.istio.io/inject"], p.Object.Meta.Annotations["sidecar.istio.io/inject"]); v == "false" {
		return ": sidecar.istio.io/inject is false", whatif.Place(p.Object, "")
	}
	if ns := a.w.Object(resource.KindNamespace, "", p.Namespace); ns != nil && ns.Meta.Labels["istio-injection"] == "disabled" {
		return ": namespace " + p.Namespace + " has istio-injection=disabled", whatif.Place(ns, "")
	}
	return "", nil
}

func ready(p *corev1.Pod) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// servicesOf are the services that select a pod, in the order in which objects compete.
func (in *Inspector) servicesOf(p whatif.Pod) []*mesh.Service {
	var out []*mesh.Service
	for _, s := range in.w.Mesh().Services.List() {
		if s.Namespace == p.Namespace && len(s.Selector) > 0 && mesh.Selects(s.Selector, p.Labels) {
			out = append(out, s)
		}
	}
	slices.SortFunc(out, func(a, b *mesh.Service) int { return byOrigin(a.Origin, b.Origin) })
	return out
}

// targetPort is the pod's port behind a port of a service; false when the port
// has a name that no container has.
func (in *Inspector) targetPort(p whatif.Pod, port mesh.Port) (uint32, bool) {
	if port.TargetName == "" {
		return cmp.Or(port.Target, port.Number), true
	}
	w, ok := in.w.Mesh().Workloads.Get(mesh.WorkloadKey("", "Pod", p.Namespace, p.Name))
	if !ok {
		return 0, false
	}
	n, ok := w.Ports[port.TargetName]
	return n, ok
}

// podPorts lists the ports by which a pod is called, and what each demands.
func (a *about) podPorts(p whatif.Pod, services []*mesh.Service) {
	s := Section{Title: "Ports", Columns: []string{"PORT", "PROTOCOL", "SERVICE", "MTLS"}}
	named := map[uint32]bool{}
	for _, svc := range services {
		a.meet(svc.Origin)
		for i, port := range svc.Ports {
			n, ok := a.targetPort(p, port)
			if !ok {
				s.add(a.w.At(svc.Origin, fmt.Sprintf("spec.ports[%d].targetPort", i)), "no container has a port named "+port.TargetName,
					"-", protocol(port), fmt.Sprintf("%s:%d", svc.Name, port.Number))
				continue
			}
			named[n] = true
			mode, d := a.Authn(p, n)
			note := ""
			if port.Protocol == mesh.ProtocolAuto {
				note = fmt.Sprintf("the port's name %q tells no protocol: it is found out per connection", port.Name)
			}
			s.add(d, note, decimal(n), protocol(port), fmt.Sprintf("%s:%d", svc.Name, port.Number), mode)
		}
	}
	if pod, ok := p.Object.Spec.(*corev1.Pod); ok {
		for _, c := range pod.Spec.Containers {
			for _, cp := range c.Ports {
				n := uint32(cp.ContainerPort)
				if c.Name == "istio-proxy" || named[n] {
					continue
				}
				named[n] = true
				mode, d := a.Authn(p, n)
				s.add(d, "no service has it", decimal(n), "", "", mode)
			}
		}
	}
	a.section(s)
}

// Authn is the mode of mutual TLS that a pod demands on a port: "" without a proxy.
func (in *Inspector) Authn(p whatif.Pod, port uint32) (string, *whatif.Decision) {
	if p.Proxy != "sidecar" {
		return "", nil
	}
	mode, d := in.w.Authn(p, uint16(port))
	return string(mode), d
}

func protocol(p mesh.Port) string {
	if p.Protocol == mesh.ProtocolAuto {
		return "detected"
	}
	return string(p.Protocol)
}

func decimal(n uint32) string { return strconv.FormatUint(uint64(n), 10) }

// behind are the pods of the world that a service selects.
func (in *Inspector) behind(svc *mesh.Service) []whatif.Pod {
	var out []whatif.Pod
	for _, p := range in.w.Pods() {
		if p.Namespace == svc.Namespace && len(svc.Selector) > 0 && mesh.Selects(svc.Selector, p.Labels) {
			out = append(out, p)
		}
	}
	return out
}

// podAt finds the pod of an address.
func (in *Inspector) podAt(address string) (whatif.Pod, bool) {
	ip, err := netip.ParseAddr(address)
	if err != nil {
		return whatif.Pod{}, false
	}
	for _, p := range in.w.Pods() {
		if slices.Contains(p.Addresses, ip.Unmap()) {
			return p, true
		}
	}
	return whatif.Pod{}, false
}
