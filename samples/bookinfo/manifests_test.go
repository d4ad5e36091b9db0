package bookinfo_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"testing"

	yamlv4 "go.yaml.in/yaml/v4"
	istionet "istio.io/client-go/pkg/apis/networking/v1"
	istiosec "istio.io/client-go/pkg/apis/security/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/meshctl/meshctl/samples/bookinfo"
)

// document is one YAML document of the sample.
type document struct {
	file string
	kind string
	name string
	raw  []byte
}

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

// documents splits every manifest but meshctl-local.yaml.
func documents(t *testing.T) []document {
	t.Helper()
	var out []document
	for file, text := range manifests(t) {
		if file == "meshctl-local.yaml" {
			continue
		}
		dec := yamlv4.NewDecoder(strings.NewReader(text))
		for {
			var m map[string]any
			err := dec.Decode(&m)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			raw, err := yamlv4.Marshal(m)
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			kind, _ := m["kind"].(string)
			meta, _ := m["metadata"].(map[string]any)
			name, _ := meta["name"].(string)
			out = append(out, document{file: file, kind: kind, name: name, raw: raw})
		}
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
		if path.Dir(file) == "networking" && !strings.Contains(header, "samples/bookinfo/"+file) {
			t.Errorf("%s: the command in its comment applies another file", file)
		}
		for line := range strings.Lines(header) {
			if len(line) > 101 {
				t.Errorf("%s: comment line is too long: %s", file, line)
			}
		}
	}
}

// TestStrictDecoding decodes each document into its API type: unknown and
// misspelt fields are errors.
func TestStrictDecoding(t *testing.T) {
	t.Parallel()
	kinds := map[string]func() any{
		"Namespace":           func() any { return &corev1.Namespace{} },
		"Service":             func() any { return &corev1.Service{} },
		"ServiceAccount":      func() any { return &corev1.ServiceAccount{} },
		"Deployment":          func() any { return &appsv1.Deployment{} },
		"Gateway":             func() any { return &istionet.Gateway{} },
		"VirtualService":      func() any { return &istionet.VirtualService{} },
		"DestinationRule":     func() any { return &istionet.DestinationRule{} },
		"ServiceEntry":        func() any { return &istionet.ServiceEntry{} },
		"PeerAuthentication":  func() any { return &istiosec.PeerAuthentication{} },
		"AuthorizationPolicy": func() any { return &istiosec.AuthorizationPolicy{} },
	}
	for _, d := range documents(t) {
		make, ok := kinds[d.kind]
		if !ok {
			t.Errorf("%s: kind %q is not expected here", d.file, d.kind)
			continue
		}
		if err := yaml.UnmarshalStrict(d.raw, make()); err != nil {
			t.Errorf("%s: %s %s: %v", d.file, d.kind, d.name, err)
		}
	}
}

func TestDeploymentsFollowTheContract(t *testing.T) {
	t.Parallel()
	for _, d := range documents(t) {
		if d.kind != "Deployment" {
			continue
		}
		var dep appsv1.Deployment
		if err := yaml.UnmarshalStrict(d.raw, &dep); err != nil {
			t.Fatal(err)
		}
		pod := dep.Spec.Template
		c := pod.Spec.Containers[0]
		if c.Image != "meshctl/bookinfo:1.0" || len(c.Command) < 2 || c.Command[0] != "/bookinfo" {
			t.Errorf("%s: image %q, command %q", d.name, c.Image, c.Command)
		}
		version := pod.Labels["version"]
		if !slices.ContainsFunc(c.Env, func(e corev1.EnvVar) bool { return e.Name == "SERVICE_VERSION" && e.Value == version }) {
			t.Errorf("%s: SERVICE_VERSION is not the label version=%s", d.name, version)
		}
		for k, v := range dep.Spec.Selector.MatchLabels {
			if pod.Labels[k] != v {
				t.Errorf("%s: the selector %s=%s does not match its pods", d.name, k, v)
			}
		}
		if c.ReadinessProbe == nil {
			t.Errorf("%s: has no readiness probe", d.name)
		}
	}
}

// TestRoutesNameWhatExists checks that every host and subset of a route is
// declared somewhere in the sample.
func TestRoutesNameWhatExists(t *testing.T) {
	t.Parallel()
	subsets := map[string][]string{}
	docs := documents(t)
	for _, d := range docs {
		if d.kind == "DestinationRule" {
			var dr istionet.DestinationRule
			if err := yaml.UnmarshalStrict(d.raw, &dr); err != nil {
				t.Fatal(err)
			}
			for _, s := range dr.Spec.Subsets {
				subsets[dr.Spec.Host] = append(subsets[dr.Spec.Host], s.Name)
			}
		}
	}
	for _, d := range docs {
		if d.kind != "VirtualService" {
			continue
		}
		var vs istionet.VirtualService
		if err := yaml.UnmarshalStrict(d.raw, &vs); err != nil {
			t.Fatal(err)
		}
		for _, h := range vs.Spec.Http {
			total := int32(0)
			for _, r := range h.Route {
				total += r.Weight
				if s := r.Destination.Subset; s != "" && !slices.Contains(subsets[r.Destination.Host], s) {
					t.Errorf("%s: %s has no subset %s", d.file, r.Destination.Host, s)
				}
			}
			if len(h.Route) > 1 && total != 100 {
				t.Errorf("%s: weights add up to %d", d.file, total)
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
