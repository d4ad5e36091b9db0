package whatif

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// Call is a call between workloads.
type Call struct {
	// From is a workload, To a service or workload; name, name.namespace or deploy/name.
	From, To  string
	Namespace string // of names without one; "default" when empty
	Port      uint16 // 0: the first port of To
	Method    string // GET when empty
	Path      string // "/" when empty
	Headers   []Header
	Token     *Token // sent along; may be nil
}

// Verdict is whether a call may be made.
type Verdict string

// Verdicts. A call that the policies let pass may fail for other reasons: Unreached.
const (
	Allowed   Verdict = "allowed"
	Forbidden Verdict = "denied"
	Partly    Verdict = "partly"    // some of the endpoints or versions deny it
	Unreached Verdict = "unreached" // it never comes to a policy
)

// Permission is the answer to whether a call may be made.
type Permission struct {
	From    string    `json:"from"`
	To      string    `json:"to"`
	Method  string    `json:"method"`
	Path    string    `json:"path"`
	Verdict Verdict   `json:"verdict"`
	Reason  string    `json:"reason,omitempty"`
	Decided *Decision `json:"decidedBy,omitempty"`
	Near    []Near    `json:"near,omitempty"` // policies that did not match, and why
	MTLS    bool      `json:"mtls"`
	Answer  *Answer   `json:"-"`
}

// Can asks whether a call may be made.
func (w *World) Can(ctx context.Context, c Call) (*Permission, error) {
	url, to, only, err := w.address(c)
	if err != nil {
		return nil, err
	}
	a, err := w.Ask(ctx, Request{From: c.From, Namespace: c.Namespace, Method: c.Method, URL: url + cmp.Or(c.Path, "/"), Headers: c.Headers, Token: c.Token})
	if err != nil {
		return nil, err
	}
	p := &Permission{From: a.From, To: to, Method: a.Method, Path: cmp.Or(c.Path, "/"), Answer: a}
	p.judge(a, only)
	return p, nil
}

// judge looks at the outcomes; of those that end at workloads, at that of one alone
// unless only is "".
func (p *Permission) judge(a *Answer, only string) {
	elsewhere := func(o Outcome) bool { return only != "" && o.By != "" && o.By != only }
	outcomes := slices.DeleteFunc(slices.Clone(a.Outcomes), elsewhere)
	if len(outcomes) == 0 && len(a.Outcomes) > 0 {
		p.Verdict, p.Reason = Unreached, "no request to the service is routed to "+only
		return
	}
	count := map[Kind]int{}
	for i := range outcomes {
		o := &outcomes[i]
		count[o.Kind]++
		p.MTLS = p.MTLS || o.MTLS
		if o.Kind == Denied && p.Decided == nil {
			p.Decided, p.Reason = o.Decided, o.Reason
		}
	}
	for _, h := range a.Hops {
		for _, s := range h.Steps {
			if s.Name != "authorization" && s.Name != "token" {
				continue
			}
			if count[Denied] == 0 && s.Decided != nil && s.Name == "authorization" {
				p.Decided, p.Reason = s.Decided, s.What
			}
			for _, n := range s.Near {
				same := func(x Near) bool { return x.What == n.What && x.Reason == n.Reason }
				if !slices.ContainsFunc(p.Near, same) {
					p.Near = append(p.Near, n)
				}
			}
		}
	}
	passed := count[Forwarded]
	switch {
	case count[Denied] > 0 && passed > 0:
		p.Verdict = Partly
	case count[Denied] > 0:
		p.Verdict = Forbidden
	case passed > 0:
		p.Verdict = Allowed
		p.Reason = cmp.Or(p.Reason, "no policy selects the workload: all may call it")
	default:
		p.Verdict = Unreached
		if len(outcomes) > 0 {
			o := outcomes[0]
			p.Decided, p.Reason = o.Decided, cmp.Or(o.Reason, string(o.Kind))
		}
	}
}

// address is the URL of what a call goes to, without path, and its name. A workload is
// called as programs call it, by a service in front of it: only is the workload then.
func (w *World) address(c Call) (url, name, only string, err error) {
	namespace := cmp.Or(c.Namespace, "default")
	s, err := w.serviceNamed(c.To, namespace)
	if err == nil {
		port := c.Port
		if port == 0 {
			if len(s.Spec.Ports) == 0 {
				return "", "", "", fmt.Errorf("service %s has no ports", c.To)
			}
			port = uint16(s.Spec.Ports[0].Port)
		}
		return w.serviceURL(s, port), s.Name + "." + s.Namespace, "", nil
	}
	to, err := w.find(c.To, namespace)
	if err != nil {
		return "", "", "", err
	}
	name = to.owner + "." + to.namespace
	if s, port := w.inFront(to, c.Port); s != nil {
		return w.serviceURL(s, port), name, name, nil
	}
	port := c.Port
	if pod, ok := to.source.Spec.(*corev1.Pod); ok && port == 0 {
		for _, k := range pod.Spec.Containers {
			if port == 0 && len(k.Ports) > 0 && k.Name != "istio-proxy" {
				port = uint16(k.Ports[0].ContainerPort)
			}
		}
	}
	if port == 0 {
		return "", "", "", fmt.Errorf("%s names no port: say which", c.To)
	}
	return fmt.Sprintf("http://%s:%d", to.addrs[0], port), name, "", nil
}

func (w *World) serviceURL(s *corev1.Service, port uint16) string {
	return fmt.Sprintf("http://%s.%s.svc.%s:%d", s.Name, s.Namespace, w.domain, port)
}

// inFront is the first Service, by its name, that selects a pod, and the port to call:
// the one wanted, which may be the pod's own, else its first. nil when there is none.
func (w *World) inFront(p *pod, wanted uint16) (*corev1.Service, uint16) {
	var found *corev1.Service
	var at uint16
	for _, o := range w.objects {
		s, ok := o.Spec.(*corev1.Service)
		if !ok || s.Namespace != p.namespace || len(s.Spec.Selector) == 0 || !mesh.Selects(s.Spec.Selector, p.labels) || found != nil && found.Name < s.Name {
			continue
		}
		for _, port := range s.Spec.Ports {
			if wanted == 0 || uint16(port.Port) == wanted || port.TargetPort.IntValue() == int(wanted) {
				found, at = s, uint16(port.Port)
				break
			}
		}
	}
	return found, at
}

// serviceNamed finds a Service by name, name.namespace or a full host name.
func (w *World) serviceNamed(name, namespace string) (*corev1.Service, error) {
	name = strings.TrimPrefix(strings.TrimPrefix(name, "svc/"), "service/")
	ns := namespace
	if i := strings.IndexByte(name, '.'); i > 0 {
		ns, _, _ = strings.Cut(name[i+1:], ".")
		name = name[:i]
	}
	for _, o := range w.objects {
		if s, ok := o.Spec.(*corev1.Service); ok && s.Name == name && s.Namespace == ns {
			return s, nil
		}
	}
	return nil, fmt.Errorf("there is no service %s.%s", name, ns)
}

// Matrix asks for every pair of workload and service that another workload stands
// behind; only those of a namespace when one is given.
func (w *World) Matrix(ctx context.Context, c Call, namespace string) ([]*Permission, error) {
	var out []*Permission
	for _, to := range w.targets(namespace) {
		for _, from := range w.Workloads() {
			if namespace != "" && from.Namespace != namespace && from.Proxy != "gateway" {
				continue
			}
			call := c
			call.From, call.To = from.String(), to
			p, err := w.Can(ctx, call)
			if err != nil {
				return nil, fmt.Errorf("from %s to %s: %w", from, to, err)
			}
			out = append(out, p)
		}
	}
	return out, nil
}

// targets are the services with pods behind them, gateways left out.
func (w *World) targets(namespace string) []string {
	var out []string
	for _, o := range w.objects {
		s, ok := o.Spec.(*corev1.Service)
		if !ok || len(s.Spec.Selector) == 0 || len(s.Spec.Ports) == 0 || namespace != "" && s.Namespace != namespace {
			continue
		}
		if slices.ContainsFunc(w.pods, func(p *pod) bool {
			return p.namespace == s.Namespace && p.role != gateway && mesh.Selects(s.Spec.Selector, p.labels)
		}) {
			out = append(out, s.Name+"."+s.Namespace)
		}
	}
	slices.Sort(out)
	return out
}

// Enforced is one policy that a proxy enforces.
type Enforced struct {
	Action  string    `json:"action"`
	Policy  string    `json:"policy"` // namespace/name
	Rules   int       `json:"rules"`  // 0: it has none and matches nothing
	Decided *Decision `json:"object,omitempty"`
}

// Enforced lists the authorization policies in the configuration of a workload's
// proxy, those that deny first: the order in which they are asked.
func (w *World) Enforced(ctx context.Context, workload, namespace string) ([]Enforced, error) {
	p, err := w.find(workload, cmp.Or(namespace, "default"))
	if err != nil {
		return nil, err
	}
	if p.role == plain {
		return nil, fmt.Errorf("%s has no proxy that could enforce policies", workload)
	}
	x, err := w.proxy(ctx, p)
	if err != nil {
		return nil, err
	}
	var out []Enforced
	seen := map[string]bool{}
	add := func(r *snapshot.RBAC) {
		if r == nil || r.Rules == nil {
			return
		}
		for i := range r.Rules.Policies {
			name := r.Rules.Policies[i].Name
			if seen[r.Rules.Action.String()+name] {
				continue
			}
			seen[r.Rules.Action.String()+name] = true
			short, _, _ := strings.Cut(shortPolicy(name), " rule ")
			k := slices.IndexFunc(out, func(e Enforced) bool { return e.Policy == short && e.Action == r.Rules.Action.String() })
			if k < 0 {
				k = len(out)
				d := w.policyRule(name)
				if d != nil {
					d = w.decided(policyPath(d.Namespace, d.Name), "")
				}
				out = append(out, Enforced{Action: r.Rules.Action.String(), Policy: short, Decided: d})
			}
			if !strings.HasSuffix(name, "-rule[none]") {
				out[k].Rules++
			}
		}
	}
	for _, l := range x.snap.Listeners {
		if p.role == sidecar && l.Direction != snapshot.Inbound {
			continue
		}
		for _, c := range append(slices.Clone(l.Chains), l.Default) {
			if c != nil {
				eachRBAC(c, add)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b Enforced) int {
		return cmp.Or(-cmp.Compare(a.Action, b.Action), cmp.Compare(a.Policy, b.Policy))
	})
	return out, nil
}

func eachRBAC(c *snapshot.Chain, visit func(*snapshot.RBAC)) {
	for _, f := range c.Network {
		if r, ok := f.Config.(*snapshot.RBAC); ok {
			visit(r)
		}
	}
	if c.HTTP == nil {
		return
	}
	for _, f := range c.HTTP.Filters {
		if r, ok := f.Config.(*snapshot.RBAC); ok {
			visit(r)
		}
	}
}
