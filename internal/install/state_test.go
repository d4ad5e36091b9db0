package install

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func TestReadiness(t *testing.T) {
	t.Parallel()
	object := func(kind string, generation int64, spec, status map[string]any) *unstructured.Unstructured {
		u := &unstructured.Unstructured{Object: map[string]any{"kind": kind, "spec": spec, "status": status}}
		u.SetGeneration(generation)
		return u
	}
	m := func(kv ...any) map[string]any {
		out := map[string]any{}
		for i := 0; i < len(kv); i += 2 {
			out[kv[i].(string)] = kv[i+1]
		}
		return out
	}
	conditions := func(kind, status, message string) map[string]any {
		return m("conditions", []any{m("type", kind, "status", status, "message", message)})
	}
	for _, c := range []struct {
		name string
		u    *unstructured.Unstructured
		ok   bool
		says string
	}{
		{"ready", object("Deployment", 2, m("replicas", int64(2)), m("observedGeneration", int64(2), "replicas", int64(2), "updatedReplicas", int64(2), "readyReplicas", int64(2))), true, ""},
		{"one replica if none is said", object("Deployment", 1, m(), m("observedGeneration", int64(1), "replicas", int64(1), "updatedReplicas", int64(1), "readyReplicas", int64(1))), true, ""},
		{"not looked at", object("Deployment", 2, m("replicas", int64(1)), m("observedGeneration", int64(1), "updatedReplicas", int64(1), "readyReplicas", int64(1))), false, "has not looked"},
		{"old version", object("Deployment", 1, m("replicas", int64(2)), m("observedGeneration", int64(1), "updatedReplicas", int64(1), "readyReplicas", int64(2))), false, "1 of 2 replicas are of the new version"},
		{"not ready", object("Deployment", 1, m("replicas", int64(2)), m("observedGeneration", int64(1), "updatedReplicas", int64(2), "readyReplicas", int64(1))), false, "1 of 2 replicas are ready"},
		{"ending", object("Deployment", 1, m("replicas", int64(1)), m("observedGeneration", int64(1), "replicas", int64(2), "updatedReplicas", int64(1), "readyReplicas", int64(2))), false, "1 old replica left to end"},
		{"scaled to nothing", object("Deployment", 1, m("replicas", int64(0)), m("observedGeneration", int64(1))), true, ""},
		{"nodes", object("DaemonSet", 1, m(), m("observedGeneration", int64(1), "desiredNumberScheduled", int64(3), "updatedNumberScheduled", int64(3), "numberReady", int64(1))), false, "1 of 3 nodes are ready"},
		{"definition", object("CustomResourceDefinition", 1, m(), conditions("Established", "True", "")), true, ""},
		{"no definition", object("CustomResourceDefinition", 1, m(), conditions("NamesAccepted", "False", "taken")), false, "taken"},
		{"namespace", object("Namespace", 1, m(), m("phase", "Terminating")), false, "terminating"},
		{"anything else", object("ConfigMap", 1, m(), m()), true, ""},
	} {
		ok, why := readiness(c.u)
		if ok != c.ok || !strings.Contains(why, c.says) {
			t.Errorf("%s: %t, %q", c.name, ok, why)
		}
	}
}

func TestPodReasons(t *testing.T) {
	t.Parallel()
	waiting := func(reason, message string) corev1.PodStatus {
		return corev1.PodStatus{Phase: corev1.PodPending, ContainerStatuses: []corev1.ContainerStatus{{
			Name: "discovery", Image: "x/meshd:1", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}},
			LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 137, Reason: "OOMKilled"}},
		}}}
	}
	for _, c := range []struct {
		name       string
		status     corev1.PodStatus
		event      string
		says, hint string
	}{
		{"scheduling", corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Message: "0/1 nodes are available: 1 Insufficient memory."}}}, "", "cannot be scheduled: 0/1", "profile=tiny"},
		{"pulling", waiting("ImagePullBackOff", "Back-off pulling image"), "", "cannot pull image x/meshd:1: Back-off", "--set hub="},
		{
			"no registry", waiting("ImagePullBackOff", `Back-off pulling image "x/meshd:1": ErrImagePull: rpc error: code = Unknown desc = failed to pull and unpack image "x/meshd:1": failed to resolve reference "x/meshd:1": failed to do request: Head "https://x/v2/meshd/manifests/1": dial tcp: lookup x: i/o timeout`), "",
			"cannot pull image x/meshd:1: dial tcp: lookup x: i/o timeout", "--set hub=",
		},
		{"no image", waiting("ErrImagePull", `failed to pull and unpack image "x/meshd:1": failed to resolve reference "x/meshd:1": x/meshd:1: not found`), "", "cannot pull image x/meshd:1: not found", "--set hub="},
		{"crashing", waiting("CrashLoopBackOff", "back-off"), "", "ends again and again with code 137 (OOMKilled)", "--previous"},
		{"no secret", waiting("CreateContainerConfigError", `secret "x" not found`), "", `cannot start container discovery: secret "x" not found`, ""},
		{"starting", waiting("ContainerCreating", ""), "MountVolume failed\nlong", "starts container discovery: MountVolume failed", ""},
		{"ended", corev1.PodStatus{InitContainerStatuses: []corev1.ContainerStatus{{Name: "istio-init", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 1, Message: "no rights"}}}}}, "", "container istio-init has ended with code 1: no rights", "kubectl logs"},
		{"probe", corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{{Name: "d", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}}, "Readiness probe failed: 503", "container d is not ready: Readiness probe failed: 503", ""},
		{"new", corev1.PodStatus{Phase: corev1.PodPending}, "", "waits to be started", ""},
		{"ready", corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{{Ready: true, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}}, "", "", ""},
	} {
		why, hint := podReason(&corev1.Pod{Status: c.status}, c.event)
		if c.says == "" && why != "" || !strings.Contains(why, c.says) || !strings.Contains(hint, c.hint) {
			t.Errorf("%s: %q, hint %q", c.name, why, hint)
		}
	}
}

func TestRecordsArePacked(t *testing.T) {
	t.Parallel()
	c, _, err := Resolve(Input{Profile: "demo", Tag: "1"})
	if err != nil {
		t.Fatal(err)
	}
	objects, err := c.Render(Cluster{})
	if err != nil {
		t.Fatal(err)
	}
	r := Record{Release: c.Release(objects), Number: 7, Status: StatusDeployed, Updated: time.Unix(1000, 0).UTC(), Description: "install"}
	u, err := r.secret()
	if err != nil {
		t.Fatal(err)
	}
	// A Secret holds one megabyte.
	if text, _, _ := unstructured.NestedString(u.Object, "data", dataKey); len(text) > 400_000 {
		t.Errorf("a record takes %d bytes", len(text))
	}
	got, err := unpack(u)
	if err != nil {
		t.Fatal(err)
	}
	if d := Changed(DiffManifests(r.Objects, got.Objects)); len(d) > 0 {
		t.Errorf("objects differ: %v", d)
	}
	got.Objects, r.Objects = nil, nil
	if d := cmp.Diff(mustJSON(r), mustJSON(got)); d != "" {
		t.Error(d)
	}
	for name, data := range map[string]string{"not base64": "!", "not gzip": "AAAA", "nothing": ""} {
		bad := u.DeepCopy()
		if err := unstructured.SetNestedField(bad.Object, data, "data", dataKey); err != nil {
			t.Fatal(err)
		}
		if _, err := unpack(bad); err == nil || !strings.Contains(err.Error(), "meshctl.install.default.v7") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestUpgradeTakesTheNewVersion unless somebody chose one.
func TestUpgradeTakesTheNewVersion(t *testing.T) {
	t.Parallel()
	for set, want := range map[string]string{"values.pilot.traceSampling=2": "2.0", "tag=1.5.0": "1.5.0"} {
		c, _, err := Resolve(Input{Tag: "1.0", Sets: []string{set}})
		if err != nil {
			t.Fatal(err)
		}
		doc, err := (Record{Release: c.Release(nil)}).Options()
		if err != nil {
			t.Fatal(err)
		}
		next, _, err := Resolve(Input{Tag: "2.0", Files: []File{{"record", doc}}})
		if err != nil {
			t.Fatal(err)
		}
		if got := stringAt(next.Spec, "values", "global", "tag"); got != want {
			t.Errorf("%s: version %s, want %s", set, got, want)
		}
	}
}

func TestRollbackTarget(t *testing.T) {
	t.Parallel()
	history := func(all ...Status) []Record {
		var out []Record
		for i, s := range all {
			out = append(out, Record{Number: i + 1, Status: s})
		}
		return out
	}
	s, d, f := StatusSuperseded, StatusDeployed, StatusFailed
	for _, c := range []struct {
		all    []Record
		number int
		want   int
	}{
		{history(s, d), 0, 1},
		{history(s, s, d), 0, 2},
		{history(s, f, s, d), 0, 3},
		{history(s, d, f), 0, 2}, // what failed was never in force
		{history(s, s, d), 1, 1},
		{history(d), 0, 0},
		{history(), 0, 0},
		{history(s, d), 9, 0},
	} {
		got, err := rollbackTarget(c.all, "default", c.number)
		var none *NoRecordError
		if got.Number != c.want || (c.want == 0) != errors.As(err, &none) {
			t.Errorf("%v to %d: %d, %v; want %d", c.all, c.number, got.Number, err, c.want)
		}
	}
}

func TestObsolete(t *testing.T) {
	t.Parallel()
	owned := func(kind, name, component, revision string, more map[string]string) *unstructured.Unstructured {
		u := &unstructured.Unstructured{Object: map[string]any{"kind": kind, "metadata": map[string]any{"name": name}}}
		labels := map[string]string{labelComponent: component}
		if revision != "" {
			labels[labelRevision] = revision
		}
		maps.Copy(labels, more)
		u.SetLabels(labels)
		return u
	}
	there := []*unstructured.Unstructured{
		owned("Deployment", "istiod", Pilot, "default", nil),
		owned("Deployment", "istiod-canary", Pilot, "canary", nil),
		owned("Deployment", "old", Pilot, "default", nil),
		owned("Deployment", "kept", Pilot, "default", map[string]string{keepLabel: "true"}),
		owned("ServiceAccount", "reader", Base, "", nil),
	}
	names := func(rel Release) []string {
		var out []string
		for _, u := range obsolete(rel, there) {
			out = append(out, u.GetName())
		}
		slices.Sort(out)
		return out
	}
	istiod := Object{there[0], Pilot}
	if d := cmp.Diff([]string{"old"}, names(Release{Revision: "default", Objects: []Object{istiod}})); d != "" {
		t.Error(d)
	}
	base := Object{owned("ServiceAccount", "another", Base, "", nil), Base}
	if d := cmp.Diff([]string{"old", "reader"}, names(Release{Revision: "default", Objects: []Object{istiod, base}})); d != "" {
		t.Error(d)
	}
}

func TestWhoIsInTheWay(t *testing.T) {
	t.Parallel()
	rel := Release{Revision: "default", Namespace: "istio-system", Objects: []Object{{nil, Pilot}}}
	foreign := ControlPlane{Name: "istiod", Namespace: "istio-system", Revision: "default", Image: "docker.io/istio/pilot:1.30.0"}
	ours, elsewhere, beside := foreign, foreign, foreign
	ours.Ours, elsewhere.Ours, elsewhere.Namespace, beside.Revision = true, true, "mesh", "old"
	var f *ForeignError
	var o *OtherNamespaceError
	if err := CheckInTheWay(rel, []ControlPlane{foreign}); !errors.As(err, &f) || !strings.Contains(err.Error(), "docker.io/istio/pilot:1.30.0") {
		t.Errorf("foreign: %v", err)
	}
	if err := CheckInTheWay(rel, []ControlPlane{elsewhere}); !errors.As(err, &o) {
		t.Errorf("elsewhere: %v", err)
	}
	if err := CheckInTheWay(rel, []ControlPlane{ours, beside}); err != nil {
		t.Errorf("ours, and one beside it: %v", err)
	}
	if err := CheckInTheWay(Release{Revision: "default", Objects: []Object{{nil, Base}}}, []ControlPlane{foreign}); err != nil {
		t.Errorf("nothing of ours is in its way: %v", err)
	}
}

func TestTagOf(t *testing.T) {
	t.Parallel()
	for image, want := range map[string]string{"a/b:1.2": "1.2", "host:5000/b": "", "host:5000/b:x": "x", "a:1@sha256:ab": "1", "": ""} {
		if got := tagOf(image); got != want {
			t.Errorf("%s: %q", image, got)
		}
	}
}

func TestTagObjects(t *testing.T) {
	t.Parallel()
	all, err := TagObjects(TagInput{Name: "prod", Revision: "canary", Namespace: "istio-system"})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 2 {
		t.Fatalf("%d objects", len(all))
	}
	for _, o := range all {
		if l := o.GetLabels(); l[labelTag] != "prod" || l[labelRevision] != "canary" || l[labelOwner] != "" || l[labelBy] != By {
			t.Errorf("%s has labels %v", IDOf(o.Unstructured), l)
		}
	}
}

func TestInjectedRevision(t *testing.T) {
	t.Parallel()
	pod := func(annotation string) *unstructured.Unstructured {
		u := &unstructured.Unstructured{}
		u.SetAnnotations(map[string]string{statusAnnotation: annotation})
		return u
	}
	if rev, ok := injectedRevision(pod(`{"revision":"canary"}`)); !ok || rev != "canary" {
		t.Errorf("%s, %t", rev, ok)
	}
	if _, ok := injectedRevision(pod(`{`)); ok {
		t.Error("a broken annotation counts")
	}
	if _, ok := injectedRevision(&unstructured.Unstructured{Object: map[string]any{}}); ok {
		t.Error("a pod without a sidecar counts")
	}
}

// TestDefinitionsAreKept: what is newer, or somebody else's, is not overwritten.
func TestDefinitionsAreKept(t *testing.T) {
	t.Parallel()
	crd := func(by, bundle, channel string, versions ...any) *unstructured.Unstructured {
		u := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"versions": []any{}}}}
		var all []any
		for _, v := range versions {
			all = append(all, map[string]any{"name": v, "served": true})
		}
		_ = unstructured.SetNestedSlice(u.Object, all, "spec", "versions")
		u.SetLabels(map[string]string{labelBy: by})
		u.SetAnnotations(map[string]string{bundleVersion: bundle, bundleChannel: channel})
		return u
	}
	ours := crd(By, "v1.6.0", "standard", "v1")
	for name, c := range map[string]struct {
		live *unstructured.Unstructured
		want bool
	}{
		"ours, older":                  {crd(By, "v1.5.1", "standard", "v1"), false},
		"ours, overwritten by newer":   {crd(By, "v1.7.0", "standard", "v1"), true},
		"ours, overwritten by wider":   {crd(By, "v1.6.0", "experimental", "v1"), true},
		"theirs":                       {crd("", "v1.6.0", "standard", "v1"), true},
		"theirs, too old to be of use": {crd("", "v0.8.0", "standard", "v1beta1"), false},
	} {
		if got := keeps(c.live, ours); got != c.want {
			t.Errorf("%s: kept %t", name, got)
		}
	}
}
