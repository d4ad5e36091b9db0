package provision

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"

	"github.com/meshctl/meshctl/internal/inject"
	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/resource"
)

func gateway(t *testing.T, text string) *gwv1.Gateway {
	t.Helper()
	gw := &gwv1.Gateway{}
	if err := yaml.UnmarshalStrict([]byte(text), gw); err != nil {
		t.Fatal(err)
	}
	return gw
}

func inputs(parameters ...*corev1.ConfigMap) Inputs {
	return Inputs{
		Inject:     inject.Inputs{Mesh: resource.DefaultMeshConfig(), Values: inject.DefaultValues("v1.0.0")},
		Parameters: parameters,
	}
}

func parameters(data map[string]string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "p"}, Data: data}
}

const plain = `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: front, namespace: shop, uid: "7"}
spec:
  gatewayClassName: istio
  infrastructure:
    labels: {team: a, gateway.networking.k8s.io/gateway-name: other}
    annotations: {example.com/dns: "yes"}
  listeners:
  - {name: http, port: 80, protocol: HTTP}
  - {name: two, port: 443, protocol: HTTPS}
  - {name: again, port: 443, protocol: HTTPS}
  - {name: long.name, port: 9000, protocol: TCP}
`

// What is made for an ordinary Gateway, whole.
func TestObjects(t *testing.T) {
	t.Parallel()
	made, err := Objects(gateway(t, plain), inputs())
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for _, o := range made {
		b, err := yaml.Marshal(o.Object)
		if err != nil {
			t.Fatal(err)
		}
		out.WriteString("---\n" + string(b))
	}
	file := filepath.Join("testdata", "plain.yaml")
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(file, []byte(out.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if out.String() != string(want) {
		t.Errorf("made are (UPDATE_GOLDEN=1 accepts it):\n%s", out.String())
	}
}

func find(all []Object, kind string) *unstructured.Unstructured {
	for _, o := range all {
		if o.GetKind() == kind {
			return o.Unstructured
		}
	}
	return &unstructured.Unstructured{Object: map[string]any{}}
}

func field(u *unstructured.Unstructured, path ...string) string {
	v, _, _ := unstructured.NestedFieldNoCopy(u.Object, path...)
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return strings.Trim(string(b), `"`)
}

// Parameters change what they name, and nothing of whose the objects are.
func TestParameters(t *testing.T) {
	t.Parallel()
	gw := gateway(t, plain)
	made, err := Objects(gw, inputs(
		parameters(map[string]string{"service": "spec: {type: NodePort}", "deployment": "spec: {replicas: 2}"}),
		parameters(map[string]string{
			"deployment": "metadata: {name: mine, labels: {gateway.istio.io/managed: no}}\n" +
				"spec: {selector: {matchLabels: {a: b}}, template: {spec: {containers: [{name: istio-proxy, resources: {limits: {cpu: 3}}}]}}}",
			"horizontalPodAutoscaler": "spec: {minReplicas: 2, maxReplicas: 5}", "podDisruptionBudget": "spec: {minAvailable: 1}",
		}),
	))
	if err != nil {
		t.Fatal(err)
	}
	d := find(made, "Deployment")
	for want, got := range map[string]string{
		"front-istio": field(d, "metadata", "name"), "2": field(d, "spec", "replicas"),
		"istio.io-gateway-controller":               field(d, "metadata", "labels", LabelManaged),
		`{"` + mesh.LabelGatewayName + `":"front"}`: field(d, "spec", "selector", "matchLabels"),
		"NodePort": field(find(made, "Service"), "spec", "type"), "5": field(find(made, "HorizontalPodAutoscaler"), "spec", "maxReplicas"),
		"1": field(find(made, "PodDisruptionBudget"), "spec", "minAvailable"),
	} {
		if got != want {
			t.Errorf("%s, not %s", got, want)
		}
	}
	containers, _, _ := unstructured.NestedSlice(d.Object, "spec", "template", "spec", "containers")
	b, err := json.Marshal(containers)
	if err != nil || len(containers) != 1 || !strings.Contains(string(b), `"cpu":3`) || !strings.Contains(string(b), "meshproxy") {
		t.Errorf("containers are %s", b)
	}
	for name, m := range map[string]*corev1.ConfigMap{
		`key "depoyment" is none of`: parameters(map[string]string{"depoyment": ""}),
		"it is not an object":        parameters(map[string]string{"service": "[]"}),
		"cannot be laid over":        parameters(map[string]string{"deployment": "spec: {template: {spec: {containers: [{image: x}]}}}"}),
	} {
		if _, err := Objects(gw, inputs(m)); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("instead of %q: %v", name, err)
		}
	}
}

// Who serves a Gateway, and under which name.
func TestManagedAndNamed(t *testing.T) {
	t.Parallel()
	for spec, want := range map[string]bool{
		"": true, "addresses: [{type: IPAddress, value: 10.0.0.1}]": true, "addresses: [{value: 10.0.0.1}]": true,
		"addresses: [{type: Hostname, value: istio-ingressgateway.istio-system.svc}]": false,
		"addresses: [{value: 10.0.0.1}, {value: 10.0.0.2}]":                           true,
	} {
		if got := Managed(gateway(t, "spec:\n  "+spec)); got != want {
			t.Errorf("%q: %t", spec, got)
		}
	}
	long := strings.Repeat("a", 70)
	one, two := Name(gateway(t, "metadata: {name: "+long+"}")), Name(gateway(t, "metadata: {name: "+long+"b}"))
	if len(one) > maxName || one == two {
		t.Errorf("two long names are %s and %s", one, two)
	}
	gw := gateway(t, plain)
	gw.Annotations = map[string]string{annServiceType: "ClusterIP", annName: "edge", annAccount: "acct"}
	made, err := Objects(gw, inputs())
	if err != nil {
		t.Fatal(err)
	}
	if s := find(made, "Service"); s.GetName() != "edge" || field(s, "spec", "type") != "ClusterIP" || len(made) != 2 {
		t.Errorf("made are %v", made)
	}
}
