package compile

import (
	"slices"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
)

func hostFor(name string, domains ...string) Raw {
	v := vhost(name, "a")
	v.Domains = domains
	return raw("r/"+name, v)
}

// A virtual host that took over the domains of one that left, or changed them
// with another, in the same update was refused: a Sidecar that stops traffic to
// what the mesh does not know never took effect.
func TestVirtualHostsHandDomainsOver(t *testing.T) {
	t.Parallel()
	c := newCompiler(t)
	set(t, c, TypeCluster, edsCluster("a", 1))
	set(t, c, TypeEndpoints, eds("a", 1))
	set(t, c, TypeListener, lds("l", 80, "r"))
	set(t, c, TypeRoute, raw("r", &routev3.RouteConfiguration{Name: "r", Vhds: &routev3.Vhds{}}))
	set(t, c, TypeVirtualHost, hostFor("allow_any", "*"), hostFor("x", "x"), hostFor("y", "y"))
	owner := func(domain string) string {
		for _, h := range c.Snapshot().Routes["r"].Hosts {
			if slices.Contains(h.Domains, domain) {
				return h.Name
			}
		}
		return ""
	}
	for _, e := range c.Apply(Update{
		TypeURL: TypeVirtualHost, Set: []Raw{hostFor("block_all", "*"), hostFor("x", "y"), hostFor("y", "x")}, Removed: []string{"r/allow_any"},
	}) {
		t.Error(e)
	}
	if a, b, c := owner("*"), owner("x"), owner("y"); a != "block_all" || b != "y" || c != "x" {
		t.Errorf("* belongs to %q, x to %q, y to %q", a, b, c)
	}
	// One that takes what another keeps is refused alone.
	bad := c.Apply(Update{TypeURL: TypeVirtualHost, Set: []Raw{hostFor("thief", "x"), hostFor("z", "z")}, Removed: []string{"r/block_all"}})
	if len(bad) != 1 || bad[0].Name != "r/thief" || owner("z") != "z" || owner("x") != "y" || owner("*") != "" {
		t.Errorf("refused %v; z belongs to %q, x to %q, * to %q", bad, owner("z"), owner("x"), owner("*"))
	}
}
