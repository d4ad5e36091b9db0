package inject_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"pgregory.net/rapid"

	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/inject"
	"github.com/meshctl/meshctl/internal/resource"
)

type failer interface {
	Helper()
	Fatalf(string, ...any)
}

func decode(t failer, b []byte) any {
	t.Helper()
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatalf("%v", err)
	}
	return v
}

// apply is RFC 6902 for the three operations that patches have, as plainly as it can be written.
func apply(t failer, doc any, ops []inject.Operation) any {
	t.Helper()
	for _, op := range ops {
		parts := strings.Split(op.Path, "/")[1:]
		for i := range parts {
			parts[i] = strings.NewReplacer("~1", "/", "~0", "~").Replace(parts[i])
		}
		b, err := json.Marshal(op.Value)
		if err != nil {
			t.Fatalf("%v", err)
		}
		doc = applyAt(t, doc, parts, op.Op, decode(t, b))
	}
	return doc
}

func applyAt(t failer, doc any, path []string, op string, value any) any {
	t.Helper()
	switch d := doc.(type) {
	case map[string]any:
		_, there := d[path[0]]
		switch {
		case len(path) > 1 && there:
			d[path[0]] = applyAt(t, d[path[0]], path[1:], op, value)
		case len(path) == 1 && op == "remove" && there:
			delete(d, path[0])
		case len(path) == 1 && (op == "add" || op == "replace" && there):
			d[path[0]] = value
		default:
			t.Fatalf("%s %v: no such place", op, path)
		}
		return d
	case []any:
		i, err := strconv.Atoi(path[0])
		if err != nil || i < 0 || i > len(d) || i == len(d) && (op != "add" || len(path) > 1) {
			t.Fatalf("%s %v: no such place", op, path)
		}
		switch {
		case len(path) > 1:
			d[i] = applyAt(t, d[i], path[1:], op, value)
		case op == "remove":
			d = slices.Delete(d, i, i+1)
		case op == "add":
			d = slices.Insert(d, i, value)
		default:
			d[i] = value
		}
		return d
	default:
		t.Fatalf("%s %v: neither object nor list", op, path)
		return nil
	}
}

// Generators of pods: small sets of names, so that things meet.

func probe(t *rapid.T, label string) *corev1.Probe {
	handlers := []*corev1.Probe{
		nil,
		{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/healthy", Port: intstr.FromInt32(8080)}}},
		{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Port: intstr.FromString("http"), Scheme: corev1.URISchemeHTTPS}}, TimeoutSeconds: 3},
		{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Port: intstr.FromString("missing")}}},
		{ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(9000)}}},
		{ProbeHandler: corev1.ProbeHandler{GRPC: &corev1.GRPCAction{Port: 9000, Service: new("x")}}},
		{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"true"}}}},
	}
	return rapid.SampledFrom(handlers).Draw(t, label).DeepCopy()
}

func aContainer(t *rapid.T, name string) corev1.Container {
	c := corev1.Container{Name: name, Image: "app:" + rapid.SampledFrom([]string{"1", "2"}).Draw(t, "tag")}
	if name == inject.ProxyContainer {
		c.Image = rapid.SampledFrom([]string{"auto", "own/proxy:1"}).Draw(t, "proxy image")
	}
	if rapid.Bool().Draw(t, "has port") {
		c.Ports = []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}}
	}
	if rapid.Bool().Draw(t, "has env") {
		c.Env = []corev1.EnvVar{{Name: "A", Value: "b"}}
	}
	c.ReadinessProbe, c.LivenessProbe, c.StartupProbe = probe(t, "readiness"), probe(t, "liveness"), probe(t, "startup")
	return c
}

func aPod(t *rapid.T) *corev1.Pod {
	names := func(of []string, label string) []string {
		return rapid.SliceOfNDistinct(rapid.SampledFrom(of), 0, 3, rapid.ID[string]).Draw(t, label)
	}
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "default"}}
	for _, n := range append([]string{"app"}, names([]string{"side", "istio-proxy", "other"}, "containers")...) {
		p.Spec.Containers = append(p.Spec.Containers, aContainer(t, n))
	}
	for _, n := range names([]string{"prepare", "istio-init", "migrate"}, "init") {
		p.Spec.InitContainers = append(p.Spec.InitContainers, aContainer(t, n))
	}
	for _, n := range names([]string{"data", "cache"}, "volumes") {
		p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: n, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}})
	}
	p.Labels = rapid.MapOfN(rapid.SampledFrom([]string{"app", "version", "sidecar.istio.io/inject", "security.istio.io/tlsMode"}),
		rapid.SampledFrom([]string{"true", "false", "x"}), 0, 3).Draw(t, "labels")
	p.Annotations = map[string]string{}
	for _, a := range names([]string{
		"sidecar.istio.io/nativeSidecar=true", "sidecar.istio.io/nativeSidecar=false", "inject.istio.io/templates=gateway",
		"prometheus.io/scrape=true", "prometheus.io/port=9090", "prometheus.io/scrape=false", "sidecar.istio.io/proxyCPU=1",
		"sidecar.istio.io/interceptionMode=NONE", "traffic.sidecar.istio.io/excludeInboundPorts=22", "status.sidecar.istio.io/port=0",
		`proxy.istio.io/config={"holdApplicationUntilProxyStarts":true}`, "sidecar.istio.io/rewriteAppHTTPProbers=false",
		"sidecar.istio.io/injct=true", "sidecar.istio.io/proxyMemory=lots", "unrelated=1",
	}, "annotations") {
		k, v, _ := strings.Cut(a, "=")
		p.Annotations[k] = v
	}
	return p
}

func someInputs(t *rapid.T) inject.Inputs {
	in := inject.Inputs{Mesh: resource.DefaultMeshConfig(), Values: inject.DefaultValues("1.0.0"), Namespace: inject.Namespace{Name: "default"}}
	in.NativeSidecars = rapid.Bool().Draw(t, "native")
	in.Values.IstioCNI.Enabled = rapid.Bool().Draw(t, "cni")
	in.Values.Global.Network = rapid.SampledFrom([]string{"", "n1"}).Draw(t, "network")
	return in
}

func TestMutatingTwiceIsMutatingOnce(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		pod, in := aPod(t), someInputs(t)
		was := pod.DeepCopy()
		r, ds := inject.Mutate(pod, in)
		if d := cmp.Diff(was, pod); d != "" {
			t.Fatalf("the pod given was changed:\n%s", d)
		}
		worst, any := diag.Worst(ds)
		if refused := any && worst == diag.Error; refused != (r.Pod == nil) {
			t.Fatalf("findings %v, pod %v", ds, r.Pod)
		}
		if r.Pod == nil {
			return
		}
		again, _ := inject.Mutate(r.Pod, in)
		if d := cmp.Diff(r.Pod, again.Pod); d != "" {
			t.Fatalf("the second time it changed again:\n%s", d)
		}
		if r.Decision.Inject && !inject.Injected(r.Pod) {
			t.Fatalf("injected, and not to be recognised as such")
		}
	})
}

// What is not the mesh's stays: containers of the user in their order, field by
// field but for probes and hooks, volumes, labels and annotations.
func TestOthersAreNotTouched(t *testing.T) {
	t.Parallel()
	ours := []string{"istio-proxy", "istio-init", "istio-validation"}
	keep := func(all []corev1.Container) []corev1.Container {
		var out []corev1.Container
		for _, c := range all {
			if !slices.Contains(ours, c.Name) {
				c.ReadinessProbe, c.LivenessProbe, c.StartupProbe, c.Lifecycle = nil, nil, nil, nil
				out = append(out, c)
			}
		}
		return out
	}
	rapid.Check(t, func(t *rapid.T) {
		pod, in := aPod(t), someInputs(t)
		r, _ := inject.Mutate(pod, in)
		if r.Pod == nil {
			return
		}
		if d := cmp.Diff(keep(pod.Spec.Containers), keep(r.Pod.Spec.Containers)); d != "" {
			t.Fatalf("containers:\n%s", d)
		}
		if d := cmp.Diff(keep(pod.Spec.InitContainers), keep(r.Pod.Spec.InitContainers)); d != "" {
			t.Fatalf("init containers:\n%s", d)
		}
		if !reflect.DeepEqual(pod.Spec.Volumes, r.Pod.Spec.Volumes[:len(pod.Spec.Volumes)]) && len(pod.Spec.Volumes) > 0 {
			t.Fatalf("volumes: %v became %v", pod.Spec.Volumes, r.Pod.Spec.Volumes)
		}
		for k, v := range pod.Labels {
			if r.Pod.Labels[k] != v {
				t.Fatalf("label %s=%s became %q", k, v, r.Pod.Labels[k])
			}
		}
		for k, v := range pod.Annotations {
			if !strings.HasPrefix(k, "prometheus.io/") && k != "sidecar.istio.io/interceptionMode" && !strings.HasPrefix(k, "traffic.") && r.Pod.Annotations[k] != v {
				t.Fatalf("annotation %s=%s became %q", k, v, r.Pod.Annotations[k])
			}
		}
	})
}

// The patch leads to the document, also where the pod has fields that our types do
// not know; those are still there afterwards.
func TestPatchKeepsWhatIsUnknown(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		pod, in := aPod(t), someInputs(t)
		b, err := json.Marshal(pod)
		if err != nil {
			t.Fatal(err)
		}
		raw := decode(t, b).(map[string]any)
		spec := raw["spec"].(map[string]any)
		spec["newField"] = "pod"
		for i, c := range spec["containers"].([]any) {
			c.(map[string]any)["newField"] = fmt.Sprint("container ", i)
		}
		if b, err = json.Marshal(raw); err != nil {
			t.Fatal(err)
		}
		got, _, err := inject.MutateJSON(b, in)
		if err != nil {
			t.Fatal(err)
		}
		if got.Pod == nil {
			return
		}
		doc := decode(t, got.Document)
		if d := cmp.Diff(doc, apply(t, decode(t, b), got.Patch)); d != "" {
			t.Fatalf("the patch leads elsewhere (-document +patched):\n%s", d)
		}
		is := doc.(map[string]any)["spec"].(map[string]any)
		if is["newField"] != "pod" {
			t.Fatal("the pod's unknown field is gone")
		}
		was := map[string]any{}
		for _, c := range spec["containers"].([]any) {
			was[c.(map[string]any)["name"].(string)] = c.(map[string]any)["newField"]
		}
		for _, c := range is["containers"].([]any) {
			m := c.(map[string]any)
			if n := m["name"].(string); n != inject.ProxyContainer && m["newField"] != was[n] {
				t.Fatalf("container %s lost its unknown field", n)
			}
		}
		for _, k := range slices.Sorted(maps.Keys(raw)) {
			if _, there := doc.(map[string]any)[k]; !there {
				t.Fatalf("%s is gone", k)
			}
		}
	})
}
