package analyze

import (
	"fmt"
	"iter"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/resource"
)

func (w *world) serviceEntries() iter.Seq2[*resource.Object, *networking.ServiceEntry] {
	return each[*networking.ServiceEntry](w, resource.KindServiceEntry)
}

// labelAutoAllocate switches off that a ServiceEntry gets an address by itself.
const labelAutoAllocate = "networking.istio.io/enable-autoallocate-ip"

// serviceEntryAddresses reports ServiceEntries with ports of which only the address
// tells the host, and neither addresses nor a way to get some.
func serviceEntryAddresses(w *world, f *findings) {
	for o, e := range w.serviceEntries() {
		if len(e.Addresses) > 0 || !needsAddress(o, e) {
			continue
		}
		for i, p := range e.Ports {
			if byNumberOnly(p) {
				f.add(o, codeAddressesRequired, at("spec.ports", i), text{
					fmt.Sprintf("port %d of %s speaks %s, and the ServiceEntry has no addresses", p.GetNumber(), strings.Join(e.Hosts, ", "), p.GetProtocol()),
					"all traffic of the mesh to this port number is taken for it, whatever its host", "add addresses, or let one be allocated",
				})
			}
		}
	}
}

// needsAddress reports whether no address is given to the hosts by the mesh: to
// wildcards never, to others unless it is switched off.
func needsAddress(o *resource.Object, e *networking.ServiceEntry) bool {
	if o.Meta.Labels[labelAutoAllocate] == "false" || e.Resolution == networking.ServiceEntry_NONE {
		return true
	}
	return slices.ContainsFunc(e.Hosts, mesh.IsWildcard)
}

// serviceEntryProtocols reports hosts whose port has another protocol in another
// ServiceEntry.
func serviceEntryProtocols(w *world, f *findings) {
	type place struct {
		host string
		port uint32
	}
	type claim struct {
		object   *resource.Object
		protocol mesh.Protocol
		seenBy   mesh.Visibility
	}
	first := map[place][]claim{}
	for o, e := range w.serviceEntries() {
		seenBy := mesh.NewVisibility(e.ExportTo, o.Key.Namespace, w.meshConfig.spec.GetDefaultServiceExportTo())
		for _, h := range e.Hosts {
			for i, p := range e.Ports {
				where := place{strings.ToLower(h), p.GetNumber()}
				mine := claim{o, mesh.ParseProtocol(p.GetProtocol()), seenBy}
				j := slices.IndexFunc(first[where], func(c claim) bool { return shareClients(c.seenBy, mine.seenBy) })
				if j < 0 {
					first[where] = append(first[where], mine)
					continue
				}
				if c := first[where][j]; c.protocol != mine.protocol {
					f.add(o, codeServiceEntryProtocols, at("spec.ports", i)+".protocol", text{
						fmt.Sprintf("port %d of %s is %s here and %s in ServiceEntry %s", p.GetNumber(), h, mine.protocol, c.protocol, full(c.object)),
						"one of the two decides how the port is spoken to", "use the same protocol in both, or one ServiceEntry",
					})
				}
			}
		}
	}
}
