package resource

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestFromKube: an object made by a program equals the same one from a file,
// wherever it came from, and does not share memory with the program's value.
func TestFromKube(t *testing.T) {
	t.Parallel()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "web-1", Namespace: "shop", Labels: map[string]string{"app": "web"}},
		Spec:       corev1.PodSpec{ServiceAccountName: "web", Containers: []corev1.Container{{Name: "web", Image: "web"}}},
		Status:     corev1.PodStatus{PodIP: "10.0.0.1", Phase: corev1.PodRunning},
	}
	o, err := FromKube(pod)
	if err != nil {
		t.Fatal(err)
	}
	if want := (Key{Kind: KindPod, Namespace: "shop", Name: "web-1"}); o.Key != want || o.APIVersion != "v1" {
		t.Errorf("key %v, apiVersion %s, want %v of v1", o.Key, o.APIVersion, want)
	}
	got, err := SpecOf[*corev1.Pod](o)
	if err != nil {
		t.Fatal(err)
	}
	pod.Labels["app"] = "changed"
	if got.Status.PodIP != "10.0.0.1" || got.Labels["app"] != "web" {
		t.Errorf("content %+v", got)
	}
	pod.Labels["app"] = "web"
	pod.Status.PodIP = "10.0.0.2"
	other, err := FromKube(pod)
	if err != nil {
		t.Fatal(err)
	}
	if other.Hash == o.Hash {
		t.Error("another address of a Pod is the same content")
	}
	if _, err := FromKube(&corev1.LimitRange{}); err == nil {
		t.Error("a kind the mesh does not read was taken")
	}
}

func TestFromSpec(t *testing.T) {
	t.Parallel()
	spec := &networkingv1alpha3.ServiceEntry{
		Hosts: []string{"a.example.com"}, Resolution: networkingv1alpha3.ServiceEntry_DNS,
		Ports: []*networkingv1alpha3.ServicePort{{Number: 443, Name: "https", Protocol: "HTTPS"}},
	}
	o, err := FromSpec(KindServiceEntry, metav1.ObjectMeta{Name: "a", Namespace: "shop"}, spec)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(spec, o.Spec, protocmp.Transform()); d != "" {
		t.Error(d)
	}
	fromFile, ds := Decode("a.yaml", []byte(`apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: a, namespace: shop}
spec:
  hosts: [a.example.com]
  resolution: DNS
  ports: [{number: 443, name: https, protocol: HTTPS}]
`), Options{})
	if len(fromFile) != 1 || fromFile[0].Hash != o.Hash {
		t.Errorf("the same object from a file has another hash: %v\n%s\n%s", ds, fromFile[0].Raw, o.Raw)
	}
	if _, err := FromSpec(KindGateway, metav1.ObjectMeta{Name: "a"}, spec); err == nil || !strings.Contains(err.Error(), "want istio.networking.v1alpha3.Gateway") {
		t.Errorf("content of another kind: %v", err)
	}
}

// TestMeshConfigDefaults: what is written replaces a default, zero values too;
// what is not written keeps it.
func TestMeshConfigDefaults(t *testing.T) {
	t.Parallel()
	mc, ds := DecodeMeshConfig("mesh.yaml", []byte(`
enableTracing: false
enableAutoMtls: false
trustDomain: example.org
defaultServiceExportTo: ["."]
localityLbSetting: {failoverPriority: [topology.kubernetes.io/zone]}
defaultConfig:
  drainDuration: 5s
  tracingServiceName: CANONICAL_NAME_ONLY
`))
	if mc == nil {
		t.Fatal(ds)
	}
	if mc.GetEnableTracing() || mc.GetEnableAutoMtls().GetValue() || mc.GetTrustDomain() != "example.org" || len(mc.GetDefaultServiceExportTo()) != 1 {
		t.Errorf("what is written does not hold: %v", mc)
	}
	if mc.GetProxyListenPort() != 15001 || mc.GetRootNamespace() != "istio-system" || !mc.GetLocalityLbSetting().GetEnabled().GetValue() {
		t.Errorf("defaults are lost: %v", mc)
	}
	pc := mc.GetDefaultConfig()
	if pc.GetDrainDuration().AsDuration().String() != "5s" || pc.GetStatusPort() != 15020 || pc.GetTracingServiceName().String() != "CANONICAL_NAME_ONLY" {
		t.Errorf("defaultConfig %v", pc)
	}
	empty, ds := DecodeMeshConfig("mesh.yaml", []byte("# nothing\n"))
	if d := cmp.Diff(DefaultMeshConfig(), empty, protocmp.Transform()); d != "" || len(ds) > 0 {
		t.Errorf("an empty file is not the defaults: %v %s", ds, d)
	}
	base := DefaultProxyConfig()
	if pc, ds := DecodeProxyConfig("annotation", []byte("concurrency: 4"), base); pc.GetConcurrency().GetValue() != 4 || base.GetConcurrency() != nil {
		t.Errorf("ProxyConfig %v over %v: %v", pc, base, ds)
	}
}

// The hash of what an API server has checked is that of what the user decides.
func TestFromAPI(t *testing.T) {
	t.Parallel()
	pod := func(edit func(*corev1.Pod)) *Object {
		p := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "shop", Labels: map[string]string{"a": "1", "b": "2"}, ResourceVersion: "7"},
			Spec:       corev1.PodSpec{NodeName: "n1"},
		}
		edit(p)
		o, err := FromAPI(KindPod, p)
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	first := pod(func(*corev1.Pod) {})
	if first.Key.String() != "Pod/shop/p" || first.APIVersion != "v1" || first.Meta.ResourceVersion != "7" {
		t.Errorf("the object is %+v", first)
	}
	for name, c := range map[string]struct {
		edit func(*corev1.Pod)
		same bool
	}{
		"version":    {func(p *corev1.Pod) { p.ResourceVersion = "8" }, true},
		"label":      {func(p *corev1.Pod) { p.Labels = map[string]string{"a": "1", "b": "3"} }, false},
		"annotation": {func(p *corev1.Pod) { p.Annotations = map[string]string{"a": "1"} }, false},
		"spec":       {func(p *corev1.Pod) { p.Spec.NodeName = "n2" }, false},
		"status":     {func(p *corev1.Pod) { p.Status.PodIP = "10.0.0.1" }, false},
	} {
		if got := pod(c.edit).Hash == first.Hash; got != c.same {
			t.Errorf("%s: equal hashes are %v", name, got)
		}
	}
	if _, err := FromAPI(KindService, &corev1.Pod{}); err == nil {
		t.Error("a Pod was taken for a Service")
	}
}
