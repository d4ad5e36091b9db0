package mesh_test

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	networking "istio.io/api/networking/v1alpha3"

	"github.com/meshctl/meshctl/internal/mesh"
)

func route(t testing.TB, ns, name string, age int, spec string) *mesh.Config[*networking.VirtualService] {
	return &mesh.Config[*networking.VirtualService]{
		Origin: origin("VirtualService", ns, name, age), Spec: parse(t, &networking.VirtualService{}, spec), Hash: uint64(len(spec)),
	}
}

func resolve(t testing.TB, c *mesh.Config[*networking.VirtualService], others ...*mesh.Config[*networking.VirtualService]) (*mesh.VirtualService, []mesh.Problem) {
	t.Helper()
	before := proto.CloneOf(c.Spec)
	vs, problems := mesh.ResolveVirtualService(c, "cluster.local", nil, func(ns, name string) *mesh.Config[*networking.VirtualService] {
		for _, o := range others {
			if o.Origin.Namespace == ns && o.Origin.Name == name {
				return o
			}
		}
		return nil
	})
	if !proto.Equal(before, c.Spec) {
		t.Error("resolving changed the object")
	}
	return vs, problems
}

func TestResolveQualifies(t *testing.T) {
	t.Parallel()
	vs, problems := resolve(t, route(t, "ns", "v", 0, `{"hosts":["Reviews","x.com"],"gateways":["gw","mesh","other/gw","old.sys.svc.cluster.local"],
		"http":[{"match":[{"gateways":["gw"]}],"route":[{"destination":{"host":"reviews"}}],"mirror":{"host":"copy"}}],
		"tcp":[{"route":[{"destination":{"host":"db"}}]}],
		"tls":[{"match":[{"sniHosts":["x.com"]}],"route":[{"destination":{"host":"x.com"}}]}]}`))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	var hosts []string
	vs.Destinations(func(d *networking.Destination, _ mesh.Origin, path string) { hosts = append(hosts, path+"="+d.Host) })
	for _, c := range []struct{ what, got, want string }{
		{"hosts", strings.Join(vs.Hosts, " "), "reviews.ns.svc.cluster.local x.com"},
		{"gateways", strings.Join(vs.Gateways, " "), "ns/gw mesh other/gw sys/old"},
		{"match", vs.Spec.Http[0].Match[0].Gateways[0], "ns/gw"},
		{"destinations", strings.Join(hosts, " "), "spec.http[0].route[0].destination=reviews.ns.svc.cluster.local spec.http[0].mirror=copy.ns.svc.cluster.local " +
			"spec.tls[0].route[0].destination=x.com spec.tcp[0].route[0].destination=db.ns.svc.cluster.local"},
	} {
		if c.got != c.want {
			t.Errorf("%s: %s, want %s", c.what, c.got, c.want)
		}
	}
}

func TestResolveDelegates(t *testing.T) {
	t.Parallel()
	child := route(t, "team", "child", 0, `{"http":[
		{"name":"deep","match":[{"uri":{"prefix":"/a/b"}}],"route":[{"destination":{"host":"b"}}]},
		{"match":[{"uri":{"prefix":"/z"}}],"route":[{"destination":{"host":"z"}}]},
		{"route":[{"destination":{"host":"rest"}}]}]}`)
	parent := route(t, "ns", "parent", 0, `{"hosts":["h.com"],"http":[
		{"name":"root","match":[{"uri":{"prefix":"/a"},"headers":{"x":{"exact":"1"}}}],"timeout":"3s","delegate":{"name":"child","namespace":"team"}},
		{"match":[{"uri":{"prefix":"/gone"}}],"delegate":{"name":"missing"}},
		{"route":[{"destination":{"host":"default.com"}}]}]}`)
	vs, problems := resolve(t, parent, child)
	if len(problems) != 1 || !strings.Contains(problems[0].Message, "ns/missing does not exist") || problems[0].Field != "spec.http[1].delegate" {
		t.Errorf("problems: %v", problems)
	}
	want := parse(t, &networking.VirtualService{}, `{"hosts":["h.com"],"http":[
		{"name":"root-deep","timeout":"3s","match":[{"uri":{"prefix":"/a/b"},"headers":{"x":{"exact":"1"}}}],"route":[{"destination":{"host":"b.team.svc.cluster.local"}}]},
		{"name":"root","timeout":"3s","match":[{"uri":{"prefix":"/a"},"headers":{"x":{"exact":"1"}}}],"route":[{"destination":{"host":"rest.team.svc.cluster.local"}}]},
		{"route":[{"destination":{"host":"default.com"}}]}]}`)
	if !proto.Equal(vs.Spec, want) {
		t.Errorf("resolved:\n%v\nwant:\n%v", vs.Spec, want)
	}
	if len(vs.HTTPFrom) != 3 || vs.HTTPFrom[0].Origin.Name != "child" || vs.HTTPFrom[2].Origin.Name != "parent" {
		t.Errorf("origins: %v", vs.HTTPFrom)
	}
}

func TestFindVirtualServices(t *testing.T) {
	t.Parallel()
	var all []*mesh.VirtualService
	for _, c := range []*mesh.Config[*networking.VirtualService]{
		route(t, "ns", "young", 1, `{"hosts":["a.com"]}`),
		route(t, "ns", "old", 2, `{"hosts":["a.com"]}`),
		route(t, "ns", "wild", 9, `{"hosts":["*.com"]}`),
		route(t, "ns", "gateway", 9, `{"hosts":["a.com"],"gateways":["gw"]}`),
		route(t, "other", "private", 9, `{"hosts":["a.com"],"exportTo":["."]}`),
	} {
		vs, _ := resolve(t, c)
		all = append(all, vs)
	}
	for _, c := range []struct{ host, gateway, client, want string }{
		{"a.com", "mesh", "ns", "old young"},
		{"b.com", "mesh", "ns", "wild"},
		{"a.com", "ns/gw", "ns", "gateway"},
		{"a.com", "mesh", "other", "private old young"},
		{"a.org", "mesh", "ns", ""},
	} {
		var got []string
		for _, v := range mesh.FindVirtualServices(all, c.host, c.gateway, c.client) {
			got = append(got, v.Origin.Name)
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%s at %s for %s: %q, want %q", c.host, c.gateway, c.client, s, c.want)
		}
	}
}

func TestProxyFromNode(t *testing.T) {
	t.Parallel()
	good := mesh.NodeInfo{
		ID: "sidecar~10.0.0.1~a-1.ns~ns.svc.cluster.local",
		Metadata: map[string]any{
			"NAMESPACE": "ns", "SERVICE_ACCOUNT": "sa", "LABELS": map[string]any{"app": "a", "n": 1.0}, "MESHCTL_NATIVE": "1",
			"INSTANCE_IPS": "10.0.0.1,fd00::1", "DNS_CAPTURE": "true",
		},
	}
	p, err := mesh.ProxyFromNode(good)
	if err != nil {
		t.Fatal(err)
	}
	if p.Name != "a-1" || p.Namespace != "ns" || p.Dialect != mesh.DialectNative || !p.DNSCapture || p.Labels["app"] != "a" ||
		strings.Join(p.IPs, " ") != "10.0.0.1 fd00::1" || p.Interception != mesh.InterceptRedirect || len(p.Labels) != 1 {
		t.Errorf("got %+v", p)
	}
	for _, bad := range []mesh.NodeInfo{
		{ID: ""},
		{ID: "sidecar~10.0.0.1~a.ns"},
		{ID: "ztunnel~10.0.0.1~a.ns~d"},
		{ID: "sidecar~x~a.ns~d"},
		{ID: "sidecar~~a.ns~d"},
		{ID: "sidecar~10.0.0.1~a~d"},
		{ID: "sidecar~10.0.0.1~a.ns~d", Metadata: map[string]any{"NAMESPACE": "other"}},
		{ID: "sidecar~10.0.0.1~" + strings.Repeat("a", 600) + ".ns~d"},
	} {
		if p, err := mesh.ProxyFromNode(bad); err == nil {
			t.Errorf("node %.60q: accepted as %+v", bad.ID, p)
		}
	}
}

func FuzzProxyFromNode(f *testing.F) {
	f.Add("sidecar~10.0.0.1~a-1.ns~ns.svc.cluster.local", "ns")
	f.Fuzz(func(t *testing.T, id, ns string) {
		p, err := mesh.ProxyFromNode(mesh.NodeInfo{ID: id, Metadata: map[string]any{"NAMESPACE": ns}})
		if err == nil && (p.Name == "" || p.Namespace == "" || len(p.IPs) == 0) {
			t.Fatalf("accepted %q as %+v", id, p)
		}
	})
}
