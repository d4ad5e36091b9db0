package analyze

import (
	"cmp"
	"strings"

	yaml "go.yaml.in/yaml/v4"
	corev1 "k8s.io/api/core/v1"

	"github.com/meshctl/meshctl/internal/resource"
)

// injectedImage is the image that the injector adds: that of its ConfigMap, "" when
// that is not given.
func (w *world) injectedImage() string {
	for o, c := range each[*corev1.ConfigMap](w, resource.KindConfigMap) {
		if !strings.HasPrefix(o.Key.Name, "istio-sidecar-injector") {
			continue
		}
		var values struct {
			Global struct {
				Hub   string `yaml:"hub"`
				Tag   string `yaml:"tag"`
				Proxy struct {
					Image string `yaml:"image"`
				} `yaml:"proxy"`
			} `yaml:"global"`
		}
		if yaml.Unmarshal([]byte(c.Data["values"]), &values) != nil {
			continue // of a form that is not known: nothing can be said
		}
		g := values.Global
		image := cmp.Or(g.Proxy.Image, "proxyv2")
		if strings.Contains(image, "/") {
			return image
		}
		if g.Hub != "" && g.Tag != "" {
			return g.Hub + "/" + image + ":" + g.Tag
		}
	}
	return ""
}

// autoImages reports pods that leave their image to the injector, where none will
// add it: of a template (IST0146), or of a Pod (IST0147).
func autoImages(w *world, f *findings) {
	for _, p := range w.pods.all {
		if p.spec == nil {
			continue
		}
		for i := range p.spec.Containers {
			c := &p.spec.Containers[i]
			if c.Name != proxyContainer || c.Image != "auto" || w.injects(p) == on {
				continue
			}
			path := at(under(p.path, "spec.containers"), i) + ".image"
			t := text{
				p.name() + " has image: auto, but no label asks for injection", "the pod does not start: there is no image of that name",
				"label the pod sidecar.istio.io/inject=true, or its namespace istio-injection=enabled",
			}
			if p.object.Key.Kind == resource.KindPod {
				f.add(p.object, codeImageAutoPod, path, t)
			} else {
				f.add(p.object, codeImageAuto, path, t)
			}
		}
	}
}
