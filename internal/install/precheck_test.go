package install

import (
	"strings"
	"testing"

	"github.com/meshctl/meshctl/internal/resource"
)

// A mesh config is read as the version to come reads it.
func TestChangesOfAMeshConfig(t *testing.T) {
	t.Parallel()
	if got := changes("accessLogFile: /dev/stdout\ndefaultConfig: {concurrency: 2}\n"); got != "" {
		t.Errorf("of one that means what it meant: %s", got)
	}
	got := changes("accessLogFile: /dev/stdout\nfieldOfYore: true\n")
	if !strings.Contains(got, "fieldOfYore") || strings.Contains(got, "accessLogFile") {
		t.Errorf("of one with a field that is gone: %q", got)
	}
}

// Definitions of the Gateway API that serve no version that is read are an error, old
// ones that do a warning.
func TestReleasesOfTheGatewayAPI(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		release, serves, code string
		result                Mark
	}{
		{"v0.4.0", "v1alpha2", codeOldGateway, Bad},
		{"v1.2.0", "v1", codeAgingGateway, Warning},
		{resource.LeastGatewayAPI, "v1", "", Success},
		{"", "v1", "", Success},
	} {
		live := crdObject("gateways.gateway.networking.k8s.io")
		live.SetAnnotations(map[string]string{resource.AnnotationBundleVersion: x.release})
		live.Object["spec"] = map[string]any{"versions": []any{map[string]any{"name": x.serves, "served": true}}}
		c := &checker{}
		c.category("definitions")
		c.gatewayAPI(live)
		got := c.last.Checks[0]
		if len(c.last.Checks) != 1 || got.Result != x.result || got.Code != x.code || (got.Hint == "") != (x.result == Success) {
			t.Errorf("%s, serving %s: %+v", x.release, x.serves, got)
		}
	}
}
