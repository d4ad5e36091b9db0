package analyze_test

import (
	"strings"
	"testing"

	"github.com/meshctl/meshctl/internal/analyze"
	"github.com/meshctl/meshctl/internal/resource"
)

const servicePort = `
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  selector: {app: web}
  ports: [{name: http, port: PORT}]
`

// TestClusters: a Service that is another one in another cluster.
func TestClusters(t *testing.T) {
	t.Parallel()
	service := func(port string) []*resource.Object {
		return decode(t, "svc.yaml", []byte(strings.Replace(servicePort, "PORT", port, 1)))
	}
	for there, want := range map[string]int{"80": 0, "8080": 1} {
		in := analyze.Input{Objects: service("80"), Clusters: map[string][]*resource.Object{"west": service(there)}}
		found, err := analyze.Run(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, d := range found {
			if d.Code == "IST0170" && strings.Contains(d.Message, "cluster west") {
				n++
			}
		}
		if n != want {
			t.Errorf("with port %s there: found %d times, want %d", there, n, want)
		}
	}
}
