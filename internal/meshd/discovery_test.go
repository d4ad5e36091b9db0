package meshd

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/meshctl/meshctl/internal/resource/source/kube/kubetest"
)

// roots is the root certificate as pods of a namespace mount it, "" before it is there.
func (c *testCluster) roots(namespace string) string {
	data, _ := c.Get("", "configmaps", namespace, rootConfigMap)["data"].(kubetest.Object)
	root, _ := data[rootKey].(string)
	return root
}

func (c *testCluster) bundle(plural, name string) string {
	hooks, _ := c.Get("admissionregistration.k8s.io", plural, "", name)["webhooks"].([]any)
	if len(hooks) == 0 {
		return ""
	}
	config, _ := hooks[0].(kubetest.Object)["clientConfig"].(kubetest.Object)
	text, _ := config["caBundle"].(string)
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return ""
	}
	return string(b)
}

const shop = `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"shop"}}`

// From an empty cluster to a pod that is served: certificate authority, root
// certificate, webhooks, a token, and the pod's view of a Service.
func TestDiscoveryServesACluster(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t)
	c.apply(t, shop,
		`{"apiVersion":"v1","kind":"Service","metadata":{"namespace":"shop","name":"reviews"},"spec":{"clusterIP":"10.1.0.1","ports":[{"name":"http","port":9080}]}}`,
		`{"apiVersion":"v1","kind":"Pod","metadata":{"namespace":"shop","name":"p1"},"spec":{"serviceAccountName":"buyer"}}`,
		`{"apiVersion":"admissionregistration.k8s.io/v1","kind":"MutatingWebhookConfiguration","metadata":{"name":"istio-sidecar-injector",
		  "labels":{"app":"sidecar-injector","istio.io/rev":"default"}},"webhooks":[{"name":"a","clientConfig":{"service":{"namespace":"istio-system","name":"istiod"}}}]}`,
		`{"apiVersion":"admissionregistration.k8s.io/v1","kind":"ValidatingWebhookConfiguration","metadata":{"name":"istio-validator-istio-system",
		  "labels":{"app":"istiod","istio.io/rev":"default"}},"webhooks":[{"name":"a","clientConfig":{"service":{"namespace":"istio-system","name":"istiod"}}}]}`,
		`{"apiVersion":"admissionregistration.k8s.io/v1","kind":"MutatingWebhookConfiguration","metadata":{"name":"theirs",
		  "labels":{"app":"sidecar-injector","istio.io/rev":"other"}},"webhooks":[{"name":"a","clientConfig":{"service":{"namespace":"istio-system","name":"istiod"}}}]}`,
	)
	r := c.start(t, nil)
	r.ready(t)
	r.until(t, "the root certificate in every namespace", func() bool { return c.roots("shop") != "" && c.roots("istio-system") != "" })
	root := c.roots("shop")
	r.until(t, "the root certificate in the webhooks", func() bool {
		return c.bundle("mutatingwebhookconfigurations", "istio-sidecar-injector") == root &&
			c.bundle("validatingwebhookconfigurations", "istio-validator-istio-system") == root
	})
	if c.bundle("mutatingwebhookconfigurations", "theirs") != "" {
		t.Error("the webhook of another revision was changed")
	}
	stream := r.ads(t, []byte(root), "p1", "shop", tokenOf(t, "buyer", "p1", []string{"istio-ca"}, time.Now().Add(time.Hour)))
	if names := receive(t, stream); !slices.Contains(names, "outbound|9080||reviews.shop.svc.cluster.local") {
		t.Errorf("clusters are %v", names)
	}
	injected := r.review(t, []byte(root), "/inject", `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"},"spec":{"containers":[{"name":"app","image":"app"}]}}`, "", "Pod")
	if !injected.Response.Allowed || !strings.Contains(string(injected.Response.Patch), "istio-proxy") {
		t.Errorf("injection answered %+v", injected.Response)
	}
	refused := r.review(t, []byte(root), "/validate", `{"apiVersion":"networking.istio.io/v1","kind":"VirtualService","metadata":{"namespace":"shop","name":"a"},"spec":{"hosts":[]}}`, "networking.istio.io", "VirtualService")
	if refused.Response.Allowed {
		t.Errorf("validation answered %+v", refused.Response)
	}
	if _, text := r.get(t, "/metrics"); !strings.Contains(text, "pilot_services 1") || !strings.Contains(text, "go_goroutines") ||
		!strings.Contains(text, "sidecar_injection_success_total 1") || !strings.Contains(text, "galley_validation_failed 1") ||
		!strings.Contains(text, `istio_build{component="pilot"`) {
		t.Errorf("metrics are %s", text)
	}
	if code, text := fetch(t, "http://"+r.o.ready+"/ready"); code != http.StatusOK {
		t.Errorf("where Kiali asks: %d %s", code, text)
	}
	if code, _ := fetch(t, "http://"+r.o.ready+"/debug/syncz"); code != http.StatusNotFound {
		t.Errorf("the port for readiness serves more than it: %d", code)
	}
}

// A pod keeps for its life what it is given: before the values of injection are
// known the webhook gives nothing, and the replica gets no requests.
func TestNothingIsInjectedBeforeItsValues(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t)
	c.apply(t, shop)
	r := c.start(t, func(o *discoveryOptions) { o.revision = "blue" })
	r.until(t, "the reason why it is not ready", func() bool {
		code, text := r.get(t, "/ready")
		return code == http.StatusServiceUnavailable && strings.Contains(text, "istio-system/istio-sidecar-injector-blue")
	})
	r.until(t, "the root certificate", func() bool { return c.roots("shop") != "" })
	pod := `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"},"spec":{"containers":[{"name":"app","image":"app"}]}}`
	res := r.post(t, []byte(c.roots("shop")), "/inject", pod, "", "Pod")
	defer res.Body.Close()
	if res.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("the webhook answered %s", res.Status)
	}
	c.apply(t, injectorValues("blue"))
	r.ready(t)
	if got := r.review(t, []byte(c.roots("shop")), "/inject", pod, "", "Pod"); !strings.Contains(string(got.Response.Patch), "istio-proxy") {
		t.Errorf("injection answered %+v", got.Response)
	}
}

// What became of a resource stands in its status, and is taken back when it is repaired.
func TestStatusIsWritten(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t)
	c.Define("networking.istio.io", "virtualservices", "VirtualService", true, "v1")
	object := func(spec string) string {
		return `{"apiVersion":"networking.istio.io/v1","kind":"VirtualService","metadata":{"namespace":"istio-system","name":"a"},"spec":` + spec + `}`
	}
	condition := func(what string) string {
		st, _ := c.Get("networking.istio.io", "virtualservices", "istio-system", "a")["status"].(kubetest.Object)
		all, _ := st["conditions"].([]any)
		for _, x := range all {
			if x := x.(kubetest.Object); x["type"] == what {
				return fmt.Sprint(x["status"], " ", x["message"])
			}
		}
		return ""
	}
	c.apply(t, object(`{"hosts":["reviews"],"htp":[]}`))
	first := c.start(t, nil)
	first.ready(t)
	first.until(t, "the reason in the status", func() bool {
		return strings.HasPrefix(condition("Accepted"), "False") && strings.Contains(condition("Accepted"), "htp")
	})
	if got := condition("Reconciled"); !strings.HasPrefix(got, "True") {
		t.Errorf("Reconciled is %s", got)
	}
	if err := first.stop(); err != nil {
		t.Fatal(err)
	}
	c.apply(t, object(`{"hosts":["reviews.istio-system.svc.cluster.local"],"http":[{"fault":{"abort":{"httpStatus":503,"percentage":{"value":100}}},"route":[{"destination":{"host":"reviews"}}]}]}`),
		`{"apiVersion":"v1","kind":"Service","metadata":{"namespace":"istio-system","name":"reviews"},"spec":{"clusterIP":"10.1.0.1","ports":[{"name":"http","port":9080}]}}`)
	second := c.start(t, nil)
	second.until(t, "the good news, by a replica that did not write the bad", func() bool {
		return condition("Accepted") == "True the resource is in force"
	})
}

// A namespace that appears gets the root certificate, and one that lost it gets it back.
func TestRootCertificateIsKept(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t)
	r := c.start(t, nil)
	r.ready(t)
	c.apply(t, shop)
	r.until(t, "the root certificate of a new namespace", func() bool { return c.roots("shop") != "" })
	c.Delete("", "configmaps", "shop", rootConfigMap)
	r.until(t, "its return", func() bool { return c.roots("shop") != "" })
	c.apply(t, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"namespace":"shop","name":"`+rootConfigMap+`"},"data":{"`+rootKey+`":"forged"}}`)
	r.until(t, "its repair", func() bool { return c.roots("shop") != "forged" })
}

// Who cannot prove to be the pod is not served.
func TestDiscoveryRefuses(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t)
	c.apply(t, shop, `{"apiVersion":"v1","kind":"Pod","metadata":{"namespace":"shop","name":"p1"},"spec":{"serviceAccountName":"buyer"}}`)
	r := c.start(t, nil)
	r.ready(t)
	r.until(t, "the root certificate", func() bool { return c.roots("shop") != "" })
	later := time.Now().Add(time.Hour)
	for name, token := range map[string]string{
		"nonsense":         "nonsense",
		"another audience": tokenOf(t, "buyer", "p1", "vault", later),
		"expired":          tokenOf(t, "buyer", "p1", "istio-ca", time.Now().Add(-time.Hour)),
		"another pod":      tokenOf(t, "buyer", "p2", "istio-ca", later),
		"another account":  tokenOf(t, "seller", "p1", "istio-ca", later),
		"not ours":         "x." + strings.Split(tokenOf(t, "a", "b", "istio-ca", later), ".")[1] + ".forged",
	} {
		_, err := r.ads(t, []byte(c.roots("shop")), "p1", "shop", token).Recv()
		if status.Code(err) != codes.PermissionDenied {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := c.Calls("create", "tokenreviews"); n != 3 {
		t.Errorf("the API server was asked for %d tokens, want the 3 that could be ours", n)
	}
}

// Replicas that start at once have one certificate authority, and one of them writes.
func TestReplicasShareTheAuthority(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t)
	c.apply(t, shop)
	var all []*replica
	for range 3 {
		all = append(all, c.start(t, nil))
	}
	for _, r := range all {
		r.ready(t)
	}
	all[0].until(t, "the root certificate", func() bool { return c.roots("shop") != "" })
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(c.roots("shop")))
	for _, r := range all {
		conn, err := tls.Dial("tcp", r.o.webhook, &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool, ServerName: "istiod.istio-system.svc"})
		if err != nil {
			t.Errorf("the webhook's certificate: %v", err)
			continue
		}
		conn.Close()
	}
	holder := func() string {
		spec, _ := c.Get("coordination.k8s.io", "leases", "istio-system", leaseRootCerts)["spec"].(kubetest.Object)
		id, _ := spec["holderIdentity"].(string)
		return id
	}
	first := holder()
	for _, r := range all {
		if r.o.pod == first {
			if err := r.stop(); err != nil {
				t.Error(err)
			}
		}
	}
	all[0].until(t, "another writer", func() bool { return holder() != "" && holder() != first })
}

// A mesh config that is broken is waited out: its trust domain is unknown.
func TestBrokenMeshConfigAtStart(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t)
	config := func(text string) string {
		return `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"namespace":"istio-system","name":"istio-canary"},"data":{"mesh":"` + text + `"}}`
	}
	c.apply(t, config("trustDoman: td"))
	r := c.start(t, func(o *discoveryOptions) { o.revision = "canary" })
	r.until(t, "the reason in the log", func() bool { return strings.Contains(r.logs.String(), "trustDoman") })
	if code, _ := r.get(t, "/ready"); code == http.StatusOK {
		t.Error("ready with a broken mesh config")
	}
	c.apply(t, config("trustDomain: td"))
	r.ready(t)
}
