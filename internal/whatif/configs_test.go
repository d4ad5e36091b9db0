package whatif

import (
	"fmt"
	"strings"
	"testing"

	"github.com/meshctl/meshctl/internal/compare"
	"github.com/meshctl/meshctl/internal/resource"
)

// town is a mesh of n services with a Deployment each.
func town(t testing.TB, n int) []*resource.Object {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `
apiVersion: apps/v1
kind: Deployment
metadata: {name: w%[1]d, namespace: ns%[2]d}
spec:
  selector: {matchLabels: {app: w%[1]d}}
  template:
    metadata: {labels: {app: w%[1]d, version: v1}}
    spec: {serviceAccountName: w%[1]d, containers: [{name: w, image: w, ports: [{containerPort: 8080}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: w%[1]d, namespace: ns%[2]d}
spec:
  selector: {app: w%[1]d}
  ports: [{name: http, port: 80, targetPort: 8080}]
---
`, i, i%10)
	}
	return decode(t, "town.yaml", []byte(b.String()))
}

// diff is what proxies would be sent otherwise.
func diff(t testing.TB, before *World, objects []*resource.Object) *compare.Diff {
	t.Helper()
	after, err := New(t.Context(), Input{Objects: objects, Before: before})
	if err != nil {
		t.Fatal(err)
	}
	a, err := before.Configs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b, err := after.Configs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	d, err := compare.Configs(a, b)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func BenchmarkDiff(b *testing.B) {
	objects := town(b, 1000)
	change := decode(b, "change.yaml", []byte(`
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: w1, namespace: ns1}
spec:
  hosts: [w1]
  http: [{timeout: 2s, route: [{destination: {host: w1}}]}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: none, namespace: ns1}
spec: {}
`))
	for b.Loop() {
		w, err := New(b.Context(), Input{Objects: objects})
		if err != nil {
			b.Fatal(err)
		}
		d := diff(b, w, append(change, objects...))
		if len(d.Groups) == 0 {
			b.Fatal("nothing differs")
		}
		b.Log(len(d.Groups), len(d.Groups[0].Proxies), d.Groups[0].Changes)
	}
}
