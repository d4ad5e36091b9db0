package injection

import (
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

const defaultHooks = `
metadata: {name: istio-sidecar-injector, labels: {istio.io/rev: default}}
webhooks:
- clientConfig: {caBundle: eA==}
  namespaceSelector: {matchExpressions: [{key: istio-injection, operator: In, values: [enabled]}]}
  objectSelector: {matchExpressions: [{key: sidecar.istio.io/inject, operator: NotIn, values: ["false"]}]}
- clientConfig: {caBundle: eA==}
  namespaceSelector: {matchExpressions: [{key: istio-injection, operator: DoesNotExist}, {key: istio.io/rev, operator: DoesNotExist}]}
  objectSelector: {matchLabels: {sidecar.istio.io/inject: "true"}}
`

const canaryHooks = `
metadata: {name: istio-revision-tag-prod, labels: {istio.io/rev: canary, istio.io/tag: prod}}
webhooks:
- clientConfig: {}
  namespaceSelector: {matchLabels: {istio.io/rev: prod}}
`

func TestSelects(t *testing.T) {
	t.Parallel()
	read := func(text string) Injector {
		var m admissionv1.MutatingWebhookConfiguration
		if err := yaml.Unmarshal([]byte(text), &m); err != nil {
			t.Fatal(err)
		}
		return NewInjector(m)
	}
	byDefault, tagged := read(defaultHooks), read(canaryHooks)
	if !byDefault.ByDefault || !byDefault.Trusted || tagged.ByDefault || tagged.Trusted || tagged.Label != "prod" || tagged.Revision != "canary" {
		t.Errorf("%+v %+v", byDefault, tagged)
	}
	for _, s := range []struct {
		i       Injector
		ns, pod map[string]string
		want    bool
		why     string
	}{
		{byDefault, map[string]string{"istio-injection": "enabled"}, nil, true, "the namespace has label istio-injection=enabled"},
		{byDefault, map[string]string{"istio-injection": "enabled"}, map[string]string{"sidecar.istio.io/inject": "false"}, false, "label sidecar.istio.io/inject=false"},
		{byDefault, map[string]string{"istio-injection": "disabled"}, nil, false, "istio-injection=disabled"},
		{byDefault, nil, map[string]string{"sidecar.istio.io/inject": "true"}, true, "the pod has label"},
		{byDefault, nil, nil, false, "neither the namespace nor the pod asks for it"},
		{byDefault, map[string]string{"istio.io/rev": "prod"}, nil, false, `this is revision "default"`},
		{tagged, map[string]string{"istio.io/rev": "prod"}, nil, true, "istio.io/rev=prod"},
		{tagged, map[string]string{"istio-injection": "enabled"}, nil, false, "served by the default revision"},
		{tagged, nil, map[string]string{"istio.io/rev": "prod"}, false, "its selectors do not match"},
	} {
		got, why := s.i.Selects(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Labels: s.ns}}, s.pod)
		if got != s.want || !strings.Contains(why, s.why) {
			t.Errorf("%s for %v %v: %v, %s", s.i.Name, s.ns, s.pod, got, why)
		}
	}
}
