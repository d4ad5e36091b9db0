package controlplane_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	statusv3 "github.com/envoyproxy/go-control-plane/envoy/service/status/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/meshctl/meshctl/internal/controlplane"
	"github.com/meshctl/meshctl/internal/identity"
)

// TestQuestionsOverXDS: istioctl asks over xDS how far proxies are and what one is
// sent; who asks is no proxy, and must be somebody who may see the whole mesh.
func TestQuestionsOverXDS(t *testing.T) {
	t.Parallel()
	p := newPlane(t, controlplane.Settings{Instance: "istiod-1"})
	p.apply(shop + "---\napiVersion: v1\nkind: Secret\nmetadata: {name: cert, namespace: shop}\nstringData: {tls.crt: PUBLIC, tls.key: PRIVATEKEY}\n")
	p.connect(node("reviews-1.shop", "sidecar", true, nil))
	ask := func(p *plane, typeURL string, names ...string) (*discoveryv3.DiscoveryResponse, error) {
		t.Helper()
		conn, err := grpc.NewClient(p.addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).StreamAggregatedResources(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		who := &corev3.Node{Id: "debug~0.0.0.0~istioctl~cluster.local"}
		if err := stream.Send(&discoveryv3.DiscoveryRequest{Node: who, TypeUrl: typeURL, ResourceNames: names, ResponseNonce: "istioctl's own"}); err != nil {
			t.Fatal(err)
		}
		return stream.Recv()
	}
	r, err := ask(p, "istio.io/debug/syncz")
	if err != nil {
		t.Fatal(err)
	}
	var client statusv3.ClientConfig
	if len(r.Resources) != 1 || !strings.Contains(r.GetControlPlane().GetIdentifier(), `"ID":"istiod-1"`) {
		t.Fatalf("syncz: %v", r)
	}
	if err := r.Resources[0].UnmarshalTo(&client); err != nil || client.GetNode().GetId() != "reviews-1.shop" || len(client.GenericXdsConfigs) == 0 {
		t.Errorf("syncz: %v, %v", &client, err)
	}
	for _, c := range []struct {
		typeURL string
		names   []string
	}{{"istio.io/debug/config_dump", []string{"reviews-1.shop"}}, {"istio.io/debug/config_dump?proxyID=reviews-1.shop", nil}} {
		r, err := ask(p, c.typeURL, c.names...)
		if err != nil {
			t.Fatal(err)
		}
		var clusters adminv3.ClustersConfigDump
		if len(r.Resources) == 0 || r.Resources[0].UnmarshalTo(&clusters) != nil || len(clusters.DynamicActiveClusters) == 0 {
			t.Errorf("%s: %d parts", c.typeURL, len(r.Resources))
		}
	}
	r, err = ask(p, "istio.io/debug", "configz")
	if err != nil || len(r.Resources) != 1 || !bytes.Contains(r.Resources[0].Value, []byte("VirtualService")) || bytes.Contains(r.Resources[0].Value, []byte("PRIVATEKEY")) {
		t.Errorf("configz: %v", err)
	}
	for page, want := range map[string]string{
		"adsz": "type.googleapis.com/envoy.config.cluster.v3.Cluster", "edsz?proxyID=reviews-1.shop": "clusterName", "instancesz": "[", "authorizationz": "[", "networkz": "[",
	} {
		if r, err = ask(p, "istio.io/debug", page); err != nil || len(r.Resources) != 1 || !strings.Contains(string(r.Resources[0].Value), want) {
			t.Errorf("%s: %v, %v", page, r, err)
		}
	}
	if _, err := ask(p, "istio.io/debug", "nonsensez"); status.Code(err) != codes.NotFound || !strings.Contains(err.Error(), "there are syncz, registryz") {
		t.Errorf("a page that is not there: %v", err)
	}
	if _, err := ask(p, "istio.io/debug/config_dump", "nobody.shop"); status.Code(err) != codes.NotFound {
		t.Errorf("a dump of nobody: %v", err)
	}
	if _, err := ask(p, "istio.io/debug/config_dump"); status.Code(err) != codes.InvalidArgument {
		t.Errorf("a dump without a name: %v", err)
	}
	if got := len(p.cp.Server().Ledger().Sessions()); got != 1 {
		t.Errorf("%d sessions: who asks is one", got)
	}
	pageOf(t, p, "/debug/syncz", `"cluster_id": "Kubernetes"`)
	several := newPlane(t, controlplane.Settings{Cluster: "west", RemoteCluster: func(id string) bool { return id == "east" }})
	several.apply(shop)
	for pod, cluster := range map[string]string{"reviews-1.shop": "east", "reviews-2.shop": ""} { // one that names none is at home
		n := node(pod, "sidecar", true, nil)
		n.Metadata.Fields["CLUSTER_ID"] = structpb.NewStringValue(cluster)
		several.connect(n)
	}
	if r, err = ask(several, "istio.io/debug/syncz"); err != nil || len(r.Resources) != 2 {
		t.Fatalf("two clusters: %v, %v", r, err)
	}
	for i, want := range []string{"east", "west"} {
		if err := r.Resources[i].UnmarshalTo(&client); err != nil || client.GetNode().GetMetadata().GetFields()["CLUSTER_ID"].GetStringValue() != want {
			t.Errorf("a proxy of %s: %v, %v", want, &client, err)
		}
	}
	pageOf(t, several, "/debug/syncz", `"cluster_id": "east"`, `"cluster_id": "west"`)
	stranger := newPlane(t, controlplane.Settings{Authenticator: caller{id: identity.ID{TrustDomain: "cluster.local", Namespace: "shop", ServiceAccount: "default"}}})
	stranger.apply(shop)
	if _, err := ask(stranger, "istio.io/debug/syncz"); status.Code(err) != codes.PermissionDenied {
		t.Errorf("a workload of namespace shop: %v", err)
	}
}

// pageOf asks for a debug page, which has to hold what is given.
func pageOf(t *testing.T, p *plane, path string, want ...string) {
	t.Helper()
	w := httptest.NewRecorder()
	p.cp.Debug().ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	body := w.Body.String()
	if w.Code != http.StatusOK {
		t.Errorf("%s: %d: %s", path, w.Code, body)
	}
	for _, s := range want {
		if !strings.Contains(body, s) {
			t.Errorf("%s has no %s:\n%s", path, s, body)
		}
	}
}
