package interop

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	secretv3 "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/meshctl/meshctl/internal/controlplane/xdsgen/xdsgentest"
	"github.com/meshctl/meshctl/internal/controlplane/xdsserve"
	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/testenv/stockenvoy"
)

const bootstrap = `{
 "node": {"id": "sidecar~10.0.0.1~p-1.default~default.svc.cluster.local", "cluster": "productpage.default",
  "metadata": {"WORKLOAD_NAME": "productpage-v1", "NAMESPACE": "default", "CLUSTER_ID": "Kubernetes", "LABELS": {"app": "productpage"}}},
 ` + stockenvoy.Admin + `,
 "dynamic_resources": {
  "ads_config": {"api_type": "GRPC", "transport_api_version": "V3", "grpc_services": [{"envoy_grpc": {"cluster_name": "xds-grpc"}}]},
  "cds_config": {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"},
  "lds_config": {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"}},
 "static_resources": {"clusters": [%s]}
}`

func startEnvoy(t *testing.T, port int) *stockenvoy.Envoy {
	t.Helper()
	return stockenvoy.Start(t, fmt.Sprintf(bootstrap, stockenvoy.GRPCCluster("xds-grpc", port)+","+stockenvoy.GRPCCluster("sds-grpc", port)))
}

// everyone shows the same resources to whoever asks.
type everyone struct{ feed *xdsserve.Feed }

func (s everyone) Open(context.Context, *corev3.Node, xdsserve.Peer) (xdsserve.Watch, error) {
	return s.feed, nil
}

// secrets serves the agent's secrets on the agent's socket's stead.
type secrets struct {
	secretv3.UnimplementedSecretDiscoveryServiceServer
	server *xdsserve.Server
}

func (s secrets) StreamSecrets(stream secretv3.SecretDiscoveryService_StreamSecretsServer) error {
	return s.server.StreamAggregatedResources(stream)
}

// serve starts a control plane with resources and gives its port.
func serve(t *testing.T, resources []proto.Message) (port int, ledger *xdsserve.Ledger) {
	t.Helper()
	byType := map[string][]*xdsserve.Resource{}
	for _, m := range resources {
		r, err := xdsserve.NewResource(nameOf(m), m)
		if err != nil {
			t.Fatal(err)
		}
		byType[r.TypeURL()] = append(byType[r.TypeURL()], r)
	}
	snap := &xdsserve.Snapshot{Generation: 1, Sets: map[string]*xdsserve.Set{}}
	for url, l := range byType {
		set, err := xdsserve.NewSet(nil, l)
		if err != nil {
			t.Fatal(err)
		}
		snap.Sets[url] = set
	}
	srv := xdsserve.NewServer(xdsserve.Inputs{Source: everyone{xdsserve.NewFeed(snap, nil)}, Logger: slog.New(slog.DiscardHandler)})
	gs := grpc.NewServer(srv.GRPCOptions()...)
	srv.Register(gs)
	secretv3.RegisterSecretDiscoveryServiceServer(gs, secrets{server: srv})
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // a test
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = gs.Serve(l) }()
	t.Cleanup(func() { gs.Stop(); <-done })
	return l.Addr().(*net.TCPAddr).Port, srv.Ledger()
}

// testSecrets are certificates under all names that the scenarios use.
func testSecrets(t *testing.T) []proto.Message {
	t.Helper()
	read := func(f string) *corev3.DataSource {
		b, err := os.ReadFile(filepath.Join("testdata", f))
		if err != nil {
			t.Fatal(err)
		}
		return &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: b}}
	}
	var out []proto.Message
	for _, n := range []string{"default", "kubernetes://shop", "kubernetes://shop-ec", "kubernetes://mutual", "kubernetes://client-credential", "kubernetes://c"} {
		out = append(out, &tlsv3.Secret{Name: n, Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: &tlsv3.TlsCertificate{CertificateChain: read("cert.pem"), PrivateKey: read("key.pem")}}})
	}
	for _, n := range []string{"ROOTCA", "kubernetes://mutual-cacert", "kubernetes://ca-cacert", "kubernetes://client-credential-cacert", "kubernetes://c-cacert"} {
		out = append(out, &tlsv3.Secret{Name: n, Type: &tlsv3.Secret_ValidationContext{ValidationContext: &tlsv3.CertificateValidationContext{TrustedCa: read("cert.pem")}}})
	}
	return out
}

// bindable gives listeners that bind a real port one that is free: the resources
// are the same otherwise.
func bindable(b *xdsgentest.Bundle) {
	for _, m := range b.Listeners {
		l := m.(*listenerv3.Listener)
		if l.BindToPort == nil || l.BindToPort.Value {
			a := l.Address.GetSocketAddress()
			a.Address, a.PortSpecifier = "127.0.0.1", &corev3.SocketAddress_PortValue{PortValue: 0}
			l.Transparent = nil // needs a privilege
		}
	}
}

func TestStockEnvoyTakesEverything(t *testing.T) {
	t.Parallel()
	stockenvoy.Find(t)
	for _, v := range variants() {
		t.Run(v.name, func(t *testing.T) { takes(t, v.bundle(t, mesh.DialectEnvoy)) })
	}
	random := rapid.Custom(xdsgentest.Draw)
	for seed := range 8 {
		t.Run(fmt.Sprint("random ", seed), func(t *testing.T) {
			s := random.Example(seed)
			takes(t, s.SidecarBundle(mesh.DialectEnvoy))
			takes(t, s.GatewayBundle(mesh.DialectEnvoy))
		})
	}
}

// takes starts an Envoy with the resources and finds all of them in force.
func takes(t *testing.T, b *xdsgentest.Bundle) {
	t.Helper()
	bindable(b)
	port, ledger := serve(t, slices.Concat(b.All(), testSecrets(t)))
	e := startEnvoy(t, port)
	e.Until("all clusters and listeners", func() bool {
		s := e.Stats()
		return s["cluster_manager.cds.update_success"]+s["cluster_manager.cds.update_rejected"] > 0 &&
			s["listener_manager.lds.update_success"]+s["listener_manager.lds.update_rejected"] > 0 &&
			(s["listener_manager.total_listeners_active"] >= len(b.Listeners) || s["listener_manager.lds.update_rejected"] > 0) &&
			s["listener_manager.total_listeners_warming"] == 0
	})
	stats := e.Stats()
	for name, n := range stats {
		if n > 0 && (strings.HasSuffix(name, "update_rejected") || strings.HasSuffix(name, "config_fail") || strings.HasSuffix(name, "listener_create_failure")) {
			t.Errorf("%s is %d", name, n)
		}
	}
	if n := stats["cluster_manager.active_clusters"]; n != len(b.Clusters)+2 {
		t.Errorf("%d clusters are active, want %d", n, len(b.Clusters)+2)
	}
	var dynamic []string
	for _, m := range b.Clusters {
		dynamic = append(dynamic, m.(*clusterv3.Cluster).Name)
	}
	known := e.Get("/clusters")
	for _, n := range dynamic {
		if !strings.Contains(known, n+"::") {
			t.Errorf("cluster %s is not there", n)
		}
	}
	asked, tables := e.Get("/config_dump?resource=dynamic_listeners"), e.Get("/config_dump?resource=dynamic_route_configs")
	for _, r := range b.Routes { // servers that are not opened do not ask for theirs
		if strings.Contains(asked, `"route_config_name": "`+nameOf(r)+`"`) && !strings.Contains(tables, `"name": "`+nameOf(r)+`"`) {
			t.Errorf("route configuration %s is not there", nameOf(r))
		}
	}
	for _, row := range ledger.Sessions() {
		if t.Failed() {
			t.Logf("%+v", row)
		}
	}
}
