package xdsgen_test

import (
	"strings"
	"testing"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/meshctl/meshctl/internal/controlplane/xdsgen"
	"github.com/meshctl/meshctl/internal/controlplane/xdsgen/xdsgentest"
	"github.com/meshctl/meshctl/internal/mesh"
)

// What takes any address takes those of both IP versions where there are both, and
// nothing else changes but that.
func TestListenersOfBothVersions(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := xdsgentest.Draw(t)
		for _, d := range []mesh.Dialect{mesh.DialectEnvoy, mesh.DialectNative} {
			s.Workload.IPv6 = false
			without := [][]proto.Message{s.SidecarBundle(d).Listeners, s.GatewayBundle(d).Listeners}
			s.Workload.IPv6 = true
			for i, with := range [][]proto.Message{s.SidecarBundle(d).Listeners, s.GatewayBundle(d).Listeners} {
				before := map[string]*listenerv3.Listener{}
				for _, m := range without[i] {
					l := m.(*listenerv3.Listener)
					before[l.Name] = l
					if len(l.AdditionalAddresses) > 0 {
						t.Fatalf("without IPv6 %s has %v", l.Name, l.AdditionalAddresses)
					}
				}
				for _, m := range with {
					l := m.(*listenerv3.Listener)
					at := l.GetAddress().GetSocketAddress()
					var want []string
					if at.Address == "0.0.0.0" {
						want = []string{"::"}
					}
					var got []string
					for _, a := range l.AdditionalAddresses {
						if p := a.GetAddress().GetSocketAddress(); p.GetPortValue() == at.GetPortValue() {
							got = append(got, p.GetAddress())
						}
					}
					if diff := cmp.Diff(want, got); diff != "" {
						t.Fatalf("%s: %s", l.Name, diff)
					}
					l.AdditionalAddresses = nil
					old := before[l.Name]
					if old == nil && strings.Contains(at.Address, ":") {
						continue // of an address that is called over IPv6
					}
					if !proto.Equal(l, old) {
						t.Fatalf("%s changed", l.Name)
					}
				}
			}
		}
	})
}

// TestDualStackEndpoints: who has both versions gets both addresses of a pod, and who has
// not gets the one it can call. Our own proxy calls the first.
func TestDualStackEndpoints(t *testing.T) {
	t.Parallel()
	in := xdsgen.EndpointsInput{
		Common: xdsgen.Common{Mesh: &mesh.MeshConfig{}, Dialect: mesh.DialectEnvoy}, Service: service("web.shop.svc.cluster.local", "shop", "fd00:96::1", "10.96.0.1"), Port: mesh.Port{Name: "http", Number: 80},
		Endpoints: []*mesh.Endpoint{
			{Address: "fd00::1", Additional: []string{"10.1.0.1"}, Port: 8080, ServicePort: 80, Pod: "shop/a", Health: mesh.Healthy},
			{Address: "fd00::2", Port: 8080, ServicePort: 80, Pod: "shop/b", Health: mesh.Healthy},
		},
	}
	addresses := func() []string {
		var out []string
		for _, e := range xdsgen.LoadAssignment(in).Endpoints[0].LbEndpoints {
			one := []string{e.GetEndpoint().GetAddress().GetSocketAddress().GetAddress()}
			for _, a := range e.GetEndpoint().AdditionalAddresses {
				one = append(one, a.GetAddress().GetSocketAddress().GetAddress())
			}
			out = append(out, strings.Join(one, "+"))
		}
		return out
	}
	for _, c := range []struct {
		ipv6    bool
		dialect mesh.Dialect
		want    []string
	}{
		{true, mesh.DialectEnvoy, []string{"fd00::1+10.1.0.1", "fd00::2"}},
		{true, mesh.DialectNative, []string{"fd00::1", "fd00::2"}},
		{false, mesh.DialectEnvoy, []string{"10.1.0.1", "fd00::2"}},
		{false, mesh.DialectNative, []string{"10.1.0.1", "fd00::2"}},
	} {
		in.IPv6, in.Dialect = c.ipv6, c.dialect
		if diff := cmp.Diff(c.want, addresses()); diff != "" {
			t.Errorf("IPv6 %v, %s: %s", c.ipv6, c.dialect, diff)
		}
	}
}

// A sidecar without capture binds the addresses of services themselves: those of a
// version that its pod does not have it could not.
func TestUnreachableAddressesAreNotBound(t *testing.T) {
	t.Parallel()
	s := service("db.shop.svc.cluster.local", "shop", "10.96.0.5", "fd00:96::5")
	s.Ports = []mesh.Port{{Name: "tcp", Number: 5432, Protocol: mesh.ProtocolTCP}}
	in := xdsgen.OutboundInput{
		Common: xdsgen.Common{Mesh: &mesh.MeshConfig{}, Dialect: mesh.DialectEnvoy}, Services: []xdsgen.OutboundService{{Service: s}},
		Node: xdsgen.Node{Type: mesh.Sidecar, Namespace: "shop", DNSDomain: "shop.svc.cluster.local", Interception: mesh.InterceptNone},
	}
	for ipv6, want := range map[bool][]string{false: {"10.96.0.5_5432"}, true: {"10.96.0.5_5432", "fd00:96::5_5432"}} {
		in.Node.IPv6 = ipv6
		ls, _ := xdsgen.OutboundListeners(in)
		var names []string
		for _, l := range ls {
			names = append(names, l.Name)
		}
		if diff := cmp.Diff(want, names); diff != "" {
			t.Errorf("IPv6 %v: %s", ipv6, diff)
		}
	}
}
