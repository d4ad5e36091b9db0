package meshd

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/meshctl/meshctl/internal/controlplane"
	"github.com/meshctl/meshctl/internal/resource/source/kube/kubetest"
)

// otherCluster is a remote cluster behind TLS that can go away and come back.
type otherCluster struct {
	*kubetest.API
	address string
	ca      string
	server  *httptest.Server
}

func newOtherCluster(t *testing.T) *otherCluster {
	t.Helper()
	c := &otherCluster{API: kubetest.New()}
	c.serve(t, "127.0.0.1:0")
	c.address = c.server.Listener.Addr().String()
	c.ca = base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.server.Certificate().Raw}))
	return c
}

func (c *otherCluster) serve(t *testing.T, address string) {
	t.Helper()
	var lc net.ListenConfig
	ln, err := lc.Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(c.API)
	_ = server.Listener.Close()
	server.Listener = ln
	server.StartTLS()
	c.server = server
	t.Cleanup(func() { server.CloseClientConnections(); server.Close() })
}

func (c *otherCluster) apply(t *testing.T, objects ...string) {
	t.Helper()
	for _, o := range objects {
		if err := c.Apply(o); err != nil {
			t.Fatal(err)
		}
	}
}

// kubeconfig leads to the cluster with a token.
func (c *otherCluster) kubeconfig(token string) string {
	return kubeconfigOf("https://"+c.address, fmt.Sprintf(`"certificate-authority-data":%q`, c.ca), fmt.Sprintf(`"token":%q`, token))
}

func kubeconfigOf(server, cluster, user string) string {
	if cluster != "" {
		cluster = "," + cluster
	}
	return fmt.Sprintf(`{"apiVersion":"v1","kind":"Config","current-context":"c","contexts":[{"name":"c","context":{"cluster":"c","user":"u"}}],
		"clusters":[{"name":"c","cluster":{"server":%q%s}}],"users":[{"name":"u","user":{%s}}]}`, server, cluster, user)
}

func remoteSecret(name string, keys ...string) string {
	data := map[string]string{}
	for i := 0; i < len(keys); i += 2 {
		data[keys[i]] = base64.StdEncoding.EncodeToString([]byte(keys[i+1]))
	}
	b, err := json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"namespace": "istio-system", "name": name, "labels": map[string]string{labelRemote: "true"}}, "data": data,
	})
	if err != nil {
		panic(err)
	}
	return string(b)
}

func endpointsAt(address string) []string {
	return []string{
		`{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"istio-system"}}`,
		`{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"shop"}}`,
		`{"apiVersion":"v1","kind":"Service","metadata":{"namespace":"shop","name":"reviews"},"spec":{"clusterIP":"10.1.0.1","ports":[{"name":"http","port":9080}]}}`,
		`{"apiVersion":"discovery.k8s.io/v1","kind":"EndpointSlice","metadata":{"namespace":"shop","name":"reviews-1","labels":{"kubernetes.io/service-name":"reviews"}},
		  "addressType":"IPv4","ports":[{"name":"http","port":9080}],"endpoints":[{"addresses":["` + address + `"]}]}`,
	}
}

// clusters is what the debug page says: ID to status.
func (r *replica) clusters(t *testing.T) map[string]controlplane.ClusterStatus {
	t.Helper()
	_, text := r.get(t, "/debug/clusterz")
	var all []controlplane.ClusterStatus
	if err := json.Unmarshal([]byte(text), &all); err != nil {
		return nil
	}
	out := map[string]controlplane.ClusterStatus{}
	for _, c := range all {
		out[c.ID] = c
	}
	return out
}

// served reports whether an address is an endpoint of the mesh.
func (r *replica) served(t *testing.T, address string) bool {
	_, text := r.get(t, "/debug/endpointz")
	return strings.Contains(text, `"`+address+`"`)
}

// A cluster joins by a Secret, is away for a while, gets another kubeconfig, and leaves.
func TestRemoteClusterByASecret(t *testing.T) {
	t.Parallel()
	c, east := newTestCluster(t), newOtherCluster(t)
	c.apply(t, endpointsAt("10.10.0.1")...)
	east.apply(t, endpointsAt("10.20.0.1")...)
	c.apply(t, remoteSecret("east", "east", east.kubeconfig("first-token")))
	r := c.start(t, nil)
	r.ready(t)
	if !r.served(t, "10.10.0.1") || !r.served(t, "10.20.0.1") {
		t.Fatal("ready without the endpoints of both clusters")
	}
	if s := r.clusters(t); s["east"].Status != controlplane.ClusterSynced || s["east"].Secret != "istio-system/east" || s["Kubernetes"].Status != controlplane.ClusterSynced {
		t.Errorf("clusters are %v", s)
	}

	east.server.CloseClientConnections()
	east.server.Close()
	r.until(t, "the news that it is away", func() bool { return r.clusters(t)["east"].Status == controlplane.ClusterUnreachable })
	if _, text := r.get(t, "/debug/diagnosticz"); !r.served(t, "10.20.0.1") || !strings.Contains(text, "API server of cluster east cannot be read") {
		t.Errorf("its endpoints are gone, or findings say nothing: %s", text)
	}
	if _, text := r.get(t, "/metrics"); !strings.Contains(text, `meshctl_remote_cluster_up{cluster="east"} 0`) || !strings.Contains(text, `istiod_managed_clusters{cluster_type="remote"} 1`) {
		t.Error("metrics do not say that it is away")
	}

	// What went while nobody looked is gone with the new kubeconfig.
	east.Delete("discovery.k8s.io", "endpointslices", "shop", "reviews-1")
	east.apply(t, strings.NewReplacer("reviews-1", "reviews-2").Replace(endpointsAt("10.20.0.2")[3]))
	east.serve(t, east.address)
	east.ca = base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: east.server.Certificate().Raw}))
	c.apply(t, remoteSecret("east", "east", east.kubeconfig("second-token")))
	r.until(t, "the cluster's return", func() bool {
		return r.clusters(t)["east"].Status == controlplane.ClusterSynced && r.served(t, "10.20.0.2") && !r.served(t, "10.20.0.1")
	})

	c.apply(t, remoteSecret("east", "east", "broken: ["))
	r.until(t, "the refusal of a broken edit", func() bool {
		_, text := r.get(t, "/debug/diagnosticz")
		return strings.Contains(text, "is not a kubeconfig")
	})
	if !r.served(t, "10.20.0.2") {
		t.Error("a broken edit took the cluster out")
	}

	c.Delete("", "secrets", "istio-system", "east")
	r.until(t, "the cluster's leave", func() bool { return !r.served(t, "10.20.0.2") && len(r.clusters(t)) == 1 })
	if !r.served(t, "10.10.0.1") {
		t.Error("home left, too")
	}
	if logs := r.logs.String(); strings.Contains(logs, "first-token") || strings.Contains(logs, "second-token") || strings.Contains(logs, east.ca) {
		t.Errorf("a secret is in the log:\n%s", logs)
	}
}

// A cluster that does not answer delays the start for as long as it may, and no longer.
func TestRemoteClusterThatIsAway(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t)
	dead := freePort(t)
	c.apply(t, remoteSecret("east", "east", kubeconfigOf("https://"+dead, "", `"token":"t"`)))
	r := c.start(t, func(o *discoveryOptions) { o.patience = time.Second })
	r.until(t, "the reason why it waits", func() bool {
		code, text := r.get(t, "/ready")
		return code == http.StatusServiceUnavailable && strings.Contains(text, "remote cluster east")
	})
	r.ready(t)
	r.until(t, "the status", func() bool {
		s := r.clusters(t)["east"]
		return s.Status == controlplane.ClusterTimeout && strings.Contains(s.Reason, "cannot be read")
	})
}

// Kubeconfigs that need anything from outside of them are refused, and so is a second
// one for a cluster: the finding names Secret and key.
func TestRefusedKubeconfigs(t *testing.T) {
	t.Parallel()
	c, east := newTestCluster(t), newOtherCluster(t)
	c.apply(t, remoteSecret("a-first", "east", east.kubeconfig("t"), "Kubernetes", east.kubeconfig("t")))
	c.apply(t, remoteSecret("b-second", "east", east.kubeconfig("t")))
	r := c.start(t, nil)
	r.until(t, "the findings", func() bool {
		_, text := r.get(t, "/debug/diagnosticz")
		return strings.Contains(text, "cluster east is in Secret a-first already") && strings.Contains(text, "cluster Kubernetes is the one that this control plane runs in")
	})
	for want, text := range map[string]string{
		"would run a program":     kubeconfigOf("https://h", "", `"exec":{"apiVersion":"client.authentication.k8s.io/v1","command":"sh","interactiveMode":"Never"}`),
		"auth-provider":           kubeconfigOf("https://h", "", `"auth-provider":{"name":"gcp"}`),
		"tokenFile":               kubeconfigOf("https://h", "", `"tokenFile":"/etc/passwd"`),
		"client-certificate name": kubeconfigOf("https://h", "", `"client-certificate":"/etc/passwd"`),
		"client-key name":         kubeconfigOf("https://h", "", `"client-key":"/etc/passwd"`),
		"certificate-authority n": kubeconfigOf("https://h", `"certificate-authority":"/etc/passwd"`, `"token":"t"`),
		"insecure-skip-tls":       kubeconfigOf("https://h", `"insecure-skip-tls-verify":true`, `"token":"t"`),
		"no https":                kubeconfigOf("http://h", "", `"token":"t"`),
		"no context":              `{"apiVersion":"v1","kind":"Config"}`,
		"may have":                strings.Repeat("#", maxKubeconfig+1),
	} {
		if _, err := remoteConfig([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", want, err)
		}
	}
}

// A token is reviewed by the API server of the cluster that the proxy is in, and speaks
// for a pod of that cluster only.
func TestTokensOfRemoteClusters(t *testing.T) {
	t.Parallel()
	c, east := newTestCluster(t), newOtherCluster(t)
	c.apply(t, shop, `{"apiVersion":"v1","kind":"Pod","metadata":{"namespace":"shop","name":"p1"},"spec":{"serviceAccountName":"buyer"}}`)
	east.apply(t, append(endpointsAt("10.20.0.1"), `{"apiVersion":"v1","kind":"Pod","metadata":{"namespace":"shop","name":"p1"},"spec":{"serviceAccountName":"seller"}}`)...)
	east.Review(func(token string) (kubetest.Object, error) {
		if !strings.HasSuffix(token, ".east") {
			return kubetest.Object{"authenticated": false, "error": "not one of ours"}, nil
		}
		return kubetest.Object{"authenticated": true, "audiences": []any{"istio-ca"}, "user": kubetest.Object{"username": "system:serviceaccount:shop:seller", "extra": podExtra("p1")}}, nil
	})
	c.apply(t, remoteSecret("east", "east", east.kubeconfig("t")))
	r := c.start(t, nil)
	r.ready(t)
	r.until(t, "the root certificate", func() bool { return c.roots("shop") != "" })
	at := tokenOf(t, "buyer", "p1", "istio-ca", time.Now().Add(time.Hour))
	there := "x." + strings.Split(at, ".")[1] + ".east"
	ask := func(named, node, token string) error {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if named != "" {
			ctx = metadata.AppendToOutgoingContext(ctx, "ClusterID", named)
		}
		stream := r.streamWith(ctx, t, []byte(c.roots("shop")), token)
		meta, err := structpb.NewStruct(map[string]any{"CLUSTER_ID": node})
		if err != nil {
			t.Fatal(err)
		}
		err = stream.Send(&discoveryv3.DeltaDiscoveryRequest{
			Node:    &corev3.Node{Id: "sidecar~10.0.0.9~p1.shop~shop.svc.cluster.local", Metadata: meta},
			TypeUrl: "type.googleapis.com/envoy.config.cluster.v3.Cluster", ResourceNamesSubscribe: []string{"*"},
		})
		if err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		_, err = stream.Recv()
		return err
	}
	for name, x := range map[string]struct {
		named, node, token string
		ok                 bool
	}{
		"home":                        {"Kubernetes", "Kubernetes", at, true},
		"home, unsaid":                {"", "", at, true},
		"remote":                      {"east", "east", there, true},
		"home's token in the remote":  {"east", "east", at, false},
		"remote's token at home":      {"", "", there, false},
		"remote's token, home's pod":  {"east", "Kubernetes", there, false},
		"home's token, remote's pod":  {"Kubernetes", "east", at, false},
		"a cluster that nobody knows": {"west", "west", at, false},
		"unknown to the node alone":   {"", "west", at, false},
	} {
		err := ask(x.named, x.node, x.token)
		if x.ok && err != nil || !x.ok && status.Code(err) != codes.PermissionDenied {
			t.Errorf("%s: %v", name, err)
		}
	}
}
