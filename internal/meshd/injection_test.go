package meshd

import (
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"

	networkingv1beta1 "istio.io/api/networking/v1beta1"
	corev1 "k8s.io/api/core/v1"

	"github.com/meshctl/meshctl/internal/controlplane"
	"github.com/meshctl/meshctl/internal/inject"
	"github.com/meshctl/meshctl/internal/resource"
)

// Values and ProxyConfigs count from the moment they come; broken values leave
// the last good ones in force.
func TestInjectionFollowsTheCluster(t *testing.T) {
	t.Parallel()
	cp, err := controlplane.New(controlplane.Settings{AllowPlaintext: true})
	if err != nil {
		t.Fatal(err)
	}
	in := newInjection(discoveryOptions{namespace: "istio-system", revision: "canary"}, true, cp.Sink(), slog.New(slog.DiscardHandler))
	current := in.currentOf(cp, resource.DefaultMeshConfig())
	values := func(name, text string) *resource.Object {
		return &resource.Object{
			Key:  resource.Key{Kind: resource.KindConfigMap, Namespace: "istio-system", Name: name},
			Spec: &corev1.ConfigMap{Data: map[string]string{"values": text}},
		}
	}
	hub := func(want string) {
		t.Helper()
		if got := current().Values.Global.Hub; got != want {
			t.Errorf("hub is %q, want %q", got, want)
		}
	}
	in.Apply("cluster", []*resource.Object{values("istio-sidecar-injector", `{"global":{"hub":"of the default revision"}}`)}, nil)
	in.Apply("cluster", []*resource.Object{values("istio-sidecar-injector-canary", `{"global":7}`)}, nil)
	if err := in.known(); err == nil || !strings.Contains(err.Error(), "istio-system/istio-sidecar-injector-canary") {
		t.Errorf("without good values of its own: %v", err)
	}
	ours := values("istio-sidecar-injector-canary", `{"global":{"hub":"ours"}}`)
	in.Apply("cluster", []*resource.Object{ours}, nil)
	if err := in.known(); err != nil {
		t.Error(err)
	}
	hub("ours")
	in.Apply("cluster", []*resource.Object{values("istio-sidecar-injector-canary", `{"global":7}`)}, nil)
	hub("ours")
	page := httptest.NewRecorder()
	in.page(page, nil)
	if got, want := strings.TrimSpace(page.Body.String()), inject.ValuesDigest(`{"global":{"hub":"ours"}}`); got != want {
		t.Errorf("values in force are %s, want %s", got, want)
	}
	in.Apply("cluster", nil, []resource.Key{ours.Key})
	hub("ours")

	config := &resource.Object{
		Key:  resource.Key{Kind: resource.KindProxyConfig, Namespace: "shop", Name: "a"},
		Spec: &networkingv1beta1.ProxyConfig{},
	}
	in.Apply("cluster", []*resource.Object{config}, nil)
	in.Apply("cluster", []*resource.Object{config}, nil)
	if got := current().ProxyConfigs; len(got) != 1 || got[0].Namespace != "shop" || got[0].Name != "a" {
		t.Errorf("proxy configs are %v", got)
	}
	in.Apply("cluster", nil, []resource.Key{config.Key})
	if got := current().ProxyConfigs; len(got) != 0 {
		t.Errorf("proxy configs are %v", got)
	}
	if got := current(); got.Mesh == nil || got.Revision != "canary" || got.ByDefault || !got.NativeSidecars {
		t.Errorf("inputs are %+v", got)
	}
}
