package install

import (
	"errors"
	"maps"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/meshctl/meshctl/internal/inject"
	"github.com/meshctl/meshctl/internal/kube"
)

// An installation is over when every replica of the control plane injects by the new
// values. What cannot be asked is not waited for.
func TestInjectorsAreWaitedFor(t *testing.T) {
	t.Parallel()
	object := func(kind, name string, more map[string]any) Object {
		o := map[string]any{"kind": kind, "metadata": map[string]any{"name": name, "namespace": "istio-system"}}
		maps.Copy(o, more)
		return Object{Unstructured: &unstructured.Unstructured{Object: o}}
	}
	values := object("ConfigMap", "istio-sidecar-injector-canary", map[string]any{"data": map[string]any{"values": `{"new":1}`}})
	deployment := object("Deployment", "istiod-canary", map[string]any{"spec": map[string]any{"selector": map[string]any{"matchLabels": map[string]any{"app": "istiod", "istio.io/rev": "canary"}}}})
	i := &Installer{}
	s := i.injectorsOf([]Object{values, deployment})
	if want := inject.ValuesDigest(`{"new":1}`); s.digest != want || s.namespace != "istio-system" || s.selector != "app=istiod,istio.io/rev=canary" {
		t.Fatalf("%+v", s)
	}
	if s := i.injectorsOf([]Object{values, object("Deployment", "gateway", nil)}); s.digest != "" {
		t.Errorf("values are looked for where no control plane is: %+v", s)
	}

	pods := []*unstructured.Unstructured{object("Pod", "istiod-1", nil).Unstructured, object("Pod", "istiod-2", nil).Unstructured}
	of := map[string]string{"istiod-1": s.digest, "istiod-2": inject.ValuesDigest(`{}`)}
	late := s.ask(pods, func(p *unstructured.Unstructured) (string, error) { return of[p.GetName()], nil })
	if len(late) != 1 || late[0].ID.Name != "istiod-2" || !strings.Contains(late[0].Hint, "logs istiod-2") {
		t.Errorf("late are %+v", late)
	}
	of["istiod-2"] = s.digest
	if late := s.ask(pods, func(p *unstructured.Unstructured) (string, error) { return of[p.GetName()], nil }); late != nil {
		t.Errorf("late are %+v", late)
	}
	for _, err := range []error{errNoPage, &kube.Error{Kind: kube.Forbidden}} {
		s := i.injectorsOf([]Object{values, deployment})
		if late := s.ask(pods, func(*unstructured.Unstructured) (string, error) { return "", err }); late != nil || s.unasked != attempts {
			t.Errorf("%v: late are %+v", err, late)
		}
	}
	if late := s.ask(pods[:1], func(*unstructured.Unstructured) (string, error) { return "", errors.New("reset") }); len(late) != 1 || s.unasked != 1 {
		t.Errorf("late are %+v", late)
	}
}
