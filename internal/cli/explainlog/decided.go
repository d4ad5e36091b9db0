package explainlog

import (
	"context"
	"fmt"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/meshctl/meshctl/internal/logline"
	"github.com/meshctl/meshctl/internal/resource"
	"github.com/meshctl/meshctl/internal/whatif"
)

// decided names the configuration behind a line: policies in its details, the rule
// of its route, the DestinationRule of its target. Where the client is known, its
// proxy's configuration is asked; else names are looked up.
func decided(ctx context.Context, w *whatif.World, it *Item) []*whatif.Decision {
	if w == nil {
		return nil
	}
	var out []*whatif.Decision
	add := func(d *whatif.Decision) {
		if d != nil && !slices.ContainsFunc(out, func(x *whatif.Decision) bool { return x.String() == d.String() }) {
			out = append(out, d)
		}
	}
	for _, p := range it.Policies {
		add(w.PolicyRule(p))
	}
	e := it.Entry
	if e == nil || len(it.Policies) > 0 || e.Inbound() {
		return out
	}
	if asked := ask(ctx, w, e); asked != nil {
		for _, h := range asked.Hops {
			for _, s := range h.Steps {
				switch s.Name {
				case "host", "route", "fault", "forward", "target":
					add(s.Decided)
				}
			}
			break // the client's side: the rest is another proxy's
		}
		return out
	}
	for _, o := range w.Objects(resource.KindVirtualService) {
		spec, ok := o.Spec.(*networking.VirtualService)
		for i, r := range spec.GetHttp() {
			if ok && r.GetName() != "" && (e.RouteName == r.GetName() || strings.HasPrefix(e.RouteName, r.GetName()+".")) {
				add(whatif.Place(o, fmt.Sprintf("spec.http[%d]", i)))
			}
		}
	}
	host := logline.Host(e.UpstreamCluster)
	for _, o := range w.Objects(resource.KindDestinationRule) {
		spec, ok := o.Spec.(*networking.DestinationRule)
		if !ok || host == "" || host != full(spec.GetHost(), o.Key.Namespace, w.Domain()) {
			continue
		}
		field := ""
		for i, s := range spec.GetSubsets() {
			if strings.Contains(e.UpstreamCluster, "|"+s.GetName()+"|") {
				field = fmt.Sprintf("spec.subsets[%d]", i)
			}
		}
		add(whatif.Place(o, field))
	}
	return out
}

func full(host, namespace, domain string) string {
	if strings.Contains(host, ".") {
		return host
	}
	return host + "." + namespace + ".svc." + domain
}

// ask asks what the request would get now, when the client is a pod of the mesh.
func ask(ctx context.Context, w *whatif.World, e *logline.Entry) *whatif.Answer {
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
	if err != nil {
		return nil // the mesh is another one by now
	}
	return a
}
