package diff

import (
	"fmt"
	"slices"
	"strings"

	"github.com/meshctl/meshctl/internal/cli/inspection"
	"github.com/meshctl/meshctl/internal/cli/stdio"
	"github.com/meshctl/meshctl/internal/compare"
	"github.com/meshctl/meshctl/internal/effect"
	"github.com/meshctl/meshctl/internal/plural"
)

// tell prints a report for people: what it does to requests first.
func (o *Options) tell(r *Report) {
	io := o.Env.IO
	for _, x := range r.Objects {
		style := map[string]stdio.Style{"created": stdio.Green, "changed": stdio.Yellow, "deleted": stdio.Red}[x.Action]
		io.Printf("%s %s\n", x.Object, io.OutPaint(style, x.Action))
	}
	if r.nothing() {
		why := ""
		if slices.ContainsFunc(r.Objects, func(x Object) bool { return x.Action == "changed" }) {
			why = ": the text differs, and means the same"
		}
		io.Printf("\nnothing would change%s\n", why)
		return
	}
	o.effects(r)
	o.proxies(r)
	if len(r.New) > 0 {
		o.title("New findings")
		o.Env.PrintFindings(r.New)
	}
	if len(r.Mended) > 0 {
		o.title("Findings that it mends")
		for _, d := range r.Mended {
			io.Printf("  %s [%s] (%s) %s\n", d.Severity, d.Code, d.Object, d.Message)
		}
	}
	for _, n := range r.Notes {
		io.Sayf("note: %s\n", n)
	}
}

func (o *Options) title(s string) {
	o.Env.IO.Printf("\n%s\n", o.Env.IO.OutPaint(stdio.Bold, s))
}

func (o *Options) effects(r *Report) {
	io := o.Env.IO
	o.title("For requests")
	if len(r.Effects) == 0 {
		io.Printf("  no request is answered otherwise\n")
	}
	var all []compare.Proxy
	for _, g := range r.Groups {
		all = append(all, g.Proxies...)
	}
	for i, e := range r.Effects {
		io.Printf("  %s\n", o.sentence(e))
		if from := sidecarsOf(e, all); from != "" {
			io.Printf("      %s\n", io.OutPaint(stdio.Dim, "for "+from))
		}
		// The same line is named once for what follows from it.
		if e.Decided != nil && (i+1 == len(r.Effects) || r.Effects[i+1].Decided.String() != e.Decided.String()) {
			io.Printf("      %s\n", io.OutPaint(stdio.Dim, e.Decided.String()))
		}
	}
}

func (o *Options) sentence(e effect.Effect) string {
	paint := o.Env.IO.OutPaint
	s := paint(stdio.Bold, e.About)
	if e.For != "" {
		s += ", " + e.For
	}
	s += ": " + e.Now
	if e.Was != "" {
		s += " " + paint(stdio.Dim, "(was "+e.Was+")")
	}
	return s
}

// sidecarsOf says for whose requests an effect counts, when not for those of all
// proxies that differ; "" for all.
func sidecarsOf(e effect.Effect, all []compare.Proxy) string {
	if e.Area == effect.Access || e.Area == effect.Identity || e.Area == effect.Ports {
		return "" // the sentence says it
	}
	for _, p := range all {
		if p.Kind == "sidecar" && !slices.Contains(e.Proxies, p) {
			return crowd(e.Proxies)
		}
	}
	return ""
}

func (o *Options) proxies(r *Report) {
	io := o.Env.IO
	touched := map[string]bool{}
	for _, g := range r.Groups {
		for _, p := range g.Proxies {
			touched[p.String()] = true
		}
	}
	o.title("Proxies")
	if len(touched) > 0 || len(r.Joined)+len(r.Left) == 0 {
		io.Printf("  %d of %d would be sent something new\n", len(touched), r.proxies)
	}
	for _, g := range r.Groups {
		io.Printf("  %s\n", io.OutPaint(stdio.Bold, crowd(g.Proxies)))
		inspection.Changes{Indent: "    ", Summary: o.Summary, All: o.All}.Print(io, g.Changes)
	}
	for _, x := range []struct {
		what string
		of   []compare.Proxy
	}{{"would start", r.Joined}, {"would end", r.Left}} {
		if len(x.of) > 0 {
			io.Printf("  %s %s\n", io.OutPaint(stdio.Bold, crowd(x.of)), x.what)
		}
	}
}

// crowd names proxies by their workloads, or counts them when they are many:
// "12 sidecars in default, gateway istio-ingressgateway.istio-system".
func crowd(proxies []compare.Proxy) string {
	const named = 4
	var workloads []string
	count := map[string]int{}
	for _, p := range proxies {
		n := p.Workload + "." + p.Namespace
		if p.Kind != "sidecar" {
			n = p.Kind + " " + n
		}
		if count[n]++; count[n] == 1 {
			workloads = append(workloads, n)
		}
	}
	if len(workloads) <= named {
		for i, w := range workloads {
			if count[w] > 1 {
				workloads[i] = fmt.Sprintf("%s (%d pods)", w, count[w])
			}
		}
		return strings.Join(workloads, ", ")
	}
	type key struct{ kind, namespace string }
	by := map[key]int{}
	var order []key
	for _, p := range proxies {
		k := key{p.Kind, p.Namespace}
		if by[k]++; by[k] == 1 {
			order = append(order, k)
		}
	}
	var out []string
	for i, k := range order {
		if i == named {
			out = append(out, fmt.Sprintf("and %d more namespaces", len(order)-i))
			break
		}
		out = append(out, plural.Of(by[k], k.kind)+" in "+k.namespace)
	}
	return fmt.Sprintf("%s (%d workloads)", strings.Join(out, ", "), len(workloads))
}
