package dashboard

import (
	"strings"
	"testing"

	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/local/api"
)

func toolNamed(t *testing.T, name string) tool {
	t.Helper()
	for _, x := range tools() {
		if x.name == name {
			return x
		}
	}
	t.Fatalf("there is no tool %q", name)
	return tool{}
}

// TestIsCalled: a label says more than a name; Jaeger's Service for spans in Zipkin's
// form is not Zipkin.
func TestIsCalled(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		tool, service string
		labels        map[string]string
		want          bool
	}{
		{"zipkin", "zipkin", nil, true},
		{"zipkin", "zipkin", map[string]string{"app": "jaeger"}, false},
		{"jaeger", "zipkin", map[string]string{"app": "jaeger"}, true},
		{"zipkin", "spans", map[string]string{"app": "zipkin"}, true},
		{"zipkin", "zipkin", map[string]string{"app": "traces"}, true},
		{"prometheus", "charts", map[string]string{"app.kubernetes.io/name": "prometheus"}, true},
		{"prometheus", "prometheus-operator", map[string]string{"app": "prometheus-operator"}, false},
		{"skywalking", "skywalking-ui", map[string]string{"app": "skywalking-ui"}, true},
	} {
		if got := toolNamed(t, c.tool).isCalled(c.service, c.labels); got != c.want {
			t.Errorf("%s is Service %s with %v: %v", c.tool, c.service, c.labels, got)
		}
	}
}

// TestNotReady: the pod that is waited for is named, with what it waits for.
func TestNotReady(t *testing.T) {
	t.Parallel()
	m := &env.Mesh{Name: "here"}
	err := notReady(toolNamed(t, "grafana"), m, api.Pod{
		Namespace: "istio-system", Name: "grafana-1", Phase: "Pending",
		Containers: []api.Container{{Name: "grafana", Reason: "ImagePullBackOff"}, {Name: "side", Ready: true, Reason: "old"}},
	})
	if want := "pod grafana-1.istio-system is Pending, container grafana: ImagePullBackOff"; !strings.HasSuffix(err.Error(), want) {
		t.Errorf("got %q, want … %q", err, want)
	}
}
