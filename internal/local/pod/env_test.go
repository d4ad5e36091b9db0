package pod

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"pgregory.net/rapid"

	"github.com/meshctl/meshctl/internal/local/controller"
	"github.com/meshctl/meshctl/internal/local/node"
)

type configs struct {
	maps    map[string]*corev1.ConfigMap
	secrets map[string]*corev1.Secret
}

func (c configs) ConfigMap(_, name string) *corev1.ConfigMap { return c.maps[name] }
func (c configs) Secret(_, name string) *corev1.Secret       { return c.secrets[name] }

func facts() Facts {
	return Facts{
		PodSpec: controller.PodSpec{
			Namespace: "shop", Name: "web-1", Labels: map[string]string{"app": "web"}, Annotations: map[string]string{"a/b": "c"},
			Spec: corev1.PodSpec{ServiceAccountName: "robot"},
		},
		UID: "u-1", IP: netip.MustParseAddr("10.244.1.1").String(), NodeName: "local", HostIP: "10.244.0.1",
	}
}

var known = configs{
	maps:    map[string]*corev1.ConfigMap{"cm": {Data: map[string]string{"k": "v", "k2": "v2"}, BinaryData: map[string][]byte{"bin": {1}}}},
	secrets: map[string]*corev1.Secret{"s": {Data: map[string][]byte{"p": []byte("old")}, StringData: map[string]string{"p": "secret"}}},
}

func field(path string) *corev1.EnvVarSource {
	return &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: path}}
}

func TestEnv(t *testing.T) {
	t.Parallel()
	ref := corev1.LocalObjectReference{Name: "cm"}
	c := corev1.Container{
		EnvFrom: []corev1.EnvFromSource{
			{Prefix: "C_", ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: ref}},
			{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "none"}, Optional: new(true)}},
		},
		Env: []corev1.EnvVar{
			{Name: "A", Value: "1"},
			{Name: "B", Value: "$(A)2 $$(A) $(NONE) $(C_k)"},
			{Name: "A", Value: "3"},
			{Name: "NAME", ValueFrom: field("metadata.name")},
			{Name: "NS", ValueFrom: field("metadata.namespace")},
			{Name: "APP", ValueFrom: field("metadata.labels['app']")},
			{Name: "ANN", ValueFrom: field("metadata.annotations['a/b']")},
			{Name: "IP", ValueFrom: field("status.podIP")},
			{Name: "SA", ValueFrom: field("spec.serviceAccountName")},
			{Name: "NODE", ValueFrom: field("spec.nodeName")},
			{Name: "PASS", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "s"}, Key: "p"}}},
			{Name: "OPT", ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: ref, Key: "none", Optional: new(true)}}},
		},
	}
	got, err := Env(c, []string{"PATH=/bin", "A=0"}, facts(), known)
	want := []string{
		"PATH=/bin", "A=3", "C_k=v", "C_k2=v2", "B=12 $(A) $(NONE) v", "NAME=web-1", "NS=shop", "APP=web", "ANN=c",
		"IP=10.244.1.1", "SA=robot", "NODE=local", "PASS=secret",
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

func TestEnvNamesWhatIsMissing(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		from *corev1.EnvVarSource
		want string
	}{
		"no map":    {&corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "x"}, Key: "k"}}, "there is no ConfigMap shop/x"},
		"no key":    {&corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "s"}, Key: "k"}}, `Secret shop/s has no key "k"`},
		"bad field": {field("spec.x"), `field "spec.x" is not one a pod can ask for`},
	}
	for name, tc := range cases {
		_, err := Env(corev1.Container{Env: []corev1.EnvVar{{Name: "A", ValueFrom: tc.from}}}, nil, facts(), known)
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
}

// Expansion never fails and leaves text without references alone.
func TestExpand(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		text := rapid.String().Draw(rt, "text")
		got := Expand(text, nil)
		if !strings.Contains(text, "$$") && got != text {
			rt.Fatalf("%q became %q", text, got)
		}
		if quoted := Expand(strings.ReplaceAll(text, "$", "$$"), map[string]string{"A": "x"}); quoted != text {
			rt.Fatalf("%q quoted became %q", text, quoted)
		}
	})
}

func TestVolumes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := facts()
	f.Spec.Volumes = []corev1.Volume{
		{Name: "cm", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "cm"}, Items: []corev1.KeyToPath{{Key: "k", Path: "deep/file"}}}}},
		{Name: "all", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
			{Secret: &corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "s"}}},
			{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{{Path: "labels", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels"}}}}},
			{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token"}},
		}}}},
		{Name: "e", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
		{Name: "h", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/opt"}}},
	}
	f.Spec.Containers = []corev1.Container{
		{Name: "a", VolumeMounts: []corev1.VolumeMount{{Name: "cm", MountPath: "/etc/cm/"}, {Name: "all", MountPath: "/all", ReadOnly: true}, {Name: "e", MountPath: "/e"}}},
		{Name: "b", VolumeMounts: []corev1.VolumeMount{{Name: "e", MountPath: "/e"}, {Name: "h", MountPath: "/h"}, {Name: "cm", MountPath: "/one", SubPath: "deep/file"}}},
	}
	mounts, err := volumes(f, dir, known, func() (string, error) { return "T", nil })
	want := []node.Mount{
		{Path: "/etc/cm", Source: filepath.Join(dir, "cm")},
		{Path: "/all", Source: filepath.Join(dir, "all"), ReadOnly: true},
		{Path: "/e", Source: filepath.Join(dir, "e")},
		{Path: "/h", Source: "/opt"},
		{Path: "/one", Source: filepath.Join(dir, "cm/deep/file")},
	}
	if diff := cmp.Diff(want, mounts); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	for name, content := range map[string]string{"cm/deep/file": "v", "all/p": "secret", "all/labels": "app=\"web\"\n", "all/token": "T"} {
		if b, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(b) != content {
			t.Errorf("%s: %q %v", name, b, err)
		}
	}
	info, err := os.Stat(filepath.Join(dir, "all/token"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("token: %v %v", info.Mode(), err)
	}
}

func TestVolumesStayInside(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Facts){
		"key path": func(f *Facts) {
			f.Spec.Volumes[0].ConfigMap.Items = []corev1.KeyToPath{{Key: "k", Path: "../../escape"}}
		},
		"sub path":       func(f *Facts) { f.Spec.Containers[0].VolumeMounts[0].SubPath = "../x" },
		"unknown volume": func(f *Facts) { f.Spec.Containers[0].VolumeMounts[0].Name = "x" },
		"two volumes in one place": func(f *Facts) {
			f.Spec.Volumes = append(f.Spec.Volumes, corev1.Volume{Name: "e", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}})
			f.Spec.Containers = append(f.Spec.Containers, corev1.Container{Name: "b", VolumeMounts: []corev1.VolumeMount{{Name: "e", MountPath: "/m/"}}})
		},
	} {
		f := facts()
		f.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "cm"}}}}}
		f.Spec.Containers = []corev1.Container{{Name: "a", VolumeMounts: []corev1.VolumeMount{{Name: "v", MountPath: "/m"}}}}
		change(&f)
		if _, err := volumes(f, t.TempDir(), known, nil); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestBackoff(t *testing.T) {
	t.Parallel()
	b := newBackoff()
	var got []time.Duration
	for range 10 {
		got = append(got, b.next(time.Second)/time.Second)
	}
	if want := []time.Duration{1, 2, 4, 8, 16, 32, 64, 128, 256, 300}; !slices.Equal(got, want) {
		t.Errorf("pauses %v", got)
	}
	if p := b.next(11 * time.Minute); p != time.Second {
		t.Errorf("after a long run %s", p)
	}
}

func TestProxyConfigIsMerged(t *testing.T) {
	t.Parallel()
	x := &Proxy{Config: map[string]any{"concurrency": 2, "tracing": map[string]any{"sampling": 1, "zipkin": "z"}}}
	f := facts()
	f.Annotations[proxyConfigAnnotation] = "tracing: {sampling: 100}\nnew: [1]"
	got, err := x.config(f)
	if want := `{"concurrency":2,"new":[1],"tracing":{"sampling":100,"zipkin":"z"}}`; err != nil || got != want {
		t.Errorf("got %s %v", got, err)
	}
	f.Annotations[proxyConfigAnnotation] = "a: 1\na: 2"
	if _, err := x.config(f); err == nil {
		t.Error("a field twice was taken")
	}
}

func TestHostname(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 62) + "-b"
	if got := Hostname(controller.PodSpec{Name: long}); got != strings.Repeat("a", 62) {
		t.Errorf("got %q", got)
	}
}
