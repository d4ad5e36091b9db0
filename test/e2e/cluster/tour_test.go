//go:build e2e

package cluster

import (
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var long = flag.Bool("long", false, "also the steps that take a minute each")

// mesh is the one that was installed on the cluster.
type mesh struct {
	*cluster
	url    string   // of the ingress gateway
	before []string // all objects of the cluster, before there was a mesh
}

// TestTour is the whole life of a mesh on a cluster, in the order a person would
// try it.
func TestTour(t *testing.T) {
	m := &mesh{cluster: start(t)}
	for _, step := range []struct {
		name string
		long bool
		test func(*testing.T, *mesh)
	}{
		{"install", false, testInstall},
		{"bookinfo", false, testBookinfo},
		{"gateway", false, testGateway},
		{"ingress", false, testIngress},
		{"inspect", false, testInspect},
		{"dashboards", false, testDashboards},
		{"canary", false, testCanary},
		{"one user", false, testOneUser},
		{"mTLS strict", false, testStrict},
		{"authorization", false, testAuthorization},
		{"job", false, testJob},
		{"control plane restarts under load", false, testControlPlaneRestart},
		{"workloads restart under load", false, testWorkloadsRestart},
		{"gateway restarts under load", false, testGatewayRestart},
		{"webhook down", false, testWebhookDown},
		{"machine", true, testMachine},
		{"stock Envoys", true, testEnvoy},
		{"releases", true, testReleases},
		{"canary upgrade under load", true, testCanaryUpgrade},
		{"reboot", true, testReboot},
		{"uninstall", false, testUninstall},
	} {
		if step.long && !*long {
			continue
		}
		if !t.Run(step.name, func(t *testing.T) { step.test(t, m) }) && slices.Contains([]string{"install", "bookinfo", "gateway"}, step.name) {
			t.Fatalf("without %s the rest would fail, too", step.name)
		}
	}
}

func testInstall(t *testing.T, m *mesh) {
	m.before = m.objects(t)
	m.meshctl(t, "install", "--set", "profile=demo", "--set", "values.base.gatewayAPI=true", "-y")
	m.rolledOut(t, "istio-system")
	m.meshctl(t, "verify-install")
}

// unhurried is what a program needs on any Kubernetes to be replaced without a
// failed request: between its end and the time when everybody knows, it goes on.
const unhurried = "          lifecycle: {preStop: {sleep: {seconds: 3}}}\n"

func testBookinfo(t *testing.T, m *mesh) {
	m.kubectl(t, "label", "namespace", "default", "istio-injection=enabled")
	manifest, err := os.ReadFile(samples + "/platform/kube/bookinfo.yaml")
	if err != nil {
		t.Fatal(err)
	}
	image := regexp.MustCompile(`(?m)^          image: .*\n`)
	if n := len(image.FindAll(manifest, -1)); n != 6 {
		t.Fatalf("%d containers in the manifest, not six", n)
	}
	file := filepath.Join(t.TempDir(), "bookinfo.yaml")
	if err := os.WriteFile(file, image.ReplaceAll(manifest, []byte("$0"+unhurried)), 0o600); err != nil {
		t.Fatal(err)
	}
	m.kubectl(t, "apply", "-f", file)
	m.rolledOut(t, "default")
	type container struct{ Name string }
	var pods struct {
		Items []struct {
			Metadata struct{ Name string }
			Spec     struct{ Containers, InitContainers []container }
		}
	}
	m.get(t, &pods, "pods", "-n", "default")
	if len(pods.Items) != 6 {
		t.Errorf("%d pods, not six", len(pods.Items))
	}
	for _, p := range pods.Items {
		if !slices.Contains(append(p.Spec.Containers, p.Spec.InitContainers...), container{"istio-proxy"}) {
			t.Errorf("%s has no sidecar: %+v", p.Metadata.Name, p.Spec)
		}
	}
}

func testGateway(t *testing.T, m *mesh) {
	for _, f := range []string{"bookinfo-gateway", "destination-rule-all"} {
		m.kubectl(t, "apply", "-f", networking+"/"+f+".yaml")
	}
	m.url = fmt.Sprintf("http://%s:%d", m.node, m.nodePort(t, "istio-system", "istio-ingressgateway", 80))
	answers(t, m.page(), http.StatusOK)
	_, header, body, err := ask(t, m.page())
	if err != nil || !strings.Contains(body, "<title>") || header.Get("X-Bookinfo-Reviews") == "" {
		t.Errorf("the page is %.300s (%v)", body, err)
	}
}

func testCanary(t *testing.T, m *mesh) {
	m.shares(t, map[string]float64{"v1": 33, "v2": 33, "v3": 33}, 6, nil)
	m.apply(t, "all-v1")
	m.shares(t, map[string]float64{"v1": 100}, 0, nil)
	m.apply(t, "reviews-90-10")
	m.shares(t, map[string]float64{"v1": 90, "v3": 10}, 4, nil)
}

func testOneUser(t *testing.T, m *mesh) {
	m.apply(t, "reviews-test-v2")
	m.shares(t, map[string]float64{"v2": 100}, 0, http.Header{"End-User": {"jason"}})
	m.shares(t, map[string]float64{"v1": 100}, 0, http.Header{"End-User": {"martha"}})
}

// direct is a way to productpage that is not the mesh's: from outside, in plain
// text.
const direct = `apiVersion: v1
kind: Service
metadata: {name: productpage-direct, namespace: default}
spec:
  type: NodePort
  selector: {app: productpage}
  ports: [{name: http, port: 9080}]
`

func testStrict(t *testing.T, m *mesh) {
	m.applyText(t, direct)
	outside := fmt.Sprintf("http://%s:%d/productpage", m.node, m.nodePort(t, "default", "productpage-direct", 9080))
	answers(t, outside, http.StatusOK)
	m.apply(t, "mtls-strict")
	eventually(t, "the end of plain text", func() error {
		code, _, _, err := ask(t, outside)
		if err == nil {
			return fmt.Errorf("answered with %d", code)
		}
		return nil
	})
	if _, err := m.measure(t, 100, nil); err != nil {
		t.Errorf("through the gateway: %v", err)
	}
}

func testAuthorization(t *testing.T, m *mesh) {
	// What denies goes first: on the way back nobody is refused at any moment.
	defer m.takeBack(t, "authz-deny-all")
	m.apply(t, "authz-deny-all")
	answers(t, m.page(), http.StatusForbidden)
	m.apply(t, "authz-allow-productpage")
	answers(t, m.page(), http.StatusOK)
	// The page may be seen, but it may ask nobody yet.
	eventually(t, "a page without details", func() error {
		_, header, _, err := ask(t, m.page())
		if got := header.Get("X-Bookinfo-Details"); err == nil && got != "unavailable" {
			err = fmt.Errorf("it has details of %q", got)
		}
		return err
	})
	m.apply(t, "authz-allow-details", "authz-allow-reviews", "authz-allow-ratings")
	m.shares(t, map[string]float64{"v1": 33, "v2": 33, "v3": 33}, 6, nil)
}

// testUninstall looks at every object of the cluster, of whatever kind: there is
// not one more than before the mesh came.
func testUninstall(t *testing.T, m *mesh) {
	for _, f := range []string{"networking/bookinfo-gateway", "networking/destination-rule-all", "platform/kube/bookinfo"} {
		m.kubectl(t, "delete", "--ignore-not-found", "-f", samples+"/"+f+".yaml")
	}
	m.kubectl(t, "label", "namespace", "default", "istio-injection-")
	m.meshctl(t, "uninstall", "--purge", "-y")
	m.kubectl(t, "delete", "namespace", "istio-system", "--ignore-not-found")
	eventually(t, "the cluster as it was", func() error {
		var left []string
		for _, o := range m.objects(t) {
			if !slices.Contains(m.before, o) {
				left = append(left, o)
			}
		}
		if len(left) > 0 {
			return fmt.Errorf("left: %s", strings.Join(left, ", "))
		}
		return nil
	})
}

// objects lists all there is, of all kinds, but for what comes and goes by
// itself: events, and the Leases by which Kubernetes' own parts say that they live.
func (c *cluster) objects(t *testing.T) []string {
	t.Helper()
	var kinds []string
	for k := range strings.FieldsSeq(c.kubectl(t, "api-resources", "--verbs=list", "-o", "name")) {
		if k != "events" && k != "events.events.k8s.io" && k != "componentstatuses" {
			kinds = append(kinds, k)
		}
	}
	all := strings.Fields(c.kubectl(t, "get", strings.Join(kinds, ","), "-A", "--ignore-not-found",
		"-o", `jsonpath={range .items[*]}{.kind}/{.metadata.namespace}/{.metadata.name}{"\n"}{end}`))
	return slices.DeleteFunc(all, func(o string) bool { return strings.HasPrefix(o, "Lease/kube-") })
}
