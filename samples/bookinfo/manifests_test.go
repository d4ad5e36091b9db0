package bookinfo_test

import (
	"bytes"
	"io/fs"
	"path"
	"slices"
	"strings"
	"testing"

	yamlv4 "go.yaml.in/yaml/v4"
	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/meshctl/meshctl/internal/resource"
	"github.com/meshctl/meshctl/samples/bookinfo"
)

// manifests returns the text of every YAML file.
func manifests(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := fs.WalkDir(bookinfo.FS(), ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || path.Ext(p) != ".yaml" {
			return err
		}
		b, err := fs.ReadFile(bookinfo.FS(), p)
		out[p] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// objects decodes every manifest strictly: any finding is a failure.
func objects(t *testing.T) []*resource.Object {
	t.Helper()
	var out []*resource.Object
	for file, text := range manifests(t) {
		if file == "meshctl-local.yaml" {
			continue
		}
		objs, findings := resource.Decode(file, []byte(text), resource.Options{})
		for _, d := range findings {
			t.Error(d)
		}
		if len(objs) == 0 {
			t.Errorf("%s: holds no object", file)
		}
		out = append(out, objs...)
	}
	return out
}

func TestEveryFileBeginsWithWhatItShows(t *testing.T) {
	t.Parallel()
	for file, text := range manifests(t) {
		header, _, _ := strings.Cut(text, "\napiVersion:")
		if !strings.HasPrefix(text, "# ") {
			t.Errorf("%s: does not begin with a comment", file)
		}
		if file == "meshctl-local.yaml" {
			continue
		}
		if !strings.Contains(header, "\n# Apply:  ") || !strings.Contains(header, "\n# See:    ") {
			t.Errorf("%s: the comment does not say how to apply it and what to see", file)
		}
		if path.Dir(file) != "platform/kube" && !strings.Contains(header, "samples/bookinfo/"+file) {
			t.Errorf("%s: the command in its comment applies another file", file)
		}
		for line := range strings.Lines(header) {
			if len(line) > 101 {
				t.Errorf("%s: comment line is too long: %s", file, line)
			}
		}
	}
}

// TestKinds holds the sample to the stable API: every Istio object is v1.
func TestKinds(t *testing.T) {
	t.Parallel()
	for _, o := range objects(t) {
		if strings.HasSuffix(o.Key.Kind.Group, ".istio.io") && !strings.HasSuffix(o.APIVersion, "/v1") {
			t.Errorf("%s: %s is written as %s", o.Pos, o.Key, o.APIVersion)
		}
	}
}

func TestDeploymentsFollowTheContract(t *testing.T) {
	t.Parallel()
	for _, o := range objects(t) {
		dep, ok := o.Spec.(*appsv1.Deployment)
		if !ok {
			continue
		}
		pod := dep.Spec.Template
		c := pod.Spec.Containers[0]
		if c.Image != "meshctl/bookinfo:1.0" || len(c.Command) > 0 || len(c.Args) == 0 {
			t.Errorf("%s: image %q, command %q, args %q", dep.Name, c.Image, c.Command, c.Args)
		}
		version := pod.Labels["version"]
		if !slices.ContainsFunc(c.Env, func(e corev1.EnvVar) bool { return e.Name == "SERVICE_VERSION" && e.Value == version }) {
			t.Errorf("%s: SERVICE_VERSION is not the label version=%s", dep.Name, version)
		}
		for k, v := range dep.Spec.Selector.MatchLabels {
			if pod.Labels[k] != v {
				t.Errorf("%s: the selector %s=%s does not match its pods", dep.Name, k, v)
			}
		}
		if c.ReadinessProbe == nil {
			t.Errorf("%s: has no readiness probe", dep.Name)
		}
	}
}

// TestRoutesNameWhatExists checks that every host and subset of a route is
// declared somewhere in the sample.
func TestRoutesNameWhatExists(t *testing.T) {
	t.Parallel()
	subsets := map[string][]string{}
	all := objects(t)
	for _, o := range all {
		if dr, ok := o.Spec.(*networkingv1alpha3.DestinationRule); ok {
			for _, s := range dr.Subsets {
				subsets[dr.Host] = append(subsets[dr.Host], s.Name)
			}
		}
	}
	for _, o := range all {
		vs, ok := o.Spec.(*networkingv1alpha3.VirtualService)
		if !ok {
			continue
		}
		for _, h := range vs.Http {
			total := int32(0)
			for _, r := range h.Route {
				total += r.Weight
				if s := r.Destination.Subset; s != "" && !slices.Contains(subsets[r.Destination.Host], s) {
					t.Errorf("%s: %s has no subset %s", o.Pos, r.Destination.Host, s)
				}
			}
			if len(h.Route) > 1 && total != 100 {
				t.Errorf("%s: weights add up to %d", o.Pos, total)
			}
		}
	}
}

func TestLocalFileListsWhatExists(t *testing.T) {
	t.Parallel()
	b, err := fs.ReadFile(bookinfo.FS(), "meshctl-local.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var local struct {
		Images    map[string]map[string]string `yaml:"images"`
		Resources []string                     `yaml:"resources"`
	}
	dec := yamlv4.NewDecoder(bytes.NewReader(b))
	dec.KnownFields(true)
	if err := dec.Decode(&local); err != nil {
		t.Fatal(err)
	}
	if local.Images["meshctl/bookinfo*"]["self"] != "bookinfo" || len(local.Resources) == 0 {
		t.Errorf("got %+v", local)
	}
	for _, r := range local.Resources {
		if _, err := fs.Stat(bookinfo.FS(), r); err != nil {
			t.Errorf("resources: %v", err)
		}
	}
}
