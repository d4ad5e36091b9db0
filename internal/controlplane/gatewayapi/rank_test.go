package gatewayapi_test

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/meshctl/meshctl/internal/mesh"
)

// naive is a match as the API's text speaks of it.
type naive struct {
	route, rule, match int
	host               string
	exact              bool
	path               string
	method             bool
	headers, query     int
}

// before is the API's text, sentence by sentence: "precedence must be given to the
// match having …; if ties still exist, …".
func (m naive) before(n naive) bool {
	wild := func(h string) int {
		if strings.HasPrefix(h, "*") {
			return 0
		}
		return len(h)
	}
	for _, c := range []int{
		cmp.Compare(wild(n.host), wild(m.host)), // characters in a matching non-wildcard hostname
		cmp.Compare(len(n.host), len(m.host)),   // characters in a matching hostname
		truth(n.exact) - truth(m.exact),         // "Exact" path match
		cmp.Compare(len(n.path), len(m.path)),   // "Prefix" path match with largest number of characters
		truth(n.method) - truth(m.method),       // method match
		cmp.Compare(n.headers, m.headers),       // largest number of header matches
		cmp.Compare(n.query, m.query),           // largest number of query param matches
		cmp.Compare(m.route, n.route),           // the oldest Route, then by alphabet
		cmp.Compare(m.rule, n.rule),             // within a route the first rule
		cmp.Compare(m.match, n.match),
	} {
		if c != 0 {
			return c < 0
		}
	}
	return false
}

func truth(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (m naive) yaml() string {
	kind := "PathPrefix"
	if m.exact {
		kind = "Exact"
	}
	var parts []string
	parts = append(parts, fmt.Sprintf("path: {type: %s, value: %s}", kind, m.path))
	if m.method {
		parts = append(parts, "method: GET")
	}
	list := func(name string, n int) {
		var items []string
		for i := range n {
			items = append(items, fmt.Sprintf("{name: x%d, value: v}", i))
		}
		if n > 0 {
			parts = append(parts, name+": ["+strings.Join(items, ", ")+"]")
		}
	}
	list("headers", m.headers)
	list("queryParams", m.query)
	return "{" + strings.Join(parts, ", ") + "}"
}

// Routes of any number of objects come out in the order that the API's text asks for.
func TestPrecedenceIsAsWritten(t *testing.T) {
	t.Parallel()
	const asked = "a.b.example.com"
	rapid.Check(t, func(rt *rapid.T) {
		var all []naive
		text := `apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: front, namespace: shop}
spec: {gatewayClassName: istio, listeners: [{name: http, port: 80, protocol: HTTP}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {clusterIP: 10.96.0.5, selector: {app: web}, ports: [{name: http, port: 80}]}
`
		has := false
		for r := range rapid.IntRange(1, 4).Draw(rt, "routes") {
			host := rapid.SampledFrom([]string{asked, "*.b.example.com", "*.example.com"}).Draw(rt, "host")
			has = has || host == asked
			text += fmt.Sprintf("---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: r%d, namespace: shop}\nspec:\n  parentRefs: [{name: front}]\n  hostnames: ['%s']\n  rules:\n", r, host)
			for i := range rapid.IntRange(1, 2).Draw(rt, "rules") {
				var ms []string
				for j := range rapid.IntRange(1, 3).Draw(rt, "matches") {
					m := naive{
						route: r, rule: i, match: j, host: host, exact: rapid.Bool().Draw(rt, "exact"),
						path: rapid.SampledFrom([]string{"/", "/a", "/b", "/a/b", "/ab/c"}).Draw(rt, "path"), method: rapid.Bool().Draw(rt, "method"),
						headers: rapid.IntRange(0, 2).Draw(rt, "headers"), query: rapid.IntRange(0, 2).Draw(rt, "query"),
					}
					all = append(all, m)
					ms = append(ms, m.yaml())
				}
				text += "  - {matches: [" + strings.Join(ms, ", ") + "], backendRefs: [{name: web, port: 80}]}\n"
			}
		}
		if !has {
			return // no virtual host of this name
		}
		w := newWorld(t)
		w.apply(t, "in.yaml", []byte(text))
		i := slices.IndexFunc(w.VirtualServices.List(), func(v *mesh.VirtualService) bool { return v.Hosts[0] == asked })
		if i < 0 {
			rt.Fatal("nothing is routed")
		}
		var got, want []string
		for _, d := range w.VirtualServices.List()[i].HTTPDetails {
			got = append(got, d.Origin.Name+" "+d.Field)
		}
		slices.SortFunc(all, func(a, b naive) int {
			switch {
			case a.before(b):
				return -1
			case b.before(a):
				return 1
			default:
				return 0
			}
		})
		for _, m := range all {
			want = append(want, fmt.Sprintf("r%d spec.rules[%d].matches[%d]", m.route, m.rule, m.match))
		}
		if !slices.Equal(got, want) {
			rt.Fatalf("order is\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	})
}
