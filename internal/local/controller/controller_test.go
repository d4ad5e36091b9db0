package controller_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"pgregory.net/rapid"

	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/local/controller"
	"github.com/meshctl/meshctl/internal/resource"
)

func decode(t testing.TB, text string) []*resource.Object {
	t.Helper()
	objects, ds := resource.Decode("in.yaml", []byte(text), resource.Options{})
	for _, d := range ds {
		if d.Severity == diag.Error {
			t.Fatal(d)
		}
	}
	return objects
}

func deployment(name string, replicas int, image, extra string) string {
	return fmt.Sprintf(`
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: %s, namespace: shop}
spec:
  replicas: %d
  %s
  selector: {matchLabels: {app: %s}}
  template:
    metadata: {labels: {app: %s}}
    spec: {containers: [{name: c, image: %q, ports: [{name: http, containerPort: 8080}]}]}
`, name, replicas, extra, name, name, image)
}

func one(t testing.TB, text string) controller.Workload {
	t.Helper()
	all, ds := controller.Workloads(decode(t, text), nil)
	if len(all) != 1 || len(ds) != 0 {
		t.Fatalf("got %d workloads, findings %v", len(all), ds)
	}
	return all[0]
}

func TestNamesAreStableAndTellVersions(t *testing.T) {
	t.Parallel()
	names := func(text string) []string {
		var all []string
		for _, p := range controller.Rollout(one(t, text), nil, nil).Start {
			all = append(all, p.Name)
		}
		return all
	}
	a, b, c := names(deployment("web", 2, "web:1", "")), names(deployment("web", 2, "web:1", "")), names(deployment("web", 2, "web:2", ""))
	if !slices.Equal(a, b) {
		t.Errorf("names change from run to run: %v, %v", a, b)
	}
	if len(a) != 2 || a[0] == a[1] || slices.Contains(c, a[0]) {
		t.Errorf("names: %v and %v", a, c)
	}
	for _, n := range a {
		if parts := strings.Split(n, "-"); len(parts) != 3 || len(parts[1]) != 10 || len(parts[2]) != 5 {
			t.Errorf("name %s", n)
		}
	}
}

func TestOtherKinds(t *testing.T) {
	t.Parallel()
	template := `template: {metadata: {labels: {app: x}}, spec: {containers: [{name: c, image: x}]}}`
	cases := map[string]struct {
		text  string
		names []string
	}{
		"stateful set": {"apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {name: db, namespace: shop}\nspec: {replicas: 1, serviceName: db, selector: {matchLabels: {app: x}}, " + template + "}", []string{"db-0"}},
		"pod":          {"apiVersion: v1\nkind: Pod\nmetadata: {name: lone, namespace: shop}\nspec: {containers: [{name: c, image: x}]}", []string{"lone"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := one(t, tc.text)
			var got []string
			plan := controller.Rollout(w, nil, nil)
			for _, p := range plan.Start {
				got = append(got, p.Name)
			}
			if !slices.Equal(got, tc.names) {
				t.Errorf("got %v, want %v", got, tc.names)
			}
		})
	}
}

// Whatever the limits, a rollout in which every new pod becomes ready ends with
// exactly the new pods, and keeps its promises on the way.
func TestRolloutKeepsItsLimits(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		before, after := rapid.IntRange(0, 6).Draw(rt, "before"), rapid.IntRange(0, 6).Draw(rt, "after")
		surge, unavailable := rapid.IntRange(0, 3).Draw(rt, "surge"), rapid.IntRange(0, 3).Draw(rt, "unavailable")
		if surge+unavailable == 0 {
			surge = 1
		}
		limits := fmt.Sprintf("strategy: {rollingUpdate: {maxSurge: %d, maxUnavailable: %d}}", surge, unavailable)
		var pods []controller.Pod
		for _, p := range controller.Rollout(one(t, deployment("web", before, "web:1", limits)), nil, nil).Start {
			pods = append(pods, controller.Pod{PodSpec: p, PodStatus: controller.PodStatus{Ready: true, Phase: corev1.PodRunning}})
		}
		start := len(pods)
		w := one(t, deployment("web", after, "web:2", limits))
		for round := 0; ; round++ {
			if round > 100 {
				rt.Fatal("the rollout does not end")
			}
			plan := controller.Rollout(w, pods, nil)
			if len(plan.Start)+len(plan.Stop) == 0 && !slices.ContainsFunc(pods, func(p controller.Pod) bool { return !p.Ready || p.Terminating }) {
				break
			}
			for _, p := range plan.Start {
				pods = append(pods, controller.Pod{PodSpec: p})
			}
			for i := range pods {
				if slices.Contains(plan.Stop, pods[i].Name) {
					pods[i].Terminating = true
				}
			}
			running, ready := 0, 0
			for _, p := range pods {
				if p.Terminating {
					continue
				}
				running++
				if p.Ready {
					ready++
				}
			}
			if running > max(after+surge, start) {
				rt.Fatalf("%d pods at a time, limit %d", running, max(after+surge, start))
			}
			if ready < min(after-unavailable, start) {
				rt.Fatalf("%d pods ready, want at least %d", ready, min(after-unavailable, start))
			}
			// Something happens to one pod: it ends, or becomes ready.
			if len(pods) > 0 {
				i := rapid.IntRange(0, len(pods)-1).Draw(rt, "pod")
				if pods[i].Terminating {
					pods = slices.Delete(pods, i, i+1)
				} else {
					pods[i].Ready, pods[i].Phase = true, corev1.PodRunning
				}
			}
		}
		for _, p := range pods {
			if p.Hash != w.Hash {
				rt.Fatalf("an old pod is left: %s", p.Name)
			}
		}
		if len(pods) != after {
			rt.Fatalf("%d pods, want %d", len(pods), after)
		}
	})
}

func TestRecreateStopsFirst(t *testing.T) {
	t.Parallel()
	old := controller.Rollout(one(t, deployment("web", 1, "web:1", "strategy: {type: Recreate}")), nil, nil).Start
	pods := []controller.Pod{{PodSpec: old[0], PodStatus: controller.PodStatus{Ready: true}}}
	w := one(t, deployment("web", 1, "web:2", "strategy: {type: Recreate}"))
	plan := controller.Rollout(w, pods, nil)
	if len(plan.Start) != 0 || len(plan.Stop) != 1 {
		t.Fatalf("first %+v", plan)
	}
	pods[0].Terminating = true
	if plan = controller.Rollout(w, pods, nil); len(plan.Stop) != 0 {
		t.Errorf("while it ends: %+v", plan)
	}
	if plan = controller.Rollout(w, nil, nil); len(plan.Start) != 1 {
		t.Errorf("then: %+v", plan)
	}
}

func TestInjection(t *testing.T) {
	t.Parallel()
	auto := corev1.PodSpec{Containers: []corev1.Container{{Name: "istio-proxy", Image: "auto"}}}
	app := corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "web"}}}
	yes, no := map[string]string{"sidecar.istio.io/inject": "true"}, map[string]string{"sidecar.istio.io/inject": "false"}
	off := map[string]string{"istio-injection": "disabled"}
	cases := map[string]struct {
		namespace map[string]string
		pod       controller.PodSpec
		want      controller.Injection
	}{
		"by default":           {nil, controller.PodSpec{Spec: app}, controller.Sidecar},
		"namespace off":        {off, controller.PodSpec{Spec: app}, controller.NoProxy},
		"label off":            {nil, controller.PodSpec{Spec: app, Labels: no}, controller.NoProxy},
		"annotation off":       {nil, controller.PodSpec{Spec: app, Annotations: no}, controller.NoProxy},
		"label over namespace": {off, controller.PodSpec{Spec: app, Labels: yes}, controller.Sidecar},
		"label wins":           {nil, controller.PodSpec{Spec: app, Labels: yes, Annotations: no}, controller.Sidecar},
		"gateway":              {off, controller.PodSpec{Spec: auto, Annotations: map[string]string{"inject.istio.io/templates": "gateway"}}, controller.Gateway},
		"gateway by label":     {nil, controller.PodSpec{Spec: auto, Labels: map[string]string{"istio": "ingressgateway"}}, controller.Gateway},
		"host network":         {nil, controller.PodSpec{Spec: corev1.PodSpec{HostNetwork: true}}, controller.NoProxy},
	}
	for name, tc := range cases {
		if got := controller.Decide(tc.namespace, tc.pod); got != tc.want {
			t.Errorf("%s: %s, want %s", name, got, tc.want)
		}
	}
}

func TestUnsupportedIsNamedWithItsPlace(t *testing.T) {
	t.Parallel()
	text := `apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: c
        image: web
        securityContext: {privileged: true}
      volumes:
      - name: data
        persistentVolumeClaim: {claimName: data}
`
	all, ds := controller.Workloads(decode(t, text), nil)
	if len(all) != 0 || len(ds) != 2 {
		t.Fatalf("workloads %v, findings %v", all, ds)
	}
	for i, want := range []struct{ field, pos string }{
		{"spec.template.spec.volumes[0]", "in.yaml:14:9"},
		{"spec.template.spec.containers[0].securityContext.privileged", "in.yaml:12:27"},
	} {
		if d := ds[i]; d.Field != want.field || d.Pos.String() != want.pos || d.Fix == "" {
			t.Errorf("finding %s at %s: %s (fix %q)", d.Field, d.Pos, d.Message, d.Fix)
		}
	}
}

func TestTooManyReplicas(t *testing.T) {
	t.Parallel()
	all, ds := controller.Workloads(decode(t, deployment("web", 100000, "web:1", "")), nil)
	if len(all) != 0 || len(ds) != 1 || ds[0].Field != "spec.replicas" || ds[0].Pos.Line == 0 {
		t.Errorf("%v %v", all, ds)
	}
}

func service(name, spec string) string {
	return fmt.Sprintf("\n---\napiVersion: v1\nkind: Service\nmetadata: {name: %s, namespace: shop}\nspec: %s\n", name, spec)
}

const onePort = "{ports: [{port: 80}]}"

func TestServiceAddresses(t *testing.T) {
	t.Parallel()
	a := controller.NewAllocator(netip.MustParsePrefix("10.96.0.0/16"))
	first, ds := a.Services(decode(t, service("web", onePort)+service("fixed", "{clusterIP: 10.96.0.77, ports: [{port: 80}]}")+
		service("headless", "{clusterIP: None, ports: [{port: 80}]}")+service("out", "{type: ExternalName, externalName: example.com}")))
	if len(ds) != 0 || len(first) != 4 {
		t.Fatalf("%v %v", first, ds)
	}
	byName := map[string]string{}
	for _, s := range first {
		byName[s.Name] = s.Spec.ClusterIP
	}
	if byName["fixed"] != "10.96.0.77" || byName["headless"] != "None" || byName["out"] != "" || !strings.HasPrefix(byName["web"], "10.96.") {
		t.Errorf("addresses %v", byName)
	}
	again, _ := controller.NewAllocator(netip.MustParsePrefix("10.96.0.0/16")).Services(decode(t, service("web", onePort)))
	if again[0].Spec.ClusterIP != byName["web"] {
		t.Errorf("another run gives %s, before %s", again[0].Spec.ClusterIP, byName["web"])
	}
}

func TestWrongServiceAddresses(t *testing.T) {
	t.Parallel()
	a := controller.NewAllocator(netip.MustParsePrefix("10.96.0.0/16"))
	got, ds := a.Services(decode(t, service("a", "{clusterIP: 10.96.1.1, ports: [{port: 80}]}")+
		service("b", "{clusterIP: 10.96.1.1, ports: [{port: 80}]}")+service("c", "{clusterIP: 192.0.2.1, ports: [{port: 80}]}")))
	var messages []string
	for _, d := range ds {
		messages = append(messages, d.Message)
	}
	want := []string{"clusterIP 10.96.1.1 is the address of service shop/a", "clusterIP 192.0.2.1 is outside of the service network 10.96.0.0/16"}
	if diff := cmp.Diff(want, messages); diff != "" || len(got) != 1 {
		t.Errorf("kept %d (-want +got):\n%s", len(got), diff)
	}
}

// Addresses are unique and never change while the service exists, whatever
// comes and goes, also in a network that is nearly full.
func TestAddressesAreUniqueAndStay(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		a := controller.NewAllocator(netip.MustParsePrefix("10.96.0.0/28"))
		before := map[string]string{}
		for range 10 {
			var text strings.Builder
			for _, n := range rapid.SliceOfDistinct(rapid.IntRange(0, 8), rapid.ID).Draw(rt, "services") {
				text.WriteString(service(fmt.Sprint("s", n), onePort))
			}
			if text.Len() == 0 {
				continue
			}
			services, ds := a.Services(decode(t, text.String()))
			if len(services)+len(ds) != strings.Count(text.String(), "kind: Service") {
				rt.Fatalf("%d served, %d findings", len(services), len(ds))
			}
			now, taken := map[string]string{}, map[string]string{}
			for _, s := range services {
				ip := s.Spec.ClusterIP
				if other := taken[ip]; other != "" {
					rt.Fatalf("%s and %s share %s", other, s.Name, ip)
				}
				taken[ip], now[s.Name] = s.Name, ip
				if old, ok := before[s.Name]; ok && old != ip {
					rt.Fatalf("%s moved from %s to %s", s.Name, old, ip)
				}
			}
			before = now
		}
	})
}

func readyPod(t *testing.T, ip string, change func(*controller.Pod)) controller.Pod {
	t.Helper()
	spec := controller.Rollout(one(t, deployment("web", 1, "web:1", "")), nil, nil).Start[0]
	p := controller.Pod{PodSpec: spec, PodStatus: controller.PodStatus{IP: netip.MustParseAddr(ip), Phase: corev1.PodRunning, Ready: true}, UID: "u"}
	p.Name += ip
	if change != nil {
		change(&p)
	}
	return p
}

func TestEndpointSlices(t *testing.T) {
	t.Parallel()
	services, _ := controller.NewAllocator(netip.MustParsePrefix("10.96.0.0/16")).Services(decode(t,
		service("web", "{selector: {app: web}, ports: [{name: http, port: 80, targetPort: http}, {name: raw, port: 81, targetPort: 9}]}")+
			service("none", "{selector: {app: nothing}, ports: [{port: 80}]}")+service("manual", onePort)))
	pods := []controller.Pod{
		readyPod(t, "10.244.1.1", nil),
		readyPod(t, "10.244.1.2", func(p *controller.Pod) { p.Ready = false }),
		readyPod(t, "10.244.1.3", func(p *controller.Pod) { p.Terminating = true }),
		readyPod(t, "10.244.1.4", func(p *controller.Pod) { p.Phase = corev1.PodSucceeded }),
		readyPod(t, "10.244.1.5", func(p *controller.Pod) { p.Namespace = "other" }),
		readyPod(t, "10.244.1.6", func(p *controller.Pod) { p.Spec.Containers[0].Ports[0].ContainerPort = 7070 }),
	}
	var got []string
	for _, s := range controller.EndpointSlices(services, pods, "local", func(_ controller.Pod, port int32) int32 { return port }) {
		line := s.Labels["kubernetes.io/service-name"]
		for _, p := range s.Ports {
			line += fmt.Sprintf(" %s=%d/%s", *p.Name, *p.Port, *p.Protocol)
		}
		for _, e := range s.Endpoints {
			line += fmt.Sprintf(" %s ready=%t serving=%t terminating=%t", e.Addresses[0], *e.Conditions.Ready, *e.Conditions.Serving, *e.Conditions.Terminating)
		}
		got = append(got, line)
	}
	slices.Sort(got)
	want := []string{
		"none =80/TCP",
		"web http=7070/TCP raw=9/TCP 10.244.1.6 ready=true serving=true terminating=false",
		"web http=8080/TCP raw=9/TCP 10.244.1.1 ready=true serving=true terminating=false" +
			" 10.244.1.2 ready=false serving=false terminating=false 10.244.1.3 ready=false serving=true terminating=true",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// The control plane gets Pods that pass the same strict decoding as a user's.
func TestPodObject(t *testing.T) {
	t.Parallel()
	p := readyPod(t, "10.244.1.1", nil)
	o := controller.PodObject(p, "local", "10.244.0.1")
	object, err := resource.FromKube(o)
	if err != nil {
		t.Fatal(err)
	}
	if object.Meta.OwnerKind != "ReplicaSet" || object.Meta.OwnerName != "web-"+p.Hash {
		t.Errorf("owner %s %s", object.Meta.OwnerKind, object.Meta.OwnerName)
	}
	if o.Spec.ServiceAccountName != "default" || o.Status.PodIP != "10.244.1.1" || o.Labels["pod-template-hash"] != p.Hash {
		t.Errorf("%+v", o)
	}
	ready := slices.ContainsFunc(o.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
	if !ready {
		t.Errorf("conditions %v", o.Status.Conditions)
	}
}

func TestGatewayObjects(t *testing.T) {
	t.Parallel()
	objects, err := controller.DefaultGateway()
	if err != nil {
		t.Fatal(err)
	}
	w, ds := controller.Workloads(objects, nil)
	if len(w) != 1 || len(ds) != 0 {
		t.Fatalf("%v %v", w, ds)
	}
	if p := controller.Rollout(w[0], nil, nil).Start[0]; p.Injection != controller.Gateway || p.ServiceAccount() != "istio-ingressgateway-service-account" {
		t.Errorf("%+v", p)
	}
}
