package xdsgen_test

import (
	"testing"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	upstreamhttpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"github.com/google/go-cmp/cmp"
	meshv1 "istio.io/api/mesh/v1alpha1"
	networking "istio.io/api/networking/v1alpha3"

	"github.com/meshctl/meshctl/internal/controlplane/xdsgen"
	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/nametable"
)

func service(host, ns string, vips ...string) *mesh.Service {
	return &mesh.Service{Host: host, Namespace: ns, Name: host, Addresses: vips, Resolution: mesh.ResolveStatic, Origin: mesh.Origin{Kind: "Service", Namespace: ns, Name: host}}
}

func TestSettleDomains(t *testing.T) {
	t.Parallel()
	const domain = "default.svc.cluster.local"
	got := xdsgen.SettleDomains(domain, []xdsgen.RouteHost{
		{Host: "reviews", VirtualService: &mesh.VirtualService{Origin: mesh.Origin{Kind: "VirtualService", Name: "a"}}},
		{Service: service("reviews.default.svc.cluster.local", "default", "10.0.0.1", "fd00::1")},
		{Service: service("reviews.other.svc.cluster.local", "other", "10.0.0.2")},
		{Service: service("b.example.com", "default", "10.0.0.9")},
		{Service: service("c.example.com", "default", "10.0.0.9", "10.0.0.0/24")},
		{Service: service("*.wild.example.com", "default")},
		{Service: &mesh.Service{Host: "db.default.svc.cluster.local", Headless: true}},
		{Host: "b.example.com", VirtualService: &mesh.VirtualService{Origin: mesh.Origin{Kind: "VirtualService", Name: "b"}}},
	})
	want := [][]string{
		{"reviews", "reviews."}, // a full name goes before another's alias
		{"reviews.default.svc.cluster.local", "reviews.default.svc.cluster.local.", "reviews.default.svc", "reviews.default", "10.0.0.1", "[fd00::1]"},
		{"reviews.other.svc.cluster.local", "reviews.other.svc.cluster.local.", "reviews.other.svc", "reviews.other", "10.0.0.2"},
		{"b.example.com", "b.example.com.", "10.0.0.9"},
		{"c.example.com", "c.example.com."},
		{"*.wild.example.com"},
		{
			"db.default.svc.cluster.local", "db.default.svc.cluster.local.", "db.default.svc", "db.default", "db",
			"*.db.default.svc.cluster.local", "*.db.default.svc.cluster.local.", "*.db.default.svc", "*.db.default", "*.db",
		},
		{}, // a service goes before a host of a virtual service
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestSecretNames(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, ns, credential string
		ca, ok               bool
	}{
		{"kubernetes://shop", "", "shop", false, true},
		{"kubernetes://ns/shop-cacert", "ns", "shop", true, true},
		{"kubernetes-gateway://ns/shop", "ns", "shop", false, true},
		{"kubernetes://", "", "", false, false},
		{"kubernetes://a/b/c", "a", "b/c", false, false},
		{"file-cert:x", "", "", false, false},
	} {
		ns, credential, ca, ok := xdsgen.ParseSecretName(c.name)
		if ok != c.ok || ok && (ns != c.ns || credential != c.credential || ca != c.ca) {
			t.Errorf("%s: %q %q %v %v", c.name, ns, credential, ca, ok)
		}
	}
}

func TestSecret(t *testing.T) {
	t.Parallel()
	c := &mesh.Certificate{Namespace: "ns", Name: "shop", Chain: []byte("chain"), Key: []byte("key")}
	s, err := xdsgen.Secret(xdsgen.SecretInput{Name: "kubernetes://shop", Certificate: c})
	if err != nil || string(s.GetTlsCertificate().GetPrivateKey().GetInlineBytes()) != "key" {
		t.Error(s.GetName(), err)
	}
	if _, err := xdsgen.Secret(xdsgen.SecretInput{Name: "kubernetes://shop-cacert", Certificate: c}); err == nil {
		t.Error("a CA was made of a secret without one")
	}
	if _, err := xdsgen.Secret(xdsgen.SecretInput{Name: "kubernetes://none"}); err == nil {
		t.Error("a secret was made of nothing")
	}
}

func TestNameTable(t *testing.T) {
	t.Parallel()
	vip := service("a.default.svc.cluster.local", "default", "10.0.0.1", "10.0.0.0/8")
	vip.Registry, vip.Name = mesh.RegistryKubernetes, "a"
	headless := service("db.default.svc.cluster.local", "default")
	headless.Registry, headless.Name, headless.Headless = mesh.RegistryKubernetes, "db", true
	auto := service("api.example.com", "default")
	auto.Registry, auto.AutoAddresses = mesh.RegistryExternal, []string{"240.240.0.1"}
	got := xdsgen.NameTable(xdsgen.NameTableInput{Services: []xdsgen.NameTableService{
		{Service: auto},
		{Service: vip},
		{Service: service("nothing.example.com", "default")},
		{Service: headless, Endpoints: []*mesh.Endpoint{
			{Address: "10.1.0.2", Hostname: "db-1", Health: mesh.Healthy},
			{Address: "10.1.0.1", Hostname: "db-0", Health: mesh.Healthy},
			{Address: "10.1.0.3", Hostname: "db-2", Health: mesh.Unhealthy},
			{Address: "name.example.com"},
		}},
	}})
	k := func(short string, ips ...string) nametable.Info {
		return nametable.Info{IPs: ips, Registry: mesh.RegistryKubernetes, Shortname: short, Namespace: "default"}
	}
	want := nametable.Table{
		"a.default.svc.cluster.local":       k("a", "10.0.0.1"),
		"db.default.svc.cluster.local":      k("db", "10.1.0.1", "10.1.0.2"),
		"db-0.db.default.svc.cluster.local": k("db-0.db", "10.1.0.1"),
		"db-1.db.default.svc.cluster.local": k("db-1.db", "10.1.0.2"),
		"api.example.com":                   {IPs: []string{"240.240.0.1"}, Registry: mesh.RegistryExternal, Namespace: "default"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// placed are priorities and weights by locality.
func placed(a *endpointv3.ClusterLoadAssignment) map[string][2]uint32 {
	out := map[string][2]uint32{}
	for _, g := range a.Endpoints {
		l := g.GetLocality()
		out[mesh.Locality{Region: l.GetRegion(), Zone: l.GetZone()}.String()] = [2]uint32{g.Priority, g.GetLoadBalancingWeight().GetValue()}
	}
	return out
}

func TestLocality(t *testing.T) {
	t.Parallel()
	var eps []*mesh.Endpoint
	for i, l := range []string{"r1/z1", "r1/z2", "r2/z1", "r3/z1"} {
		eps = append(eps, &mesh.Endpoint{Address: "10.0.0." + string(rune('1'+i)), Port: 80, ServicePort: 80, Locality: mesh.ParseLocality(l), Health: mesh.Healthy, Weight: 2, Labels: map[string]string{"tier": l[:2]}})
	}
	base := func(s *networking.LocalityLoadBalancerSetting, outlier bool) xdsgen.EndpointsInput {
		p := &networking.TrafficPolicy{LoadBalancer: &networking.LoadBalancerSettings{LocalityLbSetting: s}}
		if outlier {
			p.OutlierDetection = &networking.OutlierDetection{}
		}
		return xdsgen.EndpointsInput{
			Common: xdsgen.Common{Mesh: &mesh.MeshConfig{MeshConfig: &meshv1.MeshConfig{}}, Dialect: mesh.DialectNative}, Service: service("a.b", "ns"), Port: mesh.Port{Number: 80},
			Endpoints: eps, Client: mesh.ParseLocality("r1/z1"), ClientLabels: map[string]string{"tier": "r2"}, Policy: &mesh.DestinationPolicy{Traffic: p},
		}
	}
	for name, c := range map[string]struct {
		in   xdsgen.EndpointsInput
		want map[string][2]uint32
	}{
		"without outlier detection nothing fails over": {
			base(&networking.LocalityLoadBalancerSetting{}, false),
			map[string][2]uint32{"r1/z1": {0, 2}, "r1/z2": {0, 2}, "r2/z1": {0, 2}, "r3/z1": {0, 2}},
		},
		"near before far, then where failover says": {
			base(&networking.LocalityLoadBalancerSetting{Failover: []*networking.LocalityLoadBalancerSetting_Failover{{From: "r1", To: "r3"}}}, true),
			map[string][2]uint32{"r1/z1": {0, 2}, "r1/z2": {1, 2}, "r3/z1": {2, 2}, "r2/z1": {3, 2}},
		},
		"by labels": {
			base(&networking.LocalityLoadBalancerSetting{FailoverPriority: []string{"tier"}}, true),
			map[string][2]uint32{"r2/z1": {0, 2}, "r1/z1": {1, 2}, "r1/z2": {1, 2}, "r3/z1": {1, 2}},
		},
		"distributed": {
			base(&networking.LocalityLoadBalancerSetting{Distribute: []*networking.LocalityLoadBalancerSetting_Distribute{{From: "r1/*", To: map[string]uint32{"r1/z1": 80, "r1/*": 15, "r2/*": 5}}}}, false),
			map[string][2]uint32{"r1/z1": {0, 80_000}, "r1/z2": {0, 15_000}, "r2/z1": {0, 5_000}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(c.want, placed(xdsgen.LoadAssignment(c.in))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A redirect to the port of its scheme used to name port 80 also on a server of
// HTTPS, and to write out a port that the scheme says already.
func TestDerivedRedirectPorts(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		scheme string
		derive networking.HTTPRedirect_RedirectPortSelection
		want   uint32
	}{
		{"", networking.HTTPRedirect_FROM_PROTOCOL_DEFAULT, 0},
		{"https", networking.HTTPRedirect_FROM_PROTOCOL_DEFAULT, 0},
		{"https", networking.HTTPRedirect_FROM_REQUEST_PORT, 8443},
	} {
		vs := &mesh.VirtualService{Origin: mesh.Origin{Kind: "VirtualService", Name: "a"}, Hosts: []string{"a.example.com"}, Spec: &networking.VirtualService{
			Hosts: []string{"a.example.com"}, Http: []*networking.HTTPRoute{{Redirect: &networking.HTTPRedirect{
				Scheme: c.scheme, RedirectPort: &networking.HTTPRedirect_DerivePort{DerivePort: c.derive},
			}}},
		}}
		routes, found := xdsgen.OutboundRoutes(xdsgen.RouteInput{Name: "8443", Port: 8443, Hosts: []xdsgen.RouteHost{{Host: "a.example.com", VirtualService: vs}}})
		if len(found) > 0 {
			t.Fatal(found)
		}
		if got := routes.VirtualHosts[0].Routes[0].GetRedirect().GetPortRedirect(); got != c.want {
			t.Errorf("%s %s: port %d, want %d", c.scheme, c.derive, got, c.want)
		}
	}
}

// Of a port that does not say its protocol a sidecar speaks what its program does; a
// gateway speaks HTTP/1.1, whatever a browser speaks with it.
func TestProtocolTowardsAPortThatDoesNotSayIt(t *testing.T) {
	t.Parallel()
	for _, gateway := range []bool{false, true} {
		c, found := xdsgen.OutboundCluster(xdsgen.ClusterInput{
			Common:  xdsgen.Common{Mesh: &mesh.MeshConfig{MeshConfig: &meshv1.MeshConfig{}}, Dialect: mesh.DialectNative},
			Service: service("web.default.svc.cluster.local", "default", "10.0.0.1"), Port: mesh.Port{Number: 80, Name: "web"}, NoCapture: gateway, Gateway: gateway,
		})
		if c == nil || len(found) > 0 {
			t.Fatal(c, found)
		}
		var o upstreamhttpv3.HttpProtocolOptions
		if a := c.TypedExtensionProtocolOptions["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"]; a != nil {
			if err := a.UnmarshalTo(&o); err != nil {
				t.Fatal(err)
			}
		}
		if follows := o.GetUseDownstreamProtocolConfig() != nil; follows == gateway {
			t.Errorf("gateway %v: %v", gateway, &o)
		}
	}
}
