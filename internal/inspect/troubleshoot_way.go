package inspect

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/resource"
	"github.com/meshctl/meshctl/internal/whatif"
)

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
	c := x.callTo(s)
	sub, defined := c.policy.Subset(t.Subset)
	if !defined {
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
	if count, _ := c.endpoints(t.Subset); count != "0" || o.Subset != t.Subset {
		return false
	}
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
	if x.service == nil {
		return 0, nil
	}
	return x.callTo(x.service).tls(uint32(x.port), subset)
}

func (x *doctor) callTo(s *mesh.Service) call {
	return x.call(s, mesh.Client{Namespace: x.from.Namespace, Labels: x.from.Labels})
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
