package xdsgen_test

import (
	"testing"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	networking "istio.io/api/networking/v1alpha3"

	"github.com/meshctl/meshctl/internal/controlplane/xdsgen"
	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/resource"
)

// listenerInput is a gateway with one HTTPS listener of the Gateway API.
func listenerInput(mode networking.ServerTLSSettings_TLSmode) xdsgen.GatewayInput {
	origin := mesh.Origin{Kind: "Gateway", Namespace: "edge", Name: "front"}
	return xdsgen.GatewayInput{
		Common: xdsgen.Common{Mesh: &mesh.MeshConfig{MeshConfig: resource.DefaultMeshConfig(), ClusterDomain: "cluster.local"}, Dialect: mesh.DialectNative},
		Node:   xdsgen.Node{Type: mesh.Router, Namespace: "edge", DNSDomain: "edge.svc.cluster.local"},
		Servers: []mesh.GatewayServer{{
			Gateway: "edge/front~one", Field: "spec.listeners[0]", Origin: origin, Protocol: mesh.ProtocolHTTPS, Port: 443, BindPort: 443, Granted: true,
			Server: &networking.Server{
				Port: &networking.Port{Number: 443, Protocol: "HTTPS", Name: "one"}, Hosts: []string{"*/one.example.com"},
				Tls: &networking.ServerTLSSettings{Mode: mode, CredentialNames: []string{"kubernetes-gateway://edge/cert"}, CaCertCredentialName: "kubernetes-gateway://edge/configmap:clients"},
			},
			Hosts: []mesh.HostPattern{{Namespace: "*", Host: "one.example.com"}},
		}},
		VirtualServices: []*mesh.VirtualService{{
			Origin: origin, Key: "routes", Hosts: []string{"one.example.com"}, Gateways: []string{"edge/front~one"}, ExportTo: mesh.Visibility{All: true},
			Spec: &networking.VirtualService{
				Hosts: []string{"one.example.com"}, Http: []*networking.HTTPRoute{{DirectResponse: &networking.HTTPDirectResponse{Status: 204}}},
			},
		}},
	}
}

// Hosts of other listeners of the port are answered 421, the listener's own are not.
func TestMisdirectedRequests(t *testing.T) {
	t.Parallel()
	in := listenerInput(networking.ServerTLSSettings_SIMPLE)
	in.Servers[0].Elsewhere = []string{"*", "*.example.com"}
	tables, found := xdsgen.GatewayRoutes(in)
	if len(tables) != 1 || len(found) > 0 {
		t.Fatalf("%d tables, findings %v", len(tables), found)
	}
	got := map[string]uint32{}
	for _, h := range tables[0].VirtualHosts {
		got[h.Domains[0]] = h.Routes[0].GetDirectResponse().GetStatus()
	}
	for host, want := range map[string]uint32{"one.example.com": 204, "*": 421, "*.example.com": 421} {
		if got[host] != want {
			t.Errorf("%s is answered %d, not %d", host, got[host], want)
		}
	}
}

// A listener that serves clients whatever certificate they show asks for one.
func TestUnverifiedClients(t *testing.T) {
	t.Parallel()
	in := listenerInput(networking.ServerTLSSettings_OPTIONAL_MUTUAL)
	for _, unverified := range []bool{false, true} {
		in.Servers[0].Unverified = unverified
		listeners, found := xdsgen.GatewayListeners(in)
		if len(listeners) != 1 || len(found) > 0 {
			t.Fatalf("%d listeners, findings %v", len(listeners), found)
		}
		var tls tlsv3.DownstreamTlsContext
		if err := listeners[0].FilterChains[0].TransportSocket.GetTypedConfig().UnmarshalTo(&tls); err != nil {
			t.Fatal(err)
		}
		v := tls.CommonTlsContext.GetCombinedValidationContext()
		untrusted := v.GetDefaultValidationContext().GetTrustChainVerification() == tlsv3.CertificateValidationContext_ACCEPT_UNTRUSTED
		if untrusted != unverified || v.GetValidationContextSdsSecretConfig().GetName() == "" || tls.RequireClientCertificate.GetValue() {
			t.Errorf("unverified %v: %v", unverified, &tls)
		}
	}
}

// A gateway shows its certificate where the owner of a service wants TLS, and only there.
func TestClientCertificateOfAGateway(t *testing.T) {
	t.Parallel()
	s := service("web.default.svc.cluster.local", "default", "10.0.0.1")
	s.BackendTLS = map[uint32]*mesh.BackendTLS{443: {TLS: &networking.ClientTLSSettings{
		Mode: networking.ClientTLSSettings_SIMPLE, Sni: "web.example.com", SubjectAltNames: []string{"web.example.com"}, CaCertificates: "system",
	}}}
	for _, port := range []uint32{80, 443} {
		c, found := xdsgen.OutboundCluster(xdsgen.ClusterInput{
			Common:  xdsgen.Common{Mesh: &mesh.MeshConfig{MeshConfig: resource.DefaultMeshConfig()}, Dialect: mesh.DialectNative},
			Service: s, Port: mesh.Port{Number: port, Name: "http", Protocol: mesh.ProtocolHTTP}, NoCapture: true, Gateway: true, ClientCertificate: "kubernetes-gateway://edge/cert",
		})
		if c == nil || len(found) > 0 {
			t.Fatal(c, found)
		}
		var tls tlsv3.UpstreamTlsContext
		if c.TransportSocket != nil {
			if err := c.TransportSocket.GetTypedConfig().UnmarshalTo(&tls); err != nil {
				t.Fatal(err)
			}
		}
		shown := tls.GetCommonTlsContext().GetTlsCertificateSdsSecretConfigs()
		if port == 443 && (len(shown) != 1 || shown[0].Name != "kubernetes-gateway://edge/cert") || port == 80 && len(shown) > 0 {
			t.Errorf("port %d: %v", port, c)
		}
	}
}
