package inspect

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/resource"
	"github.com/meshctl/meshctl/internal/whatif"
)

// caller: is there such a workload, and does it run?
func (x *doctor) caller() (bool, error) {
	p, err := x.w.Pod(x.q.From, x.namespace())
	var unknown *whatif.UnknownWorkloadError
	switch {
	case errors.As(err, &unknown):
		name, ns := split(x.q.From, x.namespace())
		what := fmt.Sprintf("there is no workload %s in namespace %s", name, ns)
		if o := x.scaledDown(func(d *appsv1.Deployment) bool { return d.Name == name && d.Namespace == ns }); o != nil {
			x.fail(checkCaller, name+" has no pods: it is scaled to 0", whatif.Place(o, "spec.replicas"), "set spec.replicas to at least 1")
			return false, nil
		}
		for _, p := range x.w.Pods() {
			if p.Workload == name {
				what += fmt.Sprintf("; there is one in namespace %s", p.Namespace)
				break
			}
		}
		c := x.fail(checkCaller, what, nil)
		if len(unknown.Have) > 0 {
			c.Next = append(c.Next, "name one of "+strings.Join(unknown.Have, ", "))
		}
		return false, nil
	case err != nil:
		return false, err
	}
	x.from, x.d.Caller, x.d.From = p, p, p.Workload+"."+p.Namespace
	if pod, ok := p.Object.Spec.(*corev1.Pod); ok && x.w.Running() && !ready(pod) {
		x.odd(checkCaller, p.Name+" is there, but not ready"+reasonOf(pod), nil)
		return true, nil
	}
	x.ok(checkCaller, p.Workload+" is there, as "+x.w.Identity(p), nil)
	return true, nil
}

// split takes name.namespace or kind/name apart.
func split(name, namespace string) (string, string) {
	if _, rest, ok := strings.Cut(name, "/"); ok {
		name = rest
	}
	if i := strings.LastIndexByte(name, '.'); i > 0 {
		return name[:i], name[i+1:]
	}
	return name, namespace
}

// reasonOf is what a pod that is not ready says of itself.
func reasonOf(p *corev1.Pod) string {
	for _, c := range p.Status.ContainerStatuses {
		if s := c.State.Waiting; s != nil && s.Reason != "" {
			return ": " + c.Name + " is waiting (" + s.Reason + ")"
		}
		if s := c.State.Terminated; s != nil {
			return fmt.Sprintf(": %s ended with code %d", c.Name, s.ExitCode)
		}
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady && c.Message != "" {
			return ": " + c.Message
		}
	}
	return ""
}

func (x *doctor) scaledDown(is func(*appsv1.Deployment) bool) *resource.Object {
	for _, o := range x.w.Objects(resource.KindDeployment) {
		if d, ok := o.Spec.(*appsv1.Deployment); ok && d.Spec.Replicas != nil && *d.Spec.Replicas == 0 && is(d) {
			return o
		}
	}
	return nil
}

// destination: is the host one of the mesh, and has it the port?
func (x *doctor) destination() (bool, error) {
	x.service = x.find()
	if x.service == nil {
		return x.unknownHost(), nil
	}
	s := x.service
	if x.port == 0 {
		if len(s.Ports) == 0 {
			x.fail(checkDestination, "service "+x.short(s)+" has no ports", x.w.At(s.Origin, "spec.ports"), "declare the port")
			return false, nil
		}
		x.port = uint16(s.Ports[0].Number)
	}
	p, ok := s.Port(uint32(x.port))
	switch {
	case !ok:
		var have []string
		for _, p := range s.Ports {
			have = append(have, decimal(p.Number))
		}
		x.fail(checkDestination, fmt.Sprintf("service %s has no port %d; it has %s", x.short(s), x.port, strings.Join(have, ", ")), x.w.At(s.Origin, "spec.ports"),
			"call a port that it has, or add the port to the service")
		return false, nil
	case p.Protocol == mesh.ProtocolUDP:
		x.fail(checkDestination, fmt.Sprintf("port %d of %s is UDP, which is no matter of the mesh", x.port, x.short(s)), x.w.At(s.Origin, "spec.ports"))
		return false, nil
	}
	x.servicePort = p
	if x.scheme == "" {
		switch {
		case p.Protocol.IsTLS():
			x.scheme = "https"
		case p.Protocol.IsTCP():
			x.scheme = "tcp"
		case p.Protocol == mesh.ProtocolGRPC:
			x.scheme = "grpc"
		default:
			x.scheme = "http"
		}
	}
	x.setURL()
	x.ok(checkDestination, fmt.Sprintf("%s %s has port %d (%s)", s.Origin.Kind, x.short(s), x.port, protocol(p)), x.w.At(s.Origin, ""))
	return true, nil
}

func (x *doctor) setURL() {
	x.d.URL = x.scheme + "://" + x.host + ":" + strconv.Itoa(int(x.port))
	if x.scheme != "tcp" {
		x.d.URL += x.path
	}
}

func (x *doctor) short(s *mesh.Service) string { return x.local(s.Host, x.from.Namespace) }

// find is the service that a host means to programs of the caller, whether they
// may see it or not: a service of their namespace before others.
func (x *doctor) find() *mesh.Service {
	var hosts []string
	for _, suffix := range []string{"", "." + x.from.Namespace + ".svc." + x.w.Domain(), ".svc." + x.w.Domain(), "." + x.w.Domain()} {
		hosts = append(hosts, x.host+suffix)
	}
	for _, h := range hosts {
		if s := x.serviceAt(h); s != nil {
			return s
		}
	}
	return nil
}

func (x *doctor) serviceAt(host string) *mesh.Service {
	return x.Inspector.service(host, x.from.Namespace)
}

// unknownHost is what happens to a host that no service has.
func (x *doctor) unknownHost() bool {
	if _, err := netip.ParseAddr(x.host); err == nil {
		if x.port == 0 {
			x.port = 80
		}
		x.scheme = cmp.Or(x.scheme, "http")
		x.setURL()
		x.ok(checkDestination, x.host+" is an address: no service is asked", nil)
		return true
	}
	full := mesh.QualifyHost(x.host, x.from.Namespace, x.w.Domain())
	if len(mesh.FindVirtualServices(x.w.Mesh().VirtualServices.List(), full, mesh.MeshGateway, x.from.Namespace)) > 0 || x.from.Proxy == "gateway" {
		x.port, x.scheme = cmp.Or(x.port, 80), cmp.Or(x.scheme, "http")
		x.setURL()
		x.ok(checkDestination, x.host+" is a host of a VirtualService", nil)
		return true
	}
	name, rest, dotted := strings.Cut(x.host, ".")
	for _, s := range x.w.Mesh().Services.List() {
		if s.Registry == mesh.RegistryKubernetes && s.Name == name && (!dotted || strings.HasSuffix(rest, x.w.Domain()) || !strings.Contains(rest, ".")) {
			x.fail(checkDestination, fmt.Sprintf("there is no service %s; there is one in namespace %s", x.host, s.Namespace), x.w.At(s.Origin, ""),
				fmt.Sprintf("call %s.%s", s.Name, s.Namespace))
			return false
		}
	}
	if !dotted || strings.HasSuffix(x.host, ".svc") || strings.HasSuffix(x.host, ".svc."+x.w.Domain()) {
		x.fail(checkDestination, "there is no service "+x.host+" in namespace "+x.from.Namespace, nil, "create the Service, or correct the name: meshctl get services -A")
		return false
	}
	sidecar := mesh.SelectSidecar(x.w.Mesh().Sidecars.List(), x.w.Config().GetRootNamespace(), x.from.Namespace, x.from.Labels)
	scope := mesh.NewSidecarScope(sidecar, x.from.Namespace)
	if x.from.Proxy == "sidecar" && x.w.Config().RegistryOnly(scope) {
		at := (*whatif.Decision)(nil)
		if scope.Outbound != nil {
			at = x.w.At(scope.Origin, "spec.outboundTrafficPolicy")
		} else if !x.w.Config().Origin.IsZero() {
			at = x.w.At(x.w.Config().Origin, "")
		}
		x.fail(checkDestination, x.host+" is no host of the mesh, and only such may be called (outboundTrafficPolicy REGISTRY_ONLY)", at,
			"add a ServiceEntry for "+x.host+", or allow ALLOW_ANY")
		return false
	}
	x.port, x.scheme = cmp.Or(x.port, 80), cmp.Or(x.scheme, "http")
	x.setURL()
	x.odd(checkDestination, x.host+" is no host of the mesh: connections go to the address that DNS outside tells, without routes, mutual TLS or policies", nil)
	return false
}

// endpoints: does anything answer for the service?
func (x *doctor) endpoints() (bool, error) {
	s := x.service
	if s == nil || s.Resolution != mesh.ResolveStatic {
		return true, nil
	}
	set, _ := x.w.Mesh().Endpoints.Get(s.CollectionKey())
	found := set.Port(uint32(x.port))
	behind := x.behind(s)
	x.d.Callees = behind
	if len(found) > 0 {
		x.undeclared(behind)
		return true, nil
	}
	next := "meshctl describe svc " + s.Name + " -n " + s.Namespace
	switch {
	case s.Registry == mesh.RegistryExternal && len(s.Selector) == 0:
		x.fail(checkEndpoints, "ServiceEntry "+s.Name+" has resolution STATIC and no endpoints", x.w.At(s.Origin, "spec.resolution"), "add spec.endpoints, or use resolution DNS")
	case len(s.Selector) == 0:
		x.fail(checkEndpoints, "service "+x.short(s)+" has no selector and no endpoints", x.w.At(s.Origin, "spec"), "add a selector, or EndpointSlices", next)
	case len(behind) == 0:
		x.noPods(s, next)
	case x.servicePort.TargetName != "" && !slices.ContainsFunc(behind, func(p whatif.Pod) bool { _, ok := x.targetPort(p, x.servicePort); return ok }):
		x.fail(checkEndpoints, fmt.Sprintf("no container of %s has a port named %s, to which port %d of %s leads", behind[0].Workload, x.servicePort.TargetName, x.port, x.short(s)),
			x.portField("targetPort"), "name the container's port, or correct targetPort")
	case x.isScaledDown(s, behind): // its last pods are about to end
	default:
		why := ""
		if pod, ok := behind[0].Object.Spec.(*corev1.Pod); ok {
			why = reasonOf(pod)
		}
		x.fail(checkEndpoints, "no pod of "+x.short(s)+" is ready"+why, nil, "meshctl logs "+behind[0].String(), next)
	}
	return false, nil
}

func (x *doctor) portField(field string) *whatif.Decision {
	i := slices.IndexFunc(x.service.Ports, func(p mesh.Port) bool { return p.Number == x.servicePort.Number })
	return x.w.At(x.service.Origin, fmt.Sprintf("spec.ports[%d].%s", i, field))
}

// isScaledDown says that a service has no pods, or only those left over, because nobody
// wants any.
func (x *doctor) isScaledDown(s *mesh.Service, left []whatif.Pod) bool {
	down := x.scaledDown(func(d *appsv1.Deployment) bool {
		return d.Namespace == s.Namespace && mesh.Selects(s.Selector, d.Spec.Template.Labels)
	})
	if down == nil || slices.ContainsFunc(left, func(p whatif.Pod) bool { return p.Workload != down.Key.Name }) {
		return false
	}
	x.fail(checkEndpoints, "service "+x.short(s)+" has no pods: "+down.Key.Name+" is scaled to 0", whatif.Place(down, "spec.replicas"), "set spec.replicas to at least 1")
	return true
}

// noPods says why a service selects no pod.
func (x *doctor) noPods(s *mesh.Service, next string) {
	if x.isScaledDown(s, nil) {
		return
	}
	what := "service " + x.short(s) + " selects no pod: none in namespace " + s.Namespace + " has the labels " + labels(s.Selector)
	for _, p := range x.w.Pods() {
		if p.Namespace != s.Namespace {
			continue
		}
		for k, v := range s.Selector { // one label off
			if have := p.Labels[k]; have != v && have != "" && (len(s.Selector) > 1 && nearly(s.Selector, p.Labels) || strings.HasPrefix(have, v) || strings.HasPrefix(v, have)) {
				what += fmt.Sprintf("; %s has %s=%s", p.Workload, k, have)
				x.fail(checkEndpoints, what, x.w.At(s.Origin, "spec.selector"), "correct the selector, or the labels", next)
				return
			}
		}
	}
	x.fail(checkEndpoints, what, x.w.At(s.Origin, "spec.selector"), "correct the selector, or deploy the workload", next)
}

// nearly reports whether all labels but one are met.
func nearly(selector, have map[string]string) bool {
	off := 0
	for k, v := range selector {
		if have[k] != v {
			off++
		}
	}
	return off == 1
}

// undeclared notes a target port that no container declares.
func (x *doctor) undeclared(behind []whatif.Pod) {
	var names []string
	for _, p := range behind {
		if !slices.Contains(names, p.Workload) {
			names = append(names, p.Workload)
		}
	}
	who := strings.Join(names, ", ")
	if len(names) == 0 {
		who = "addresses of its own"
	}
	for _, p := range behind {
		pod, ok := p.Object.Spec.(*corev1.Pod)
		n, named := x.targetPort(p, x.servicePort)
		if !ok || !named {
			continue
		}
		declares, has := false, false
		for _, c := range pod.Spec.Containers {
			for _, cp := range c.Ports {
				if c.Name != "istio-proxy" {
					declares, has = true, has || uint32(cp.ContainerPort) == n
				}
			}
		}
		if declares && !has {
			x.odd(checkEndpoints, fmt.Sprintf("%s answers for it, but declares no port %d: connections are refused unless its program listens there", p.Workload, n), x.portField("targetPort"))
			return
		}
	}
	verb := " answer for it"
	if len(names) == 1 {
		verb = " answers for it"
	}
	x.ok(checkEndpoints, who+verb, nil)
}

// sidecars: who is in the mesh?
func (x *doctor) sidecars() (bool, error) {
	var without, with []string
	for _, p := range x.d.Callees {
		list := &with
		if p.Proxy == "none" {
			list = &without
		}
		if !slices.Contains(*list, p.Workload) {
			*list = append(*list, p.Workload)
		}
	}
	a := &about{Inspector: x.Inspector}
	switch {
	case x.from.Proxy == "none":
		why, d := a.whyNoSidecar(x.from)
		x.odd(checkSidecars, x.from.Workload+" has no sidecar"+why+": no routes, no mutual TLS, no identity", d)
	case len(without) > 0:
		var first whatif.Pod
		for _, p := range x.d.Callees {
			if p.Workload == without[0] {
				first = p
			}
		}
		why, d := a.whyNoSidecar(first)
		x.odd(checkSidecars, strings.Join(without, ", ")+" has no sidecar"+why+": no mutual TLS, and no policy is enforced there", d)
	case x.from.Proxy == "gateway":
		x.ok(checkSidecars, x.from.Workload+" is a gateway", nil)
	default:
		x.ok(checkSidecars, "both sides have one", nil)
	}
	return true, nil
}

// visibility: may the caller see the host, and does its name resolve?
func (x *doctor) visibility() (bool, error) {
	s := x.service
	if s == nil || x.from.Proxy != "sidecar" {
		return true, nil
	}
	full, addresses, ok, err := x.w.Resolve(x.ctx, x.from, x.host)
	if err != nil {
		return false, err
	}
	if ok && (full == s.Host || mesh.HostMatches(s.Host, full)) {
		what := "the name " + x.host + " is " + strings.Join(addresses, ", ")
		if !x.w.Running() {
			what = "the name " + x.host + " is known to " + x.from.Workload
		}
		x.ok(checkVisibility, what, nil)
		return true, nil
	}
	if !s.ExportTo.To(x.from.Namespace) {
		to := "nobody"
		if len(s.ExportTo.Namespaces) > 0 {
			to = "namespace " + strings.Join(s.ExportTo.Namespaces, ", ") + " only"
		}
		x.fail(checkVisibility, fmt.Sprintf("%s is exported to %s, and %s is in %s", x.short(s), to, x.from.Workload, x.from.Namespace), x.w.At(s.Origin, exportField(s)),
			"add "+x.from.Namespace+" to exportTo")
		return false, nil
	}
	sidecar := mesh.SelectSidecar(x.w.Mesh().Sidecars.List(), x.w.Config().GetRootNamespace(), x.from.Namespace, x.from.Labels)
	scope := mesh.NewSidecarScope(sidecar, x.from.Namespace)
	if sidecar != nil && !scope.Imports(s.Namespace, s.Host) {
		x.fail(checkVisibility, fmt.Sprintf("Sidecar %s does not let %s see %s", name(sidecar.Origin, x.from.Namespace), x.from.Workload, x.short(s)), x.w.At(sidecar.Origin, "spec.egress"),
			fmt.Sprintf("add %s/%s to the hosts of spec.egress", s.Namespace, s.Host))
		return false, nil
	}
	x.fail(checkVisibility, "the name "+x.host+" does not resolve in "+x.from.Workload+": "+x.short(s)+" has no address", x.w.At(s.Origin, "spec"),
		"give it addresses, or a resolution other than NONE")
	return false, nil
}
