package analyze

import (
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/meshctl/meshctl/internal/collection"
	"github.com/meshctl/meshctl/internal/controlplane/derive"
	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/resource"
)

// derivation runs the control plane's derivation and takes what it finds, but for
// Istio's codes and those of the Gateway API (MSH12xx): they have analyzers of their
// own, which know what is unknown.
func derivation(w *world, f *findings) {
	g := collection.NewGraph(collection.Options{})
	in := derive.NewInputs(g)
	m := derive.New(g, derive.Settings{ClusterDomain: w.domain}, in)
	in.Config.Set(&mesh.MeshConfig{MeshConfig: w.meshConfig.spec, ClusterDomain: w.domain, TrustDomains: []string{w.domain}})
	for _, o := range w.objects {
		if c := in.Of(o.Key.Kind); c != nil && o.Spec != nil {
			c.Set(o)
		}
	}
	if err := g.Flush(f.ctx); err != nil {
		return // only when nobody waits any more
	}
	for _, found := range m.Findings.List() {
		d := found.Diagnostic
		if strings.HasPrefix(d.Code, "IST") || strings.HasPrefix(d.Code, "MSH12") {
			continue
		}
		if d.Code == codeDelegate && w.delegateUnknown(d) {
			d.Severity = diag.Unknown
			d.Message = "cannot be told from the objects given: " + d.Message
		}
		f.out = append(f.out, d)
	}
}

// codeDelegate is that of a route which leads to a delegate that is not there.
const codeDelegate = "MSH0202"

// delegateUnknown reports whether a VirtualService delegates to a namespace of
// which nothing is given.
func (w *world) delegateUnknown(d diag.Diagnostic) bool {
	o := w.get(resource.KindVirtualService, d.Object.Namespace, d.Object.Name)
	if o == nil {
		return false
	}
	vs, _ := o.Spec.(*networking.VirtualService)
	for i, r := range vs.GetHttp() {
		to := r.GetDelegate()
		if to != nil && strings.HasPrefix(d.Field, at("spec.http", i)+".") {
			return to.Namespace != "" && w.missingUnless(w.describes(to.Namespace)) == unknown
		}
	}
	return false
}
