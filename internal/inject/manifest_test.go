package inject_test

import (
	"bytes"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/inject"
	"github.com/meshctl/meshctl/internal/resource"
)

func offline() inject.Inputs {
	return inject.Inputs{Mesh: resource.DefaultMeshConfig(), Values: inject.DefaultValues("1.0.0"), Namespace: inject.Namespace{Name: "default"}}
}

func workload(version, kind, path string) string {
	pod := "spec: {containers: [{name: a, image: a:1}], restartPolicy: Never}"
	keys := strings.Split(path, ".")
	text := "apiVersion: " + version + "\nkind: " + kind + "\nmetadata: {name: w, namespace: shop}\n"
	indent := ""
	for _, k := range keys {
		if k != "" {
			text += indent + k + ":\n"
			indent += "  "
		}
	}
	return text + indent + pod + "\n"
}

func TestEveryKindOfWorkload(t *testing.T) {
	t.Parallel()
	for kind, at := range map[string]string{
		"apps/v1 Deployment": "spec.template", "apps/v1 StatefulSet": "spec.template", "apps/v1 DaemonSet": "spec.template", "apps/v1 ReplicaSet": "spec.template",
		"batch/v1 Job": "spec.template", "batch/v1 CronJob": "spec.jobTemplate.spec.template", "v1 ReplicationController": "spec.template", "v1 Pod": "",
		"apps.openshift.io/v1 DeploymentConfig": "spec.template", "argoproj.io/v1alpha1 Rollout": "spec.template", "v1 PodTemplate": "template",
	} {
		version, name, _ := strings.Cut(kind, " ")
		out, ds := inject.Manifest("x.yaml", []byte(workload(version, name, at)), offline())
		if !bytes.Contains(out, []byte("name: istio-proxy")) || len(ds) != 0 {
			t.Errorf("%s: %v\n%s", kind, ds, out)
		}
		owner := strings.ToLower(name) + "s/w"
		if !bytes.Contains(out, []byte("/namespaces/shop/"+owner)) {
			t.Errorf("%s: the owner is not %s\n%s", kind, owner, out)
		}
	}
}

const stream = `# A comment before.
apiVersion: v1
kind: Service
metadata: {name: s}   # kept
---
{"apiVersion":"v1","kind":"List","items":[
 {"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c"}},
 {"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"},"spec":{"containers":[{"name":"a","image":"a"}]}}]}
---
apiVersion: v1
kind: Pod
metadata: {name: host}
spec: {hostNetwork: true, containers: [{name: a, image: a}]}
---
apiVersion: serving.knative.dev/v1
kind: Deployment
metadata: {name: other}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: empty}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: wrong}
spec: {template: {metadata: {annotations: {sidecar.istio.io/proxyCPU: much}}, spec: {containers: [{name: a, image: a}]}}}
---
a: [
---
just text
`

func TestWhatIsNoWorkloadStaysByteForByte(t *testing.T) {
	t.Parallel()
	out, ds := inject.Manifest("x.yaml", []byte(stream), offline())
	for doc := range strings.SplitSeq(stream, "---\n") {
		if strings.Contains(doc, `"kind":"List"`) {
			continue
		}
		if !bytes.Contains(out, []byte(doc)) {
			t.Errorf("not as it was:\n%s\nin\n%s", doc, out)
		}
	}
	if !bytes.Contains(out, []byte(`"name": "istio-proxy"`)) || !bytes.Contains(out, []byte(`"name": "c"`)) {
		t.Errorf("the list:\n%s", out)
	}
	var got []string
	for _, d := range ds {
		got = append(got, d.Severity.String()+" "+d.Code+" "+d.Pos.String()+" "+d.Object.String())
	}
	want := []string{
		"Info MSH0406 x.yaml:10 Pod default/host", "Warning MSH0405 x.yaml:19 Deployment default/empty",
		"Error MSH0402 x.yaml:23 Deployment default/wrong", "Error MSH0405 x.yaml:28 ",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("findings\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if again, _ := inject.Manifest("x.yaml", out, offline()); !bytes.Equal(again, out) {
		t.Error("the second time it changed again")
	}
}

func TestAnyTextComesThrough(t *testing.T) {
	t.Parallel()
	line := rapid.SampledFrom([]string{"---", "--- ", "---x", "a: 1", "", "- b", "kind: Pod", "\t", "{", "# c"})
	rapid.Check(t, func(t *rapid.T) {
		text := strings.Join(rapid.SliceOfN(line, 0, 12).Draw(t, "lines"), "\n")
		out, ds := inject.Manifest("x", []byte(text), offline())
		for _, d := range ds {
			if d.Severity == diag.Info && !strings.Contains(d.Message, "no containers") {
				t.Fatalf("a pod was found in %q", text)
			}
		}
		if string(out) != text {
			t.Fatalf("%q became %q", text, out)
		}
	})
}

func FuzzManifest(f *testing.F) {
	f.Add([]byte(stream))
	f.Fuzz(func(_ *testing.T, text []byte) { inject.Manifest("x", text, offline()) })
}
