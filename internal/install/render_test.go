package install

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	appsv1 "k8s.io/api/apps/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/meshctl/meshctl/charts"
	"github.com/meshctl/meshctl/internal/inject"
	"github.com/meshctl/meshctl/internal/meshd"
	"github.com/meshctl/meshctl/internal/resource"
	"github.com/meshctl/meshctl/profiles"
)

func render(t *testing.T, in Input) []Object {
	t.Helper()
	if in.Tag == "" {
		in.Tag = "1.2.3"
	}
	c, _, err := Resolve(in)
	if err != nil {
		t.Fatal(err)
	}
	objects, err := c.Render(Cluster{})
	if err != nil {
		t.Fatal(err)
	}
	return objects
}

func find(t *testing.T, all []Object, kind, name string) *unstructured.Unstructured {
	t.Helper()
	for _, o := range all {
		if o.GetKind() == kind && o.GetName() == name {
			return o.Unstructured
		}
	}
	t.Fatalf("there is no %s %s", kind, name)
	return nil
}

func has(all []Object, kind, name string) bool {
	return slices.ContainsFunc(all, func(o Object) bool { return o.GetKind() == kind && o.GetName() == name })
}

// TestNodeAgentIsUsed: with the component alone, pods were still given a container that
// redirects, and the rights for it.
func TestNodeAgentIsUsed(t *testing.T) {
	t.Parallel()
	for set, want := range map[string]bool{
		"components.cni.enabled=true":                                true,
		"components.cni.enabled=true values.pilot.cni.enabled=false": false,
		"values.pilot.cni.enabled=true":                              true,
		"components.cni.enabled=false":                               false,
	} {
		all := render(t, Input{Sets: strings.Fields(set)})
		text, _, _ := unstructured.NestedString(find(t, all, "ConfigMap", "istio-sidecar-injector").Object, "data", "values")
		var v struct {
			CNI struct {
				Enabled bool `json:"enabled"`
			} `json:"istio_cni"`
		}
		if err := json.Unmarshal([]byte(text), &v); err != nil {
			t.Fatal(err)
		}
		if v.CNI.Enabled != want {
			t.Errorf("%s: pods use the node agent: %v", set, v.CNI.Enabled)
		}
	}
}

// TestRootsOfIssuers: the certificates come to the file that the control plane reads.
func TestRootsOfIssuers(t *testing.T) {
	t.Parallel()
	const pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
	all := render(t, Input{Revision: "canary", Files: []File{{"f.yaml", fmt.Appendf(nil, "spec: {values: {pilot: {jwksResolverExtraRootCA: %q}}}\n", pem)}}})
	if got, _, _ := unstructured.NestedString(find(t, all, "ConfigMap", "pilot-jwks-extra-cacerts-canary").Object, "data", "extra.pem"); got != pem {
		t.Errorf("the ConfigMap holds %q", got)
	}
	var d appsv1.Deployment
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(find(t, all, "Deployment", "istiod-canary").Object, &d); err != nil {
		t.Fatal(err)
	}
	c, mounted, file := d.Spec.Template.Spec.Containers[0], "", ""
	for _, v := range d.Spec.Template.Spec.Volumes {
		for _, m := range c.VolumeMounts {
			if v.ConfigMap != nil && v.ConfigMap.Name == "pilot-jwks-extra-cacerts-canary" && m.Name == v.Name {
				mounted = m.MountPath + "/extra.pem"
			}
		}
	}
	for _, e := range c.Env {
		if e.Name == "JWKS_EXTRA_ROOT_CA" {
			file = e.Value
		}
	}
	if file == "" || file != mounted {
		t.Errorf("it is mounted as %q and read from %q", mounted, file)
	}
	if has(render(t, Input{}), "ConfigMap", "pilot-jwks-extra-cacerts") {
		t.Error("there is a ConfigMap without certificates")
	}
}

// TestEveryProfile renders, into objects that are ours and in order.
func TestEveryProfile(t *testing.T) {
	t.Parallel()
	for _, name := range profiles.Names() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, revision := range []string{"", "canary"} {
				all := render(t, Input{Profile: name, Revision: revision})
				last := -1
				for _, o := range all {
					labels := o.GetLabels()
					if labels[labelBy] != By || labels[labelOwner] != ownerName || labels[labelComponent] != o.Component {
						t.Errorf("%s is not marked: %v", IDOf(o.Unstructured), labels)
					}
					if n := wave(o.Component)*100 + kindRank(o.GetKind()); n < last {
						t.Errorf("%s comes too late", IDOf(o.Unstructured))
					} else {
						last = n
					}
				}
				text, err := Manifest(all)
				if err != nil {
					t.Fatal(err)
				}
				again, err := ParseManifest(text)
				if err != nil {
					t.Fatal(err)
				}
				if d := Changed(DiffManifests(all, again)); len(d) > 0 || len(all) != len(again) {
					t.Errorf("printing and reading changes %v", d)
				}
			}
		})
	}
}

// TestRevisionsShareNothing but what belongs to all of them.
func TestRevisionsShareNothing(t *testing.T) {
	t.Parallel()
	ids := map[ID]bool{}
	for _, o := range render(t, Input{Profile: "minimal"}) {
		ids[IDOf(o.Unstructured)] = true
	}
	for _, o := range render(t, Input{Profile: "minimal", Revision: "canary"}) {
		if ids[IDOf(o.Unstructured)] && o.Component != Base {
			t.Errorf("%s is of both revisions", IDOf(o.Unstructured))
		}
	}
}

// TestRightsAreTheProgramsOwn: the control plane may do what it says that it
// needs, and nothing besides.
func TestRightsAreTheProgramsOwn(t *testing.T) {
	t.Parallel()
	for _, revision := range []string{"default", "canary"} {
		compareRights(t, revision, meshd.Rights(revision), func(o Object) bool { return o.Component == Pilot })
	}
	compareRights(t, "default", meshd.RemoteRights(), func(o Object) bool { return strings.HasPrefix(o.GetName(), "istio-reader") })
}

// compareRights compares what is needed with what the roles that are chosen grant.
func compareRights(t *testing.T, revision string, rights []meshd.Right, role func(Object) bool) {
	t.Helper()
	granted, needed := map[string]bool{}, map[string]bool{}
	each := func(into map[string]bool, root bool, groups, resources, names, verbs []string) {
		if len(names) == 0 {
			names = []string{"*"}
		}
		for _, g := range groups {
			for _, r := range resources {
				for _, n := range names {
					for _, v := range verbs {
						into[fmt.Sprintf("root=%t %s %s/%s %s", root, v, g, r, n)] = true
					}
				}
			}
		}
	}
	for _, r := range rights {
		each(needed, r.Root, []string{r.Group}, r.Resources, r.Names, r.Verbs)
	}
	for _, o := range render(t, Input{Profile: "minimal", Revision: revision}) {
		if !role(o) || o.GetKind() != "ClusterRole" && o.GetKind() != "Role" {
			continue
		}
		var role rbacv1.ClusterRole
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &role); err != nil {
			t.Fatal(err)
		}
		for _, r := range role.Rules {
			each(granted, o.GetKind() == "Role", r.APIGroups, r.Resources, r.ResourceNames, r.Verbs)
		}
	}
	for k := range needed {
		if !granted[k] {
			t.Errorf("%s: not granted: %s", revision, k)
		}
	}
	for k := range granted {
		if !needed[k] {
			t.Errorf("%s: granted, and not needed: %s", revision, k)
		}
	}
}

// TestWhatProgramsRead: the ConfigMaps hold what the control plane and injection
// take.
func TestWhatProgramsRead(t *testing.T) {
	t.Parallel()
	all := render(t, Input{
		Profile: "demo", Revision: "canary",
		Sets: []string{"meshConfig.outboundTrafficPolicy.mode=REGISTRY_ONLY", "values.global.proxy.logLevel=debug", "values.pilot.cni.enabled=true", "values.global.proxy.excludeInboundPorts=8080"},
	})
	data := func(name, key string) string {
		text, _, _ := unstructured.NestedString(find(t, all, "ConfigMap", name).Object, "data", key)
		return text
	}
	mesh, found := resource.DecodeMeshConfig("mesh", []byte(data("istio-canary", "mesh")))
	if mesh == nil {
		t.Fatal(found)
	}
	if mesh.GetOutboundTrafficPolicy().GetMode().String() != "REGISTRY_ONLY" || mesh.GetAccessLogFile() != "/dev/stdout" ||
		mesh.GetDefaultConfig().GetDiscoveryAddress() != "istiod-canary.istio-system.svc:15012" || mesh.GetDefaultConfig().GetTracing().GetSampling() != 100 {
		t.Errorf("the mesh configuration is %v", mesh)
	}
	v, err := inject.ParseValues([]byte(data("istio-sidecar-injector-canary", "values")), "9.9.9")
	if err != nil {
		t.Fatal(err)
	}
	if v.Global.Proxy.LogLevel != "debug" || v.Revision != "canary" || !v.Pilot.CNI.Enabled || v.Global.Tag != "1.2.3" || v.Global.Proxy.ExcludeInboundPorts != "8080" {
		t.Errorf("the injection values are %+v", v)
	}
}

// TestGateways: names, labels and ports are what Gateway resources and tools expect.
func TestGateways(t *testing.T) {
	t.Parallel()
	all := render(t, Input{Profile: "demo", Files: []File{{"f.yaml", []byte(`
apiVersion: install.istio.io/v1alpha1
kind: IstioOperator
spec:
  components:
    ingressGateways:
    - name: istio-ingressgateway
      k8s:
        service: {type: NodePort}
        serviceAnnotations: {a: b}
        hpaSpec: {maxReplicas: 9}
    - name: private
      namespace: gateways
      enabled: true
      label: {istio: private, team: x}
  values:
    gateways:
      istio-ingressgateway:
        autoscaleEnabled: true
`)}}})
	service := find(t, all, "Service", "istio-ingressgateway")
	if kind, _, _ := unstructured.NestedString(service.Object, "spec", "type"); kind != "NodePort" || service.GetAnnotations()["a"] != "b" {
		t.Errorf("the Service is of type %s, annotations %v", kind, service.GetAnnotations())
	}
	ports, _, _ := unstructured.NestedSlice(service.Object, "spec", "ports")
	if len(ports) != 5 {
		t.Errorf("%d ports", len(ports))
	}
	hpa := find(t, all, "HorizontalPodAutoscaler", "istio-ingressgateway")
	if n, _, _ := unstructured.NestedInt64(hpa.Object, "spec", "maxReplicas"); n != 9 {
		t.Errorf("maxReplicas is %d", n)
	}
	var d appsv1.Deployment
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(find(t, all, "Deployment", "istio-ingressgateway").Object, &d); err != nil {
		t.Fatal(err)
	}
	if d.Spec.Template.Labels["istio"] != "ingressgateway" || d.Spec.Template.Labels["app"] != "istio-ingressgateway" || d.Spec.Template.Spec.Containers[0].Image != "auto" {
		t.Errorf("pods have %v", d.Spec.Template.Labels)
	}
	private := find(t, all, "Service", "private")
	if private.GetNamespace() != "gateways" || private.GetLabels()["istio"] != "private" || private.GetLabels()["team"] != "x" {
		t.Errorf("the other gateway is in %s with %v", private.GetNamespace(), private.GetLabels())
	}
	if !has(all, "Deployment", "istio-egressgateway") {
		t.Error("no egress gateway")
	}
}

// TestLayOver: settings under k8s, and overlays, reach the objects.
func TestLayOver(t *testing.T) {
	t.Parallel()
	all := render(t, Input{Profile: "minimal", Files: []File{{"f.yaml", []byte(`
apiVersion: install.istio.io/v1alpha1
kind: IstioOperator
spec:
  components:
    pilot:
      hub: other.example/x
      k8s:
        replicaCount: 3
        env:
        - {name: GODEBUG, value: x}
        resources:
          requests: {cpu: 7m}
        tolerations:
        - {key: a, operator: Exists}
        podAnnotations: {p: q}
        nodeSelector: {disk: ssd}
        volumes:
        - {name: v, emptyDir: {}}
        volumeMounts:
        - {name: v, mountPath: /v}
        overlays:
        - kind: Deployment
          name: istiod
          patches:
          - path: spec.template.spec.containers.[name:discovery].args.[--log-level=info]
            value: --log-level=debug
          - path: spec.template.spec.containers[name:discovery].args[-1]
            value: --more
          - path: metadata.labels.extra\.io/x
            value: "yes"
          - path: spec.template.spec.securityContext
            value: {fsGroup: 7}
          - path: spec.strategy
`)}}})
	var d appsv1.Deployment
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(find(t, all, "Deployment", "istiod").Object, &d); err != nil {
		t.Fatal(err)
	}
	pod := d.Spec.Template.Spec
	c := pod.Containers[0]
	for what, ok := range map[string]bool{
		"replicas": *d.Spec.Replicas == 3, "image": c.Image == "other.example/x/meshd:1.2.3",
		"env merged": len(c.Env) > 4 && c.Env[0].Name == "GODEBUG", "cpu": c.Resources.Requests.Cpu().String() == "7m",
		"memory kept": c.Resources.Requests.Memory().String() == "128Mi", "toleration": len(pod.Tolerations) == 1,
		"annotation": d.Spec.Template.Annotations["p"] == "q", "selector": pod.NodeSelector["disk"] == "ssd",
		"volumes added": len(pod.Volumes) == 2 && len(c.VolumeMounts) == 2, "argument changed": slices.Contains(c.Args, "--log-level=debug") && !slices.Contains(c.Args, "--log-level=info"),
		"argument added": c.Args[len(c.Args)-1] == "--more", "dotted label": d.Labels["extra.io/x"] == "yes",
		"map merged": *pod.SecurityContext.FSGroup == 7 && *pod.SecurityContext.RunAsNonRoot, "removed": d.Spec.Strategy.RollingUpdate == nil,
	} {
		if !ok {
			t.Errorf("%s: %s", what, mustJSON(d.Spec))
		}
	}
}

func mustJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

func TestBadOverlays(t *testing.T) {
	t.Parallel()
	for overlay, says := range map[string]string{
		"{kind: Deployment, name: gone}":                                                            `no Deployment "gone"; it has`,
		"{kind: Deployment, name: istiod, patchez: []}":                                             `no field "patchez"`,
		"{kind: Deployment, name: istiod, patches: [{path: 'spec..x'}]}":                            "empty name",
		"{kind: Deployment, name: istiod, patches: [{path: 'metadata.name.x', value: 1}]}":          "there is text",
		"{kind: Deployment, name: istiod, patches: [{path: 'spec.template.spec.volumes[gone].x'}]}": "no item",
	} {
		c, _, err := Resolve(Input{Tag: "1", Profile: "minimal", Sets: []string{"components.pilot.k8s.overlays=[" + overlay + "]"}})
		if err != nil {
			t.Errorf("%s: %v", overlay, err)
			continue
		}
		if _, err := c.Render(Cluster{}); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: got %v, want %q", overlay, err, says)
		}
	}
}

// TestChartsByThemselves: plain Helm installs each with no value at all, and
// every value is commented or belongs to one that is.
func TestChartsByThemselves(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"base", "istiod", "gateway", "cni"} {
		ch, err := loadChart(charts.Files, name)
		if err != nil {
			t.Fatal(err)
		}
		text, err := renderChart(ch, Component{Chart: name, Name: "release", Namespace: "istio-system", Values: map[string]any{}}, Cluster{Version: "v1.35.4"})
		if err != nil {
			t.Fatal(err)
		}
		objects, err := parseManifest(text)
		if err != nil || len(objects) < 3 {
			t.Errorf("chart %s makes %d objects, %v", name, len(objects), err)
		}
	}
}

// TestWebhooksLeaveOthersAlone: a control plane that is down stops nobody who did
// not ask for it.
func TestWebhooksLeaveOthersAlone(t *testing.T) {
	t.Parallel()
	all := render(t, Input{Profile: "minimal", Sets: []string{"values.revisionTags={prod,default}", "revision=canary"}})
	for _, name := range []string{"istio-sidecar-injector-canary", "istio-revision-tag-prod", "istio-revision-tag-default"} {
		hooks, _, _ := unstructured.NestedSlice(find(t, all, "MutatingWebhookConfiguration", name).Object, "webhooks")
		want := 2
		if name == "istio-revision-tag-default" {
			want = 4
		}
		if len(hooks) != want {
			t.Errorf("%s has %d webhooks, want %d", name, len(hooks), want)
		}
		for _, h := range hooks {
			text := mustJSON(h)
			if !strings.Contains(text, `"kube-system"`) || !strings.Contains(text, "istio.io/rev") && !strings.Contains(text, "istio-injection") || !strings.Contains(text, `"istiod-canary"`) {
				t.Errorf("%s: %s", name, text)
			}
		}
	}
}

func TestOtherCharts(t *testing.T) {
	t.Parallel()
	other := fstest.MapFS{}
	if err := fs.WalkDir(charts.Files, ".", func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			b, err := fs.ReadFile(charts.Files, p)
			if err != nil {
				return err
			}
			other[p] = &fstest.MapFile{Data: b}
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	other["istiod/values.yaml"].Data = append(other["istiod/values.yaml"].Data, "\n# A knob of mine.\nmine: 1\n"...)
	if _, _, err := Resolve(Input{Charts: other, Tag: "1", Sets: []string{"values.mine=2"}}); err != nil {
		t.Errorf("a knob of other charts: %v", err)
	}
	delete(other, "gateway/Chart.yaml")
	c, _, err := Resolve(Input{Charts: other, Tag: "1"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Render(Cluster{}); err == nil || !strings.Contains(err.Error(), "gateway") {
		t.Errorf("a chart that is no chart: %v", err)
	}
}

// TestValuesDoSomething: every knob of the charts, when it is changed, changes what
// comes out. A knob that does nothing is a lie.
func TestValuesDoSomething(t *testing.T) {
	t.Parallel()
	for _, chart := range []struct {
		name  string
		needs map[string]string // knobs that matter only with others
	}{
		{"istiod", map[string]string{
			"pilot.autoscaleMin": "", "pilot.replicaCount": "pilot.autoscaleEnabled=false", "global.defaultPodDisruptionBudget.enabled": "pilot.autoscaleMin=3",
			"istiodRemote.enabled": "pilot.enabled=false", "pilot.memory.targetAverageUtilization": "",
		}},
		{"gateway", map[string]string{"replicaCount": "autoscaling.enabled=false", "serviceAccount.annotations": ""}},
		{"cni", nil},
		{"base", map[string]string{"base.excludedCRDs": "base.excludedCRDs=[virtualservices.networking.istio.io]"}},
	} {
		ch, err := loadChart(charts.Files, chart.name)
		if err != nil {
			t.Fatal(err)
		}
		text, err := fs.ReadFile(charts.Files, chart.name+"/values.yaml")
		if err != nil {
			t.Fatal(err)
		}
		var values map[string]any
		if err := yaml.Unmarshal(text, &values); err != nil {
			t.Fatal(err)
		}
		out := func(v map[string]any) string {
			text, err := renderChart(ch, Component{Chart: chart.name, Name: "r", Namespace: "istio-system", Values: v}, Cluster{})
			if err != nil {
				return "error: " + err.Error()
			}
			return text
		}
		var each func(v any, at path)
		each = func(v any, at path) {
			if m, ok := v.(map[string]any); ok && len(m) > 0 {
				for k, e := range m {
					each(e, append(slices.Clone(at), k))
				}
				return
			}
			base, to := clone(values).(map[string]any), another(v)
			if need := chart.needs[at.String()]; need != "" {
				s, err := readSet(need)
				if err != nil {
					t.Fatal(err)
				}
				if s.path.String() != at.String() {
					if _, err := put(base, s.path, s.value); err != nil {
						t.Fatal(err)
					}
				} else {
					to = s.value
				}
			}
			changed := clone(base).(map[string]any)
			if _, err := put(changed, at, to); err != nil {
				t.Fatal(err)
			}
			if reflect.DeepEqual(out(base), out(changed)) {
				t.Errorf("chart %s: %s does nothing", chart.name, at)
			}
		}
		each(values, nil)
	}
}

// another is a value of the same type.
func another(v any) any {
	switch v := v.(type) {
	case bool:
		return !v
	case string:
		return "other"
	case float64:
		return v + 3
	case int64:
		return v + 3
	case []any:
		return []any{"other"}
	default:
		return map[string]any{"other": "value"}
	}
}
