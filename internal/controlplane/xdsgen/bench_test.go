package xdsgen_test

import (
	"testing"

	meshv1 "istio.io/api/mesh/v1alpha1"

	"github.com/meshctl/meshctl/internal/controlplane/xdsgen"
	"github.com/meshctl/meshctl/internal/mesh"
)

// One service of one port is the unit in which configuration changes.
func BenchmarkService(b *testing.B) {
	s := service("reviews.default.svc.cluster.local", "default", "10.0.0.1")
	s.Ports = []mesh.Port{{Name: "http", Number: 9080, Protocol: mesh.ProtocolHTTP}}
	common := xdsgen.Common{Mesh: &mesh.MeshConfig{MeshConfig: &meshv1.MeshConfig{}, TrustDomains: []string{"cluster.local"}}, Dialect: mesh.DialectNative}
	b.Run("cluster", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			c, _ := xdsgen.OutboundCluster(xdsgen.ClusterInput{Common: common, Service: s, Port: s.Ports[0], AutoMTLS: true, ServiceAccounts: []string{"spiffe://cluster.local/ns/default/sa/reviews"}})
			if _, _, err := xdsgen.Encode(c); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("virtual host", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			v, _ := xdsgen.VirtualHost(xdsgen.VirtualHostInput{Common: common, Node: xdsgen.Node{DNSDomain: "default.svc.cluster.local"}, RouteHost: xdsgen.RouteHost{Service: s}, Port: 9080})
			if _, _, err := xdsgen.Encode(v); err != nil {
				b.Fatal(err)
			}
		}
	})
}
