package route

import (
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/meshctl/meshctl/internal/proxy/header"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

func request(method, host, path string, headers ...string) *Request {
	h := &header.List{}
	h.AddIDString(header.Method, method)
	h.AddIDString(header.Scheme, "http")
	h.AddIDString(header.Authority, host)
	h.AddIDString(header.Path, path)
	for i := 0; i+1 < len(headers); i += 2 {
		h.AddString(headers[i], headers[i+1])
	}
	r := NewRequest(h, 0)
	return &r
}

func table(t testing.TB, hosts ...*snapshot.VirtualHost) *snapshot.RouteTable {
	t.Helper()
	tb := &snapshot.RouteTable{IgnorePort: true}
	if err := tb.AddHosts(hosts); err != nil {
		t.Fatal(err)
	}
	return tb
}

func host(name string, domains ...string) *snapshot.VirtualHost {
	return &snapshot.VirtualHost{Name: name, Domains: domains}
}

func TestHostLookup(t *testing.T) {
	t.Parallel()
	tb := table(t, host("exact", "www.foo.com"), host("dash", "*-bar.foo.com"), host("star", "*.foo.com"), host("prefix", "www.*"),
		host("longer", "www.f*"), host("v6", "[::1]"), host("any", "*"))
	for in, want := range map[string]string{
		"www.foo.com": "exact", "WWW.Foo.COM:8080": "exact", "x-bar.foo.com": "dash", "y.foo.com": "star", ".foo.com": "any",
		"www.x": "prefix", "www.fx": "longer", "www.f": "prefix", "www.": "any", "other": "any", "": "any", "[::1]:80": "v6", "[::1]": "v6",
		"www.foo.com:x": "prefix-or-longer", "::1": "any",
	} {
		got := FindHost(tb, []byte(in)).Name
		if want == "prefix-or-longer" {
			want = "longer"
		}
		if got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
	none := table(t, host("a", "a"))
	if FindHost(none, []byte("b")) != nil {
		t.Error("found a host that is not there")
	}
	if err := (&snapshot.RouteTable{}).AddHosts([]*snapshot.VirtualHost{host("a", "X"), host("b", "x")}); err == nil {
		t.Error("a domain twice is no error")
	}
}

// naiveHost follows the words of the documentation.
func naiveHost(tb *snapshot.RouteTable, in string) *snapshot.VirtualHost {
	in = strings.ToLower(in)
	var best *snapshot.VirtualHost
	score := 0
	for _, h := range tb.Hosts {
		for _, d := range h.Domains {
			s := 0
			switch {
			case d == "*":
				s = 1
			case d == in:
				s = 1 << 30
			case strings.HasPrefix(d, "*") && strings.HasSuffix(in, d[1:]) && len(in) >= len(d):
				s = 1<<20 + len(d)
			case strings.HasSuffix(d, "*") && strings.HasPrefix(in, d[:len(d)-1]) && len(in) >= len(d):
				s = 1<<10 + len(d)
			}
			if s > score {
				best, score = h, s
			}
		}
	}
	return best
}

func TestHostLookupEqualsNaive(t *testing.T) {
	t.Parallel()
	label := rapid.StringMatching(`[ab](\.[ab]){0,3}`)
	domain := rapid.OneOf(label, rapid.Map(label, func(s string) string { return "*." + s }), rapid.Map(label, func(s string) string { return "*" + s }),
		rapid.Map(label, func(s string) string { return s + ".*" }), rapid.Just("*"))
	rapid.Check(t, func(rt *rapid.T) {
		var hosts []*snapshot.VirtualHost
		for i, d := range rapid.SliceOfNDistinct(domain, 0, 10, rapid.ID[string]).Draw(rt, "domains") {
			hosts = append(hosts, host(strconv.Itoa(i), d))
		}
		tb := &snapshot.RouteTable{}
		if err := tb.AddHosts(hosts); err != nil {
			rt.Fatal(err)
		}
		in := label.Draw(rt, "host")
		if got, want := FindHost(tb, []byte(in)), naiveHost(tb, in); got != want {
			rt.Fatalf("%q: %v, want %v", in, got, want)
		}
	})
}

func drawRoute(t *rapid.T) *snapshot.Route {
	paths := []string{"/", "/a", "/a/", "/a/b", "/ab", "/A", "/a/b/c"}
	p := snapshot.PathMatch{Kind: snapshot.PathKind(rapid.IntRange(0, 3).Draw(t, "kind")), Value: rapid.SampledFrom(paths).Draw(t, "path")}
	if p.Kind == snapshot.PathRegex {
		p.Regex = regexp.MustCompile(`\A(?:` + p.Value + `.*)\z`)
	} else if rapid.IntRange(0, 4).Draw(t, "fold") == 0 {
		p.IgnoreCase, p.Value = true, strings.ToLower(p.Value)
	}
	m := snapshot.RouteMatch{Path: p, Fraction: -1}
	if rapid.Bool().Draw(t, "header") {
		m.Headers = []snapshot.HeaderMatch{{
			Name: "x", Kind: snapshot.HeaderString, Invert: rapid.Bool().Draw(t, "invert"),
			Value: snapshot.StringMatch{Kind: snapshot.StringExact, Value: rapid.SampledFrom([]string{"1", "2"}).Draw(t, "value")},
		}}
	}
	return &snapshot.Route{Match: m}
}

// TestIndexedEqualsLinear: the path index never changes which route is first,
// and Explain agrees.
func TestIndexedEqualsLinear(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		v := host("v", "*")
		for range rapid.IntRange(9, 40).Draw(rt, "routes") {
			v.Routes = append(v.Routes, drawRoute(rt))
		}
		v.Index = snapshot.IndexPaths(v.Routes)
		if v.Index == nil {
			rt.Fatal("no index")
		}
		linear := *v
		linear.Index = nil
		r := request("GET", "h", rapid.SampledFrom([]string{"/", "/a", "/a?x", "/a/", "/a/b", "/ab/c", "/A/B", "/a/b/c/d#f"}).Draw(rt, "path"),
			"x", rapid.SampledFrom([]string{"1", "2", "3"}).Draw(rt, "x"))
		got, want := FindIn(v, r), FindIn(&linear, r)
		if got != want {
			rt.Fatalf("indexed %+v, linear %+v", got, want)
		}
		tb := &snapshot.RouteTable{}
		if err := tb.AddHosts([]*snapshot.VirtualHost{v}); err != nil {
			rt.Fatal(err)
		}
		if e := Explain(tb, r); e.Route != want {
			rt.Fatal("Explain disagrees")
		}
	})
}

func TestExplainSaysWhy(t *testing.T) {
	t.Parallel()
	str := func(k snapshot.StringKind, v string) snapshot.StringMatch {
		return snapshot.StringMatch{Kind: k, Value: v}
	}
	v := host("v", "reviews", "*.reviews")
	v.Routes = []*snapshot.Route{
		{Name: "health", Match: snapshot.RouteMatch{Path: snapshot.PathMatch{Kind: snapshot.PathExact, Value: "/health"}, Fraction: -1}},
		{Name: "jason", Match: snapshot.RouteMatch{
			Path: snapshot.PathMatch{Value: "/"}, Fraction: -1,
			Headers: []snapshot.HeaderMatch{{Name: "end-user", Kind: snapshot.HeaderString, Value: str(snapshot.StringExact, "jason")}},
		}},
		{Name: "debug", Match: snapshot.RouteMatch{Path: snapshot.PathMatch{Value: "/"}, Fraction: -1, Query: []snapshot.QueryMatch{{Name: "debug", Present: true}}}},
		{Name: "grpc", Match: snapshot.RouteMatch{Path: snapshot.PathMatch{Value: "/"}, Fraction: -1, GRPC: true}},
		{Name: "none", Match: snapshot.RouteMatch{Path: snapshot.PathMatch{Value: "/"}, Fraction: 0}},
		{Name: "rest", Match: snapshot.RouteMatch{Path: snapshot.PathMatch{Value: "/"}, Fraction: -1}},
	}
	e := Explain(table(t, v), request("GET", "v1.reviews", "/reviews/1"))
	if e.Route == nil || e.Route.Name != "rest" || e.Domain != "*.reviews" {
		t.Fatalf("%+v", e)
	}
	want := []string{
		`path "/reviews/1" does not match path /health`, `header end-user is missing, want = jason`, `query parameter debug is missing`,
		`the request is not gRPC`, `only 0% of requests are taken, this one is not among them`, "",
	}
	for i, s := range e.Steps {
		if s.Reason != want[i] || s.Near != (i > 0 && i < 5) {
			t.Errorf("%d: %q near=%v, want %q", i, s.Reason, s.Near, want[i])
		}
	}
}

func TestRewritesAndRedirects(t *testing.T) {
	t.Parallel()
	prefix := func(v string) snapshot.RouteMatch {
		return snapshot.RouteMatch{Path: snapshot.PathMatch{Value: v}, Fraction: -1}
	}
	exact := snapshot.RouteMatch{Path: snapshot.PathMatch{Kind: snapshot.PathExact, Value: "/a"}, Fraction: -1}
	re := regexp.MustCompile(`^/([^/]+)/(.*)$`)
	for name, c := range map[string]struct {
		m    snapshot.RouteMatch
		rw   *snapshot.Rewrite
		rd   *snapshot.Redirect
		path string
		want string
	}{
		"prefix":                  {prefix("/a/"), &snapshot.Rewrite{HasPrefix: true, Prefix: "/"}, nil, "/a/b?c=d", "/b?c=d"},
		"exact":                   {exact, &snapshot.Rewrite{HasPrefix: true, Prefix: "/z"}, nil, "/a?c=d", "/z?c=d"},
		"regex":                   {prefix("/"), &snapshot.Rewrite{Regex: re, Substitution: "/${2}/${1}"}, nil, "/a/b?/x/y", "/b/a?/x/y"},
		"https":                   {prefix("/"), nil, &snapshot.Redirect{HTTPS: true}, "/a?b", "https://h/a?b"},
		"port":                    {prefix("/"), nil, &snapshot.Redirect{HTTPS: true, Port: 8443}, "/", "https://h:8443/"},
		"host and path":           {prefix("/"), nil, &snapshot.Redirect{Host: "x:1", Path: "/p"}, "/a?b", "http://x:1/p?b"},
		"path with query":         {prefix("/"), nil, &snapshot.Redirect{Path: "/p?q", StripQuery: true}, "/a?b", "http://h:80/p?q"},
		"strip query":             {prefix("/"), nil, &snapshot.Redirect{StripQuery: true}, "/a?b", "http://h:80/a"},
		"redirect prefix":         {prefix("/old"), nil, &snapshot.Redirect{HasPrefix: true, Prefix: "/new"}, "/old/x?y", "http://h:80/new/x?y"},
		"redirect by regex":       {prefix("/"), nil, &snapshot.Redirect{Regex: re, Substitution: "/${2}"}, "/a/b?c", "http://h:80/b?c"},
		"default port of scheme":  {prefix("/"), nil, &snapshot.Redirect{Scheme: "https"}, "/", "https://h/"},
		"the same scheme, no cut": {prefix("/"), nil, &snapshot.Redirect{Scheme: "http"}, "/", "http://h:80/"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := request("GET", "h:80", c.path)
			rt := &snapshot.Route{Match: c.m, Redirect: c.rd}
			var got []byte
			if c.rw != nil {
				rt.Forward = &snapshot.Forward{Rewrite: c.rw}
				got, _ = RewritePath(nil, rt, r, nil)
			} else {
				got = Location(nil, rt, r, false)
			}
			if string(got) != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestChooseFollowsWeights(t *testing.T) {
	t.Parallel()
	f := &snapshot.Forward{Weighted: []snapshot.WeightedCluster{{Cluster: "a", Weight: 30}, {Cluster: "z"}, {Cluster: "b", Weight: 70}}, TotalWeight: 100}
	n := map[string]int{}
	r := request("GET", "h", "/")
	for i := range 1000 {
		r.Random = uint64(i)
		n[Cluster(f, Choose(f, r), r)]++
	}
	if n["a"] != 300 || n["b"] != 700 {
		t.Fatal(n)
	}
}

func TestHash(t *testing.T) {
	t.Parallel()
	f := &snapshot.Forward{Hash: []snapshot.HashPolicy{{Kind: snapshot.HashCookie, Name: "c", HasTTL: true, TTL: time.Minute, Path: "/"}}}
	r := request("GET", "h", "/")
	r.Random = 42
	first := Hash(f, r)
	if !first.OK || first.Cookie == nil {
		t.Fatal("no cookie made")
	}
	set := string(first.SetCookie(nil))
	if !strings.HasSuffix(set, "; Max-Age=60; Path=/; HttpOnly") {
		t.Fatal(set)
	}
	again := Hash(f, request("GET", "h", "/", "cookie", "a=b; "+strings.SplitN(set, ";", 2)[0]))
	if again.Hash != first.Hash || again.Cookie != nil {
		t.Fatal("a returning client is sent elsewhere")
	}
	f.Hash = []snapshot.HashPolicy{{Kind: snapshot.HashHeader, Name: "x", Terminal: true}, {Kind: snapshot.HashSourceIP}}
	a, b := request("GET", "h", "/", "x", "1"), request("GET", "h", "/")
	a.Source = netip.MustParseAddr("10.0.0.1")
	if !Hash(f, a).OK || Hash(f, b).OK {
		t.Fatal("terminal or missing values")
	}
	p, q := request("GET", "h", "/", "x", "1", "x", "2"), request("GET", "h", "/", "x", "2", "x", "1")
	if Hash(f, p) != Hash(f, q) {
		t.Fatal("the order of values matters")
	}
}

func TestConnectNeedsItsMatcher(t *testing.T) {
	t.Parallel()
	v := host("v", "*")
	v.Routes = []*snapshot.Route{
		{Name: "prefix", Match: snapshot.RouteMatch{Path: snapshot.PathMatch{Value: "/"}, Fraction: -1}},
		{Name: "connect", Match: snapshot.RouteMatch{Path: snapshot.PathMatch{Kind: snapshot.PathConnect}, Fraction: -1}},
	}
	h := &header.List{}
	h.AddIDString(header.Method, "CONNECT")
	h.AddIDString(header.Authority, "x:443")
	r := NewRequest(h, 0)
	if _, rt := Find(table(t, v), &r); rt == nil || rt.Name != "connect" {
		t.Fatalf("%+v", rt)
	}
	if _, rt := Find(table(t, v), request("GET", "x", "/")); rt.Name != "prefix" {
		t.Fatalf("%+v", rt)
	}
}

func FuzzFind(f *testing.F) {
	v := host("v", "*.a.com", "b.*", "*")
	v.Routes = []*snapshot.Route{
		{Match: snapshot.RouteMatch{Path: snapshot.PathMatch{Kind: snapshot.PathSeparatedPrefix, Value: "/x"}, Fraction: -1, Query: []snapshot.QueryMatch{{Name: "q", Present: true}}}},
		{Match: snapshot.RouteMatch{Path: snapshot.PathMatch{Value: "/"}, Fraction: -1, Cookies: []snapshot.CookieMatch{{Name: "c"}}}, Redirect: &snapshot.Redirect{HasPrefix: true, Prefix: "/y", Port: 9}},
	}
	tb := table(f, v)
	f.Add("A.a.com:80", "/x/y?q=1&&=#f", "c=\"d\"; e")
	f.Add("[::1]:1", "", ";=;")
	f.Add(":", "?#", "c=")
	f.Fuzz(func(t *testing.T, h, p, cookie string) {
		r := request("GET", h, p, "cookie", cookie)
		_, rt := Find(tb, r)
		if e := Explain(tb, r); e.Route != rt {
			t.Fatal("Explain disagrees")
		}
		if rt != nil && rt.Redirect != nil {
			Location(nil, rt, r, false)
		}
	})
}

func big(t testing.TB, n int) *snapshot.RouteTable {
	hosts := []*snapshot.VirtualHost{host("any", "*")}
	for i := range n {
		s := fmt.Sprintf("svc-%d.ns", i)
		h := host(s, s, s+".svc", s+".svc.cluster.local", "*."+s+".example.com")
		h.Routes = []*snapshot.Route{
			{Match: snapshot.RouteMatch{Path: snapshot.PathMatch{Value: "/api/v1"}, Fraction: -1, Headers: []snapshot.HeaderMatch{{Name: "end-user", Kind: snapshot.HeaderString, Value: snapshot.StringMatch{Kind: snapshot.StringExact, Value: "x"}}}}},
			{Match: snapshot.RouteMatch{Path: snapshot.PathMatch{Value: "/"}, Fraction: -1}},
		}
		hosts = append(hosts, h)
	}
	return table(t, hosts...)
}

func TestFindDoesNotAllocate(t *testing.T) {
	tb := big(t, 1000)
	exact, wild := request("GET", "SVC-7.ns.svc:8080", "/api/v1/x?y"), request("GET", "a.svc-9.ns.example.com", "/")
	if n := testing.AllocsPerRun(100, func() {
		for _, r := range []*Request{exact, wild} {
			r.Init()
			if _, rt := Find(tb, r); rt == nil {
				t.Fatal("not found")
			}
		}
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func BenchmarkFind(b *testing.B) {
	tb := big(b, 1000)
	for name, h := range map[string]string{"exact": "svc-500.ns.svc.cluster.local:8080", "suffix": "a.svc-500.ns.example.com"} {
		b.Run(name, func(b *testing.B) {
			r := request("GET", h, "/api/v1/x?y", "end-user", "nobody")
			b.ReportAllocs()
			for b.Loop() {
				r.Init()
				Find(tb, r)
			}
		})
	}
}
