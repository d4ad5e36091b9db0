package view

import (
	"fmt"
	"slices"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/mesh"
)

// codeTaken: a name of a host is already that of another.
const codeTaken = "MSH0203"

// settleDomains decides which host of a route configuration gets a name that
// several could have: virtual hosts that are resources of their own do not see each
// other, and a proxy refuses a second one with the same domain. A host's full name
// comes before short names and addresses, then the first host wins.
func (b *planner) settleDomains(hosts []*hostRequest) {
	type name struct {
		domain string
		port   uint32 // the same for all, except in the table of an HTTP proxy
	}
	owners := make(map[name]string, 4*len(hosts))
	for _, r := range hosts {
		owners[name{r.host, r.port}] = r.host
	}
	for _, r := range hosts {
		s := b.visible[r.host]
		if s == nil {
			continue
		}
		r.without = nil
		for _, d := range otherDomains(s.In(b.scope.Cluster), b.cfg.ClusterDomain, b.scope.Node.DNSDomain) {
			if owner, taken := owners[name{d, r.port}]; taken && owner != r.host {
				r.without = append(r.without, d)
				continue
			}
			owners[name{d, r.port}] = r.host
		}
		if len(r.without) > 0 {
			r.seal()
		}
	}
}

// otherDomains are the names of a service beside its host: short ones, and addresses.
// The shortest is a name only in the client's own namespace: services of other
// namespaces that are called the same have no claim to it.
func otherDomains(s *mesh.Service, clusterDomain, dnsDomain string) []string {
	var out []string
	if short, ok := strings.CutSuffix(s.Host, "."+clusterDomain); ok {
		out = append(out, short)
		if short, ok = strings.CutSuffix(short, ".svc"); ok {
			out = append(out, short)
			if name, namespace, _ := strings.Cut(short, "."); dnsDomain == namespace+".svc."+clusterDomain {
				out = append(out, name)
			}
		}
	}
	return append(out, s.VIPs()...)
}

// dropTaken takes the domains that others have from a virtual host.
func (b *Bundle) dropTaken(vh *routev3.VirtualHost, r *hostRequest) {
	if len(r.without) == 0 {
		return
	}
	vh.Domains = slices.DeleteFunc(vh.Domains, func(d string) bool {
		for _, port := range []uint32{r.port, mesh.BoundPort(r.port)} { // an HTTP proxy's table has both
			d = strings.TrimSuffix(d, ":"+portName(port))
		}
		name := strings.TrimSuffix(d, ".")
		return slices.Contains(r.without, strings.Trim(name, "[]"))
	})
	f := diag.Diagnostic{
		Code: codeTaken, Severity: diag.Warning,
		Message: fmt.Sprintf("%s of %s on port %d: another host has it already", strings.Join(r.without, ", "), r.host, r.port),
		Effect:  "requests with this name go to the other host", Fix: "give each host names and addresses of its own",
	}
	if len(b.Origins) > 0 {
		f.Object, f.Pos = b.Origins[0].Ref(), b.Origins[0].Pos
	}
	b.Findings = append(b.Findings, f)
}
