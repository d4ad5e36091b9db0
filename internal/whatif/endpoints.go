package whatif

import (
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/resource"
)

// EndpointsOf are the addresses of the pods behind a Service, by its full host name;
// none when there is no such Service.
func (w *World) EndpointsOf(host string) []netip.Addr {
	short, ok := strings.CutSuffix(host, ".svc."+w.domain)
	name, namespace, ok2 := strings.Cut(short, ".")
	if !ok || !ok2 {
		return nil
	}
	o := w.Object(resource.KindService, namespace, name)
	if o == nil {
		return nil
	}
	s, _ := o.Spec.(*corev1.Service)
	if s == nil || len(s.Spec.Selector) == 0 {
		return nil
	}
	var out []netip.Addr
	for _, p := range w.pods {
		if p.namespace == namespace && mesh.Selects(s.Spec.Selector, p.labels) {
			out = append(out, p.addrs...)
		}
	}
	return slices.Clip(out)
}
