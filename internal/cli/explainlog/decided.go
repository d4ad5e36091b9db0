package explainlog

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/meshctl/meshctl/internal/logline"
	"github.com/meshctl/meshctl/internal/resource"
	"github.com/meshctl/meshctl/internal/whatif"
)

// decide names the configuration behind a line: policies in its details, the rule
// of its route, the DestinationRule of its target.
func (it *Item) decide(ctx context.Context, w *whatif.World) {
	if w == nil {
		return
	}
	it.place(w)
	for _, p := range it.Policies {
		it.add(w.PolicyRule(p))
	}
	e := it.Entry
	if e == nil || len(it.Policies) > 0 || e.Inbound() {
		return
	}
	rules := rulesOf(w, e)
	if len(rules) == 0 {
		rules = asked(ctx, w, e)
	}
	rules = fitting(w, e, rules)
	it.OneOf = len(rules) > 1
	for _, r := range rules {
		it.add(r)
	}
	it.add(target(w, e))
}

// place finds whose proxy wrote the line, so that the next steps can name it.
func (it *Item) place(w *whatif.World) {
	e := it.Entry
	if e == nil || e.Pod != "" || !w.Running() {
		return
	}
	at := e.Source()
	if e.Inbound() {
		at = e.Destination().Addr()
	}
	for _, p := range w.Pods() {
		if p.Proxy != "none" && slices.Contains(p.Addresses, at) {
			e.Pod = p.String()
			it.Explanation = logline.Explain(*e)
			return
		}
	}
}

func (it *Item) add(d *whatif.Decision) {
	if d != nil && !slices.ContainsFunc(it.Decided, func(x *whatif.Decision) bool { return x.String() == d.String() }) {
		it.Decided = append(it.Decided, d)
	}
}

// rulesOf are the rules that have the name of the line's route.
func rulesOf(w *whatif.World, e *logline.Entry) []*whatif.Decision {
	var out []*whatif.Decision
	for _, o := range w.Objects(resource.KindVirtualService) {
		spec, _ := o.Spec.(*networking.VirtualService)
		for i, r := range spec.GetHttp() {
			if r.GetName() != "" && (e.RouteName == r.GetName() || strings.HasPrefix(e.RouteName, r.GetName()+".")) {
				out = append(out, whatif.Place(o, fmt.Sprintf("spec.http[%d]", i)))
			}
		}
	}
	return out
}

// asked are the rules that may have taken the request, when the client is a pod of
// the mesh: what its proxy's configuration says now, and those that only a header,
// cookie or query parameter kept it from, as the log does not have those.
func asked(ctx context.Context, w *whatif.World, e *logline.Entry) []*whatif.Decision {
	if e.TCP() || e.Authority == "" {
		return nil
	}
	from := e.Pod
	for _, p := range w.Pods() {
		if w.Running() && p.Proxy == "sidecar" && slices.Contains(p.Addresses, e.Source()) {
			from = p.String()
		}
	}
	if from == "" {
		return nil
	}
	url := "http://" + e.Authority + e.Path
	if port := e.Destination().Port(); port != 0 && !strings.Contains(e.Authority, ":") {
		url = fmt.Sprintf("http://%s:%d%s", e.Authority, port, e.Path)
	}
	a, err := w.Ask(ctx, whatif.Request{From: from, Method: e.Method, URL: url})
	if err != nil || len(a.Hops) == 0 {
		return nil // the mesh is another one by now
	}
	var out []*whatif.Decision
	for _, s := range a.Hops[0].Steps { // the client's side
		if s.Name != "route" {
			continue
		}
		for _, n := range s.Near {
			if n.Decided != nil && !strings.HasPrefix(n.Reason, "path ") {
				out = append(out, n.Decided)
			}
		}
		if s.Decided != nil {
			out = append(out, s.Decided)
		}
	}
	return out
}

// fitting leaves the rules that can have led to what the line tells: with a fault
// where one was injected, to the subset where it went; all, when none fits.
func fitting(w *whatif.World, e *logline.Entry, rules []*whatif.Decision) []*whatif.Decision {
	faulty := slices.Contains(e.Flags, "FI") || slices.Contains(e.Flags, "DI")
	var out []*whatif.Decision
	for _, d := range rules {
		o := w.Object(resource.KindVirtualService, d.Namespace, d.Name)
		if o == nil {
			continue
		}
		spec, _ := o.Spec.(*networking.VirtualService)
		i := index(d.Field)
		if i < 0 || i >= len(spec.GetHttp()) {
			continue
		}
		r := spec.GetHttp()[i]
		switch {
		case faulty && r.GetFault() != nil:
			out = append(out, whatif.Place(o, fmt.Sprintf("spec.http[%d].fault", i)))
		case !faulty && leads(r, e.UpstreamCluster):
			out = append(out, d)
		}
	}
	if len(out) == 0 {
		return rules
	}
	return out
}

// index is the i of spec.http[i]…, -1 when it is none.
func index(field string) int {
	rest, ok := strings.CutPrefix(field, "spec.http[")
	n, _, ok2 := strings.Cut(rest, "]")
	i, err := strconv.Atoi(n)
	if !ok || !ok2 || err != nil {
		return -1
	}
	return i
}

// leads reports whether a rule sends requests to the subset of a cluster.
func leads(r *networking.HTTPRoute, cluster string) bool {
	p := strings.Split(cluster, "|")
	if len(p) != 4 {
		return true // it got to no cluster
	}
	return slices.ContainsFunc(r.GetRoute(), func(d *networking.HTTPRouteDestination) bool { return d.GetDestination().GetSubset() == p[2] })
}

// target is the DestinationRule of the cluster that the line names.
func target(w *whatif.World, e *logline.Entry) *whatif.Decision {
	host := logline.Host(e.UpstreamCluster)
	for _, o := range w.Objects(resource.KindDestinationRule) {
		spec, ok := o.Spec.(*networking.DestinationRule)
		if !ok || host == "" || host != full(spec.GetHost(), o.Key.Namespace, w.Domain()) {
			continue
		}
		for i, s := range spec.GetSubsets() {
			if strings.Contains(e.UpstreamCluster, "|"+s.GetName()+"|") {
				return whatif.Place(o, fmt.Sprintf("spec.subsets[%d]", i))
			}
		}
		return whatif.Place(o, "")
	}
	return nil
}

func full(host, namespace, domain string) string {
	switch strings.Count(host, ".") {
	case 0:
		return host + "." + namespace + ".svc." + domain
	case 1:
		return host + ".svc." + domain // name.namespace
	default:
		return host
	}
}
