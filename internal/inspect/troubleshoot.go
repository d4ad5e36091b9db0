package inspect

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/resource"
	"github.com/meshctl/meshctl/internal/whatif"
)

// Question is what does not work.
type Question struct {
	From      string // a workload, pod or gateway
	Namespace string // of names that say none
	To        string // [scheme://]host[:port][/path]; a service may be given as svc/NAME
	Method    string // GET when empty
	Headers   []whatif.Header
}

// State of a check.
type State string

// States.
const (
	Passed State = "ok"
	Failed State = "failed"
	Odd    State = "odd" // does not stand in the way, and is hardly meant
)

// Check is one thing that a request needs.
type Check struct {
	Name    string           `json:"check"`
	State   State            `json:"state"`
	What    string           `json:"what"`
	Decided *whatif.Decision `json:"decidedBy,omitempty"`
	Near    []whatif.Near    `json:"near,omitempty"` // candidates that were passed over, and why
	Next    []string         `json:"next,omitempty"` // what to do, best first
}

// Diagnosis is the way of a request up to what stops it.
type Diagnosis struct {
	From   string  `json:"from"`
	URL    string  `json:"url"`
	Method string  `json:"method"`
	Checks []Check `json:"checks"`
	// Cause is the first thing that stops the request, in one sentence; "" when
	// nothing does. Stopped is its share of the requests in percent.
	Cause   string  `json:"cause,omitempty"`
	Stopped float64 `json:"stopped,omitempty"`
	// Answer is what was asked of the proxies; nil when the way ended before.
	Answer *whatif.Answer `json:"-"`
	// Pods are the caller and those that may answer.
	Caller  whatif.Pod   `json:"-"`
	Callees []whatif.Pod `json:"-"`
}

// Names of checks, in their order.
const (
	checkCaller      = "caller"
	checkDestination = "destination"
	checkEndpoints   = "endpoints"
	checkSidecars    = "sidecars"
	checkVisibility  = "visibility"
	checkRoute       = "route"
	checkTarget      = "target"
	checkMTLS        = "mutual TLS"
	checkPolicy      = "policy"
	checkPort        = "port"
	checkConfig      = "configuration"
)

// doctor asks one question.
type doctor struct {
	*Inspector
	ctx context.Context
	q   Question
	d   *Diagnosis

	scheme, host, path string
	port               uint16
	from               whatif.Pod
	service            *mesh.Service // nil: the host is none of the mesh
	servicePort        mesh.Port
}

// Troubleshoot follows a request step by step and ends at the first thing that
// stops it. An error means that the question cannot be understood.
func (in *Inspector) Troubleshoot(ctx context.Context, q Question) (*Diagnosis, error) {
	x := &doctor{Inspector: in, ctx: ctx, q: q, d: &Diagnosis{From: q.From, URL: q.To, Method: cmp.Or(q.Method, "GET")}}
	if err := x.read(); err != nil {
		return nil, err
	}
	for _, step := range []func() (bool, error){x.caller, x.destination, x.endpoints, x.sidecars, x.visibility, x.way, x.configuration} {
		if on, err := step(); err != nil || !on {
			return x.d, err
		}
	}
	return x.d, nil
}

// read takes the destination apart.
func (x *doctor) read() error {
	to := x.q.To
	for _, prefix := range []string{"svc/", "service/"} {
		to = strings.TrimPrefix(to, prefix)
	}
	if !strings.Contains(to, "://") {
		to = "//" + to
	}
	u, err := url.Parse(to)
	if err != nil || u.Hostname() == "" {
		return fmt.Errorf("%q is not HOST[:PORT][/PATH]", x.q.To)
	}
	x.scheme, x.host, x.path = u.Scheme, strings.ToLower(u.Hostname()), cmp.Or(u.RequestURI(), "/")
	if !strings.HasPrefix(x.path, "/") {
		x.path = "/" + x.path
	}
	if p := u.Port(); p != "" {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil || n == 0 {
			return fmt.Errorf("%q is not a port", p)
		}
		x.port = uint16(n)
	}
	return nil
}

func (x *doctor) ok(check, what string, decided *whatif.Decision) {
	x.d.Checks = append(x.d.Checks, Check{Name: check, State: Passed, What: what, Decided: decided})
}

func (x *doctor) odd(check, what string, decided *whatif.Decision) {
	x.d.Checks = append(x.d.Checks, Check{Name: check, State: Odd, What: what, Decided: decided})
}

// fail ends the way: what is the cause, in a sentence.
func (x *doctor) fail(check, what string, decided *whatif.Decision, next ...string) *Check {
	x.d.Checks = append(x.d.Checks, Check{Name: check, State: Failed, What: what, Decided: decided, Next: next})
	x.d.Cause, x.d.Stopped = what, 100
	return &x.d.Checks[len(x.d.Checks)-1]
}

func (x *doctor) namespace() string { return cmp.Or(x.q.Namespace, "default") }

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

// noPods says why a service selects no pod.
func (x *doctor) noPods(s *mesh.Service, next string) {
	down := x.scaledDown(func(d *appsv1.Deployment) bool {
		return d.Namespace == s.Namespace && mesh.Selects(s.Selector, d.Spec.Template.Labels)
	})
	if down != nil {
		x.fail(checkEndpoints, "service "+x.short(s)+" has no pods: "+down.Key.Name+" is scaled to 0", whatif.Place(down, "spec.replicas"), "set spec.replicas to at least 1")
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

// way walks the request through the proxies.
func (x *doctor) way() (bool, error) {
	r := whatif.Request{From: x.from.String(), Namespace: x.from.Namespace, Method: x.q.Method, URL: x.d.URL, Headers: x.q.Headers}
	if x.from.Proxy == "gateway" {
		r.From, r.Gateway = "", x.from.String()
	}
	a, err := x.w.Ask(x.ctx, r)
	if err != nil {
		return false, err
	}
	x.d.Answer = a
	i := slices.IndexFunc(a.Outcomes, func(o whatif.Outcome) bool { return o.Kind != whatif.Forwarded })
	if i < 0 {
		x.passed(a, "")
		return x.meant(), nil
	}
	o := &a.Outcomes[i]
	stage := stageOf(o)
	x.passed(a, stage)
	switch stage {
	case checkRoute:
		x.routeFails(a, o)
	case checkTarget:
		x.targetFails(a, o)
	case checkMTLS:
		x.mtlsFails(o)
	case checkPolicy:
		c := x.fail(checkPolicy, x.denied(o), o.Decided, fmt.Sprintf("meshctl authz can %s %s %s %s", x.from.Workload, x.host, x.d.Method, x.path))
		c.Near = x.nearOf(a, "authorization")
	default:
		x.fail(checkPort, cmp.Or(o.Reason, "the connection is refused"), o.Decided, "look at each step of the way: meshctl route test")
	}
	x.d.Stopped = 0
	for _, o := range a.Outcomes {
		if o.Kind != whatif.Forwarded {
			x.d.Stopped += o.Share
		}
	}
	x.d.Stopped = min(math.Round(x.d.Stopped*100)/100, 100)
	return false, nil
}

// stageOf is the check that an outcome fails.
func stageOf(o *whatif.Outcome) string {
	switch {
	case o.Kind == whatif.Denied:
		return checkPolicy
	case o.Kind == whatif.NoRoute, o.Kind == whatif.Direct, o.Kind == whatif.Redirected, o.Kind == whatif.Fault:
		return checkRoute
	case o.Flag == "NC", o.Flag == "UH":
		return checkTarget
	case o.Flag == "UF", o.Decided != nil && o.Decided.Kind == "PeerAuthentication":
		return checkMTLS
	default:
		return checkPort
	}
}

// passed tells the steps of the way that went well before a stage.
func (x *doctor) passed(a *whatif.Answer, before string) {
	for _, stage := range []string{checkRoute, checkMTLS, checkPolicy} {
		if stage == before || before == checkTarget && stage == checkMTLS {
			return
		}
		switch stage {
		case checkRoute:
			if before == checkTarget || x.from.Proxy == "none" {
				continue
			}
			x.routed(a)
		case checkMTLS:
			if s := stepOf(a, "server", "authentication"); s != nil {
				x.ok(checkMTLS, s.What, s.Decided)
			}
		case checkPolicy:
			if s := stepOf(a, "server", "authorization"); s != nil {
				x.ok(checkPolicy, s.What, s.Decided)
			}
		}
	}
}

// routed tells where requests go.
func (x *doctor) routed(a *whatif.Answer) {
	var to []string
	for _, o := range a.Outcomes {
		who := o.By
		if o.Subset != "" {
			who += " (subset " + o.Subset + ")"
		}
		if who == "" {
			continue
		}
		if s := share(o.Share); s != "" {
			who = s + " " + who
		}
		to = append(to, who)
	}
	if len(to) == 0 {
		return
	}
	s := stepOf(a, a.Hops[0].Side, "route")
	if s == nil || s.Decided == nil {
		x.ok(checkRoute, "to "+strings.Join(to, ", "), nil)
		return
	}
	x.ok(checkRoute, s.What+": to "+strings.Join(to, ", "), s.Decided)
}

// stepOf finds the last step of a name in the first hop of a side.
func stepOf(a *whatif.Answer, side, step string) *whatif.Step {
	var out *whatif.Step
	for _, h := range a.Hops {
		if h.Side != side {
			continue
		}
		for _, s := range h.Steps {
			if s.Name == step {
				out = s
			}
		}
		if out != nil {
			return out
		}
	}
	return nil
}

func (x *doctor) nearOf(a *whatif.Answer, step string) []whatif.Near {
	var out []whatif.Near
	for _, h := range a.Hops {
		for _, s := range h.Steps {
			if s.Name == step {
				out = append(out, s.Near...)
			}
		}
	}
	return out
}

// client is the hop of the proxy that routes.
func client(a *whatif.Answer) string {
	if len(a.Hops) == 0 {
		return ""
	}
	return a.Hops[0].Side
}

// objectOf names the object of a decision in a sentence.
func objectOf(d *whatif.Decision, namespace string) string {
	if d == nil {
		return "the mesh"
	}
	short := whatif.Decision{Kind: d.Kind, Namespace: d.Namespace, Name: d.Name}
	if short.Namespace == namespace {
		short.Namespace = ""
	}
	return short.String()
}

func (x *doctor) routeFails(a *whatif.Answer, o *whatif.Outcome) {
	route, host := stepOf(a, client(a), "route"), stepOf(a, client(a), "host")
	request := fmt.Sprintf("%s %s", x.d.Method, x.path)
	switch o.Kind {
	case whatif.Fault:
		x.fail(checkRoute, fmt.Sprintf("%s injects a fault: %s with status %d", objectOf(o.Decided, x.from.Namespace), some(o.Share, "every request ends", "of the requests end"), o.Status), o.Decided, "remove the fault")
	case whatif.Redirected:
		x.fail(checkRoute, fmt.Sprintf("%s redirects %s to %s", objectOf(o.Decided, x.from.Namespace), request, o.Location), o.Decided, "call "+o.Location)
	case whatif.Direct:
		if o.Decided == nil {
			x.fail(checkRoute, o.Reason, nil)
			return
		}
		x.fail(checkRoute, fmt.Sprintf("%s answers %s itself, with status %d", objectOf(o.Decided, x.from.Namespace), request, o.Status), o.Decided, "change the rule")
	default:
		what, at := "no route is there for "+x.host, x.deciding(host)
		if at != nil {
			what = "no rule of " + objectOf(at, x.from.Namespace) + " matches " + request + x.others()
		}
		if x.from.Proxy == "gateway" && at == nil {
			what = "no VirtualService of the gateway has a rule for " + x.host + " and " + request
		}
		c := x.fail(checkRoute, what, at, "add a rule that matches, or one without match at the end")
		if x.delegateLost(at) {
			return
		}
		if route != nil {
			c.Near = route.Near
		}
	}
}

// deciding is the VirtualService that has the host, for sidecars.
func (x *doctor) deciding(step *whatif.Step) *whatif.Decision {
	if step != nil && step.Decided != nil {
		return step.Decided
	}
	host := mesh.QualifyHost(x.host, x.from.Namespace, x.w.Domain())
	if x.service != nil {
		host = x.service.Host
	}
	found := mesh.FindVirtualServices(x.w.Mesh().VirtualServices.List(), host, mesh.MeshGateway, x.from.Namespace)
	if len(found) == 0 || x.from.Proxy != "sidecar" {
		return nil
	}
	return x.w.At(found[0].Origin, "")
}

// others names VirtualServices for the same host that do not count.
func (x *doctor) others() string {
	if x.service == nil || x.from.Proxy != "sidecar" {
		return ""
	}
	found := mesh.FindVirtualServices(x.w.Mesh().VirtualServices.List(), x.service.Host, mesh.MeshGateway, x.from.Namespace)
	if len(found) < 2 {
		return ""
	}
	return "; VirtualService " + name(found[1].Origin, x.from.Namespace) + " for the same host does not count"
}

// delegateLost makes a missing delegate the cause where its route is missed.
func (x *doctor) delegateLost(at *whatif.Decision) bool {
	if at == nil {
		return false
	}
	for _, f := range x.w.Mesh().Findings.List() {
		if f.Code == "MSH0202" && f.Object.Name == at.Name && f.Object.Namespace == at.Namespace {
			origin := mesh.Origin{Group: resource.GroupNetworking, Kind: at.Kind, Namespace: at.Namespace, Name: at.Name}
			x.d.Checks = x.d.Checks[:len(x.d.Checks)-1]
			x.fail(checkRoute, fmt.Sprintf("a rule of %s is left out: %s", objectOf(at, x.from.Namespace), f.Message), x.w.At(origin, f.Field), f.Fix)
			return true
		}
	}
	return false
}

func some(percent float64, all, part string) string {
	if percent >= 100 {
		return all
	}
	return fmt.Sprintf("%.4g%% %s", percent, part)
}

// targetFails explains a rule that leads to nothing.
func (x *doctor) targetFails(a *whatif.Answer, o *whatif.Outcome) {
	part := ""
	if o.Share < 100 {
		part = fmt.Sprintf(" (%.4g%% of the requests)", o.Share)
	}
	rule, at := x.ruleOf(a)
	who := objectOf(at, x.from.Namespace)
	if rule != nil {
		for _, t := range rule.Targets {
			if x.wrongTarget(t, who, part, o, at) {
				return
			}
		}
	}
	host := cmp.Or(o.Host, x.host)
	next := "meshctl describe svc " + x.local(host, "")
	if s := x.serviceAt(host); s != nil {
		next = "meshctl describe svc " + s.Name + " -n " + s.Namespace
	}
	x.fail(checkTarget, "no endpoint of "+x.local(host, x.from.Namespace)+" is ready"+part, cmpDecision(o.Decided, at), next)
}

// ruleOf is the rule of a VirtualService that decided, if one did.
func (x *doctor) ruleOf(a *whatif.Answer) (*Route, *whatif.Decision) {
	forward := stepOf(a, client(a), "forward")
	if forward == nil || forward.Decided == nil {
		return nil, nil
	}
	at := forward.Decided
	field := strings.TrimSuffix(at.Field, ".route")
	for _, vs := range x.virtualServices() {
		for _, r := range x.Routes(vs) {
			if r.Origin.Name == at.Name && r.Origin.Namespace == at.Namespace && r.Field == field {
				return &r, at
			}
		}
	}
	return nil, at
}

// wrongTarget says what is wrong with one target of the rule that decided; false
// when it is not the one that fails.
func (x *doctor) wrongTarget(t Target, who, part string, o *whatif.Outcome, at *whatif.Decision) bool {
	to := x.local(t.Host, x.from.Namespace)
	s := x.serviceAt(t.Host)
	if s == nil {
		x.fail(checkTarget, fmt.Sprintf("%s leads to host %s, which does not exist%s", who, to, part), at, "create the Service or ServiceEntry, or correct the host")
		return true
	}
	if _, ok := s.Port(t.Port); t.Port != 0 && !ok {
		x.fail(checkTarget, fmt.Sprintf("%s leads to port %d of %s, which has no such port%s", who, t.Port, to, part), at, "correct port.number: meshctl describe svc "+s.Name+" -n "+s.Namespace)
		return true
	}
	if t.Subset == "" {
		return false
	}
	found := mesh.FindDestinationRules(x.w.Mesh().DestinationRules.List(), s.Host, mesh.Client{Namespace: x.from.Namespace, Labels: x.from.Labels}, s.Namespace, x.w.Config().GetRootNamespace())
	if _, defined := mesh.MergeDestinationRules(found).Subset(t.Subset); !defined {
		what := fmt.Sprintf("%s leads to subset %s of %s, which no DestinationRule defines%s", who, t.Subset, to, part)
		next := "add the subset to the DestinationRule of the host"
		for _, r := range x.rules(s) {
			if slices.ContainsFunc(r.Spec.GetSubsets(), func(sub *networking.Subset) bool { return sub.Name == t.Subset }) {
				what = fmt.Sprintf("%s leads to subset %s of %s; DestinationRule %s defines it, but for %s another rule takes its place%s",
					who, t.Subset, to, name(r.Origin, x.from.Namespace), x.from.Workload, part)
				next = "put the subset into the rule that counts: meshctl describe svc " + s.Name + " -n " + s.Namespace
			}
		}
		x.fail(checkTarget, what, at, next)
		return true
	}
	if count, _ := x.count(t, x.from.Namespace); count != "0" || o.Subset != t.Subset {
		return false
	}
	sub, _ := mesh.MergeDestinationRules(found).Subset(t.Subset)
	x.fail(checkTarget, fmt.Sprintf("%s leads to subset %s of %s, which no ready pod is in%s: none has the labels %s", who, t.Subset, to, part, labels(sub.Labels)), cmpDecision(o.Decided, at),
		"correct the labels of the subset, or deploy pods that have them")
	return true
}

func cmpDecision(a, b *whatif.Decision) *whatif.Decision {
	if a != nil {
		return a
	}
	return b
}

// tls is the mode with which the caller calls, and the rule that says so.
func (x *doctor) tls(subset string) (networking.ClientTLSSettings_TLSmode, *whatif.Decision) {
	s := x.service
	if s == nil {
		return 0, nil
	}
	found := mesh.FindDestinationRules(x.w.Mesh().DestinationRules.List(), s.Host, mesh.Client{Namespace: x.from.Namespace, Labels: x.from.Labels}, s.Namespace, x.w.Config().GetRootNamespace())
	policy := mesh.MergeDestinationRules(found)
	t := policy.Policy(uint32(x.port), subset)
	if t.GetTls() == nil {
		return 0, nil
	}
	return t.GetTls().GetMode(), x.w.At(partOf(found, t.GetTls()))
}

// mtlsFails explains ends that do not agree.
func (x *doctor) mtlsFails(o *whatif.Outcome) {
	mode, rule := x.tls(o.Subset)
	callee, mtls := "", (*whatif.Decision)(nil)
	if len(x.d.Callees) > 0 {
		p := x.d.Callees[0]
		callee = p.Workload
		if n, ok := x.targetPort(p, x.servicePort); ok {
			_, mtls = x.w.Authn(p, uint16(n))
		}
	}
	const same = "let both ends agree: remove tls from the DestinationRule, so that mutual TLS is used wherever the other end can"
	switch {
	case strings.Contains(o.Reason, "STRICT") && x.from.Proxy == "none":
		x.fail(checkMTLS, fmt.Sprintf("%s takes mutual TLS only (STRICT), and %s has no sidecar", callee, x.from.Workload), o.Decided, "give "+x.from.Workload+" a sidecar", "or set the mode PERMISSIVE")
	case strings.Contains(o.Reason, "STRICT") && rule != nil:
		x.fail(checkMTLS, fmt.Sprintf("%s takes mutual TLS only (%s), and %s calls it with tls mode %s", callee, objectOf(o.Decided, x.from.Namespace), objectOf(rule, x.from.Namespace), mode), rule, same)
	case rule != nil && mtls != nil:
		x.fail(checkMTLS, fmt.Sprintf("%s calls %s with tls mode %s, and %s has it speak plain text", objectOf(rule, x.from.Namespace), callee, mode, objectOf(mtls, x.from.Namespace)), rule, same)
	case rule != nil:
		x.fail(checkMTLS, fmt.Sprintf("%s calls %s with tls mode %s: %s", objectOf(rule, x.from.Namespace), cmp.Or(callee, x.host), mode, o.Reason), rule, same)
	default:
		x.fail(checkMTLS, o.Reason, o.Decided)
	}
}

// denied is a refusal in a sentence.
func (x *doctor) denied(o *whatif.Outcome) string {
	what := fmt.Sprintf("%s refuses %s %s", objectOf(o.Decided, x.from.Namespace), x.d.Method, x.path)
	if x.scheme == "tcp" {
		what = objectOf(o.Decided, x.from.Namespace) + " refuses the connection"
	}
	if !strings.HasPrefix(o.Reason, "a DENY") {
		what = fmt.Sprintf("no ALLOW policy of %s lets %s send %s %s", short(o.By), x.from.Workload, x.d.Method, x.path)
		if x.scheme == "tcp" {
			what = fmt.Sprintf("no ALLOW policy of %s lets %s connect", short(o.By), x.from.Workload)
		}
	}
	if !o.MTLS && x.from.Proxy != "gateway" {
		switch mode, rule := x.tls(o.Subset); {
		case x.from.Proxy == "none":
			what += "; it has no sidecar, and so no identity"
		case rule != nil:
			what += fmt.Sprintf("; %s calls with tls mode %s, and so without identity", objectOf(rule, x.from.Namespace), mode)
		}
	}
	return what
}

func short(workload string) string {
	w, _, _ := strings.Cut(workload, ".")
	return w
}

// meant notes what goes through, and is hardly meant: rules for HTTP at a port of bytes.
func (x *doctor) meant() bool {
	if x.service == nil || !x.servicePort.Protocol.IsTCP() {
		return true
	}
	found := mesh.FindVirtualServices(x.w.Mesh().VirtualServices.List(), x.service.Host, mesh.MeshGateway, x.from.Namespace)
	if len(found) > 0 && len(found[0].Spec.GetHttp()) > 0 {
		x.fail(checkPort, fmt.Sprintf("port %d of %s is named %q, so that the http rules of VirtualService %s do not hold for it: connections go through as bytes",
			x.port, x.short(x.service), x.servicePort.Name, name(found[0].Origin, x.from.Namespace)), x.portField("name"), "name the port http, or set appProtocol: http")
		return false
	}
	return true
}

// configuration: do the proxies take what they are sent?
func (x *doctor) configuration() (bool, error) {
	for _, p := range append([]whatif.Pod{x.from}, x.d.Callees...) {
		refused, err := x.w.Refused(x.ctx, p)
		if err != nil {
			return false, err
		}
		if len(refused) > 0 {
			x.fail(checkConfig, fmt.Sprintf("the proxy of %s refuses a part of its configuration: %v", p.Workload, refused[0]), nil, "meshctl proxy-status "+p.String())
			return false, nil
		}
	}
	x.ok(checkConfig, "the proxies take what they are sent", nil)
	return true, nil
}

// To names a pod that may answer, for a next step.
func (d *Diagnosis) To() string {
	if len(d.Callees) == 0 {
		return d.URL
	}
	return d.Callees[0].String()
}
