package inspect

import (
	"fmt"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/resource"
	"github.com/meshctl/meshctl/internal/whatif"
)

// Route is one rule of a VirtualService, delegates resolved.
type Route struct {
	VS     *mesh.VirtualService
	Origin mesh.Origin // of the object that wrote it: the VirtualService or a delegate
	Field  string      // in that object
	Match  string
	// Targets are where requests go; none when the proxy answers by itself (Answer).
	Targets []Target
	Answer  string // "redirect to …", "status 503"
	Extra   []string
	// Lost is the share of requests in percent whose backend is not there: only routes
	// of the Gateway API have it. They get 500; of TLS and TCP the connection is closed.
	Lost float64
	// Never says why no request reaches the rule; "" when some may.
	Never string
}

// Target is one destination and its share in percent.
type Target struct {
	Host, Subset string
	Port         uint32
	Share        float64
}

func (t Target) String() string {
	s := t.Host
	if t.Subset != "" {
		s += " subset " + t.Subset
	}
	if t.Port != 0 {
		s += fmt.Sprintf(" port %d", t.Port)
	}
	return s
}

// neverCodes are findings that say that a rule is never reached.
var neverCodes = []string{"MSH1107", resource.CodeUnreachableRule}

// Routes are the rules of a VirtualService in the order in which they are tried.
func (in *Inspector) Routes(vs *mesh.VirtualService) []Route {
	var out []Route
	for i, r := range vs.Spec.GetHttp() {
		rt := Route{VS: vs, Match: anyOf(r.Match)}
		rt.Origin, rt.Field = vs.HTTPAt(i)
		rt.detail(vs.HTTPDetails, i)
		for _, d := range r.Route {
			rt.Targets = append(rt.Targets, target(d.GetDestination(), d.GetWeight()))
		}
		rt.Answer, rt.Extra = answerOf(r), extrasOf(r)
		out = append(out, in.finish(rt))
	}
	for i, r := range vs.Spec.GetTls() {
		rt := Route{VS: vs, Origin: vs.Origin, Field: fmt.Sprintf("spec.tls[%d]", i), Match: tlsMatches(r.Match)}
		rt.detail(vs.TLSDetails, i)
		for _, d := range r.Route {
			rt.Targets = append(rt.Targets, target(d.GetDestination(), d.GetWeight()))
		}
		out = append(out, in.finish(rt))
	}
	for i, r := range vs.Spec.GetTcp() {
		rt := Route{VS: vs, Origin: vs.Origin, Field: fmt.Sprintf("spec.tcp[%d]", i), Match: tcpMatches(r.Match)}
		rt.detail(vs.TCPDetails, i)
		for _, d := range r.Route {
			rt.Targets = append(rt.Targets, target(d.GetDestination(), d.GetWeight()))
		}
		out = append(out, in.finish(rt))
	}
	return out
}

// detail names the route of the Gateway API, or the Ingress, that a rule is made of.
func (r *Route) detail(all []mesh.RouteDetail, i int) {
	if i >= len(all) {
		return
	}
	r.Origin, r.Field, r.Lost = all[i].Origin, all[i].Field, float64(all[i].Unresolved)
	if p := all[i].PathPrefix; p != "" && !strings.Contains(r.Match, "path prefix "+p) {
		r.Match = strings.TrimSuffix("path "+p+", "+r.Match, ", "+anyOf(nil))
	}
}

// by is the object that people know the rule of.
func (r *Route) by() mesh.Origin {
	if strings.Contains(r.VS.CollectionKey(), "listener/") {
		return r.Origin
	}
	return r.VS.Origin
}

// lostText is what becomes of requests whose backend is not there.
func lostText(r Route) string {
	if strings.HasPrefix(r.Origin.Kind, "TCP") || strings.HasPrefix(r.Origin.Kind, "TLS") {
		return "nowhere: closed"
	}
	return "status 500"
}

func target(d *networking.Destination, weight int32) Target {
	return Target{Host: d.GetHost(), Subset: d.GetSubset(), Port: d.GetPort().GetNumber(), Share: float64(weight)}
}

// finish makes shares of weights, and asks the findings whether the rule is reached.
func (in *Inspector) finish(r Route) Route {
	total := r.Lost
	for _, t := range r.Targets {
		total += t.Share
	}
	for i := range r.Targets {
		switch {
		case total > 0:
			r.Targets[i].Share *= 100 / total
		case len(r.Targets) == 1:
			r.Targets[i].Share = 100
		}
	}
	if total > 0 {
		r.Lost *= 100 / total
	}
	for _, f := range in.findings {
		if f.Object == r.Origin.Ref() && slices.Contains(neverCodes, f.Code) && (f.Field == r.Field || strings.HasPrefix(f.Field, r.Field+".match")) && f.Severity != diag.Unknown {
			r.Never = f.Message
		}
	}
	return r
}

// answerOf says how the proxy answers by itself.
func answerOf(r *networking.HTTPRoute) string {
	switch {
	case r.Redirect != nil:
		return "redirect to " + strings.TrimSuffix(r.Redirect.Scheme+"://", "://") + r.Redirect.Authority + r.Redirect.Uri
	case r.DirectResponse != nil:
		return fmt.Sprintf("status %d", r.DirectResponse.Status)
	default:
		return ""
	}
}

// extrasOf are what a rule does beside sending requests on.
func extrasOf(r *networking.HTTPRoute) []string {
	var out []string
	if r.Timeout != nil {
		out = append(out, "timeout "+duration(r.Timeout))
	}
	if r.Retries != nil {
		out = append(out, fmt.Sprintf("%d retries", r.Retries.Attempts))
	}
	if f := r.Fault; f != nil {
		if f.Delay != nil {
			out = append(out, fmt.Sprintf("delays %s by %s", percentage(f.Delay.GetPercentage()), duration(f.Delay.GetFixedDelay())))
		}
		if f.Abort != nil {
			out = append(out, fmt.Sprintf("aborts %s with %d", percentage(f.Abort.GetPercentage()), f.Abort.GetHttpStatus()))
		}
	}
	if w := r.Rewrite; w != nil {
		out = append(out, "rewrites to "+w.Authority+w.Uri)
	}
	for _, m := range mirrorsOf(r) {
		out = append(out, "mirrors to "+m)
	}
	return out
}

func mirrorsOf(r *networking.HTTPRoute) []string {
	var out []string
	if r.Mirror != nil {
		out = append(out, target(r.Mirror, 0).String())
	}
	for _, m := range r.Mirrors {
		out = append(out, target(m.GetDestination(), 0).String())
	}
	return out
}

func percentage(p *networking.Percent) string {
	if p == nil {
		return "all"
	}
	return fmt.Sprintf("%g%%", p.Value)
}

// virtualServices are all of them, in the order in which they compete.
func (in *Inspector) virtualServices() []*mesh.VirtualService {
	all := slices.Clone(in.w.Mesh().VirtualServices.List())
	slices.SortFunc(all, func(a, b *mesh.VirtualService) int { return byOrigin(a.Origin, b.Origin) })
	return all
}

// passedOver says why a VirtualService does not decide about a host for sidecars
// of a namespace: another one does. "" when it decides.
func (in *Inspector) passedOver(vs *mesh.VirtualService, host, namespace string) string {
	if !vs.AppliesTo(mesh.MeshGateway) {
		return ""
	}
	found := mesh.FindVirtualServices(in.w.Mesh().VirtualServices.List(), host, mesh.MeshGateway, namespace)
	switch {
	case len(found) == 0:
		return "not visible in namespace " + namespace
	case found[0].Origin.Key() != vs.Origin.Key():
		return "no effect: VirtualService " + name(found[0].Origin, namespace) + " decides about the host"
	}
	return ""
}

// where says which proxies a VirtualService is for.
func where(vs *mesh.VirtualService) string {
	var out []string
	for _, g := range vs.Gateways {
		if g == mesh.MeshGateway {
			g = "sidecars"
		} else {
			g = "gateway " + strings.TrimPrefix(g, vs.Origin.Namespace+"/")
		}
		out = append(out, g)
	}
	return strings.Join(out, ", ")
}

func (in *Inspector) at(r Route) *whatif.Decision { return in.w.At(r.Origin, r.Field) }

// share prints a percentage without needless digits; "" for all of it.
func share(p float64) string {
	if p == 100 {
		return ""
	}
	return fmt.Sprintf("%.4g%%", p)
}

// local drops what is common to all hosts of the mesh, and the namespace given.
func (in *Inspector) local(host, namespace string) string {
	short, ok := strings.CutSuffix(host, ".svc."+in.w.Domain())
	if !ok {
		return host
	}
	return strings.TrimSuffix(short, "."+namespace)
}

// routeRows adds the rules that keep says yes to, one row for each target that it
// keeps; keep gets a target of nothing for rules that answer by themselves.
func (a *about) routeRows(s *Section, vs *mesh.VirtualService, note string, keep func(Target) bool) {
	for _, r := range a.Routes(vs) {
		why := note
		if why == "" && r.Never != "" {
			why = r.Never
		}
		hosts := make([]string, len(vs.Hosts))
		for i, h := range vs.Hosts {
			hosts[i] = a.local(h, a.Namespace)
		}
		row := func(to string, percent float64) {
			a.meet(vs.Origin)
			a.meet(r.Origin)
			s.add(a.at(r), why, strings.Join(hosts, ", "), where(vs), r.Match, share(percent), to, strings.Join(r.Extra, ", "))
		}
		if r.Answer != "" && keep(Target{}) {
			row(r.Answer, 100)
			continue
		}
		for _, t := range r.Targets {
			if keep(t) {
				shown := t
				shown.Host = a.local(t.Host, a.Namespace)
				row(shown.String(), t.Share)
			}
		}
		if r.Lost > 0 && keep(Target{}) {
			row(lostText(r), r.Lost)
		}
	}
}

func routeColumns() []string { return []string{"HOST", "FOR", "MATCH", "SHARE", "TO", "ALSO"} }
