package effect

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"

	"github.com/meshctl/meshctl/internal/compare"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
	"github.com/meshctl/meshctl/internal/whatif"
)

// targets tells what changes in how services are called, and in how many there are
// to call.
func (t *teller) targets(g compare.Group, was, now *snapshot.Snapshot) {
	for _, c := range g.Changes {
		port, subset, host, ok := cluster(c.Name)
		if c.Verb != compare.Changed || !ok {
			continue
		}
		a, b := was.Clusters[c.Name], now.Clusters[c.Name]
		if a == nil || b == nil {
			continue
		}
		about := t.host(host)
		if subset != "" {
			about += " " + subset
		}
		e := Effect{Area: Targets, About: about, Proxies: g.Proxies, port: port, Decided: t.after.Generated(cmp.Or(b.Mesh.Config, a.Mesh.Config), "")}
		if e.Decided == nil {
			e.Decided = t.before.Generated(a.Mesh.Config, "")
		}
		if c.Type == "endpoints" {
			x, y := usable(was.EndpointsOf(a)), usable(now.EndpointsOf(b))
			if x != y {
				e.Now, e.Was, e.Decided = count(y), strconv.Itoa(x), nil
				t.out = append(t.out, e)
			}
			continue
		}
		if c.Type != "cluster" {
			continue
		}
		x, y := settings(a), settings(b)
		for _, f := range append(slices.Clone(y), x...) {
			is, had := value(y, f.Name), value(x, f.Name)
			if is == had || is != "" && is != f.Value {
				continue
			}
			e.Now, e.Was = f.Name+" "+cmp.Or(is, "none"), cmp.Or(had, "none")
			t.out = append(t.out, e)
		}
	}
}

func count(n int) string {
	if n == 1 {
		return "1 endpoint is ready"
	}
	return fmt.Sprintf("%d endpoints are ready", n)
}

func usable(e *snapshot.Endpoints) int {
	n := 0
	if e == nil {
		return 0
	}
	for i := range e.Localities {
		for j := range e.Localities[i].Endpoints {
			if e.Localities[i].Endpoints[j].Health.Usable() {
				n++
			}
		}
	}
	return n
}

// settings are those of a cluster, and how it is encrypted.
func settings(c *snapshot.Cluster) []whatif.Setting {
	out := whatif.ClusterSettings(c)
	describe := func(x *snapshot.ClientTLS) string {
		switch {
		case x == nil:
			return "plain text"
		case slices.Contains(x.Certificates, "default"):
			return "mutual TLS of the mesh"
		case len(x.Certificates) > 0:
			return "mutual TLS with certificates of its own"
		default:
			return "TLS"
		}
	}
	tls := describe(c.TLS)
	for i := range c.SocketMatches {
		if x := c.SocketMatches[i].TLS; x != nil {
			tls = describe(x) + " where the other side has a sidecar"
			break
		}
	}
	return append(out, whatif.Setting{Name: "connection", Value: tls})
}
