package resource

import (
	"fmt"
	"strings"
	"testing"
)

// manyObjects is a folder's worth of ordinary objects: a third each of
// Deployments, Services and VirtualServices.
func manyObjects(n int) []byte {
	var b strings.Builder
	for i := 0; i < n; i += 3 {
		fmt.Fprintf(&b, `apiVersion: apps/v1
kind: Deployment
metadata:
  name: app-%[1]d
  namespace: shop
  labels: {app: app-%[1]d, version: v1}
spec:
  replicas: 2
  selector:
    matchLabels: {app: app-%[1]d}
  template:
    metadata:
      labels: {app: app-%[1]d, version: v1}
    spec:
      serviceAccountName: app-%[1]d
      containers:
      - name: app
        image: registry.example/app:1.%[1]d
        env:
        - name: PORT
          value: "9080"
        ports:
        - containerPort: 9080
          name: http
        resources:
          requests: {cpu: 100m, memory: 64Mi}
---
apiVersion: v1
kind: Service
metadata:
  name: app-%[1]d
  namespace: shop
spec:
  selector: {app: app-%[1]d}
  ports:
  - name: http
    port: 80
    targetPort: http
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: app-%[1]d
  namespace: shop
spec:
  hosts: [app-%[1]d]
  http:
  - match:
    - headers:
        end-user: {exact: jason}
      uri: {prefix: /api}
    route:
    - destination: {host: app-%[1]d, subset: v2}
    timeout: 3s
    retries: {attempts: 2, perTryTimeout: 1s, retryOn: "5xx,reset"}
  - route:
    - destination: {host: app-%[1]d, subset: v1}
      weight: 90
    - destination: {host: app-%[1]d, subset: v2}
      weight: 10
---
`, i)
	}
	return []byte(b.String())
}

func BenchmarkDecode3000(b *testing.B) {
	data := manyObjects(3000)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		objects, ds := Decode("many.yaml", data, Options{})
		if len(objects) != 3000 || len(ds) != 0 {
			b.Fatalf("%d objects, findings %v", len(objects), ds)
		}
	}
}
