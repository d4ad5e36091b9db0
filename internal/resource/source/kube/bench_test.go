package kube

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
)

// What it costs to follow 1,000 Services with 10,000 pods, each pod with the
// status, volumes and environment that pods of a mesh have.
func BenchmarkFollow(b *testing.B) {
	const services, pods = 1000, 10
	c, stop := startCluster()
	defer stop()
	padding := strings.Repeat(`{"name":"SOME_VARIABLE","value":"with a value of its own"},`, 20)
	for i := range services {
		ns := fmt.Sprintf("ns-%d", i%50)
		name := fmt.Sprintf("%s/service-%d", ns, i)
		c.apply(b, object("v1", "Service", name, fmt.Sprintf(`"spec":{"clusterIP":"10.%d.%d.1","selector":{"app":"service-%d"},"ports":[{"name":"http","port":80,"targetPort":8080}]}`, i/250, i%250, i)))
		var endpoints []string
		for j := range pods {
			ip := fmt.Sprintf("10.%d.%d.%d", 10+i/250, i%250, j)
			pod := fmt.Sprintf("service-%d-6f7d8c9b5-%05d", i, j)
			c.apply(b, strings.Replace(object("v1", "Pod", ns+"/"+pod, fmt.Sprintf(`"spec":{"nodeName":"node-%d","serviceAccountName":"service-%d","containers":[
				{"name":"app","image":"registry.example/app:1","env":[%s],"ports":[{"name":"http","containerPort":8080}]},
				{"name":"istio-proxy","image":"registry.example/proxy:1","env":[%s],"ports":[{"name":"http-envoy-prom","containerPort":15090}]}]},
				"status":{"phase":"Running","podIP":%q,"podIPs":[{"ip":%q}],"conditions":[{"type":"Ready","status":"True"}]}`,
				i%100, i, strings.TrimSuffix(padding, ","), strings.TrimSuffix(padding, ","), ip, ip)),
				`"namespace"`, fmt.Sprintf(`"labels":{"app":"service-%d","version":"v1","pod-template-hash":"6f7d8c9b5","security.istio.io/tlsMode":"istio"},"namespace"`, i), 1))
			endpoints = append(endpoints, fmt.Sprintf(`{"addresses":[%q],"conditions":{"ready":true},"nodeName":"node-%d","targetRef":{"kind":"Pod","namespace":%q,"name":%q}}`, ip, i%100, ns, pod))
		}
		c.apply(b, strings.Replace(object("discovery.k8s.io/v1", "EndpointSlice", name+"-x1", fmt.Sprintf(`"addressType":"IPv4","ports":[{"name":"http","port":8080}],"endpoints":[%s]`, strings.Join(endpoints, ","))),
			`"namespace"`, fmt.Sprintf(`"labels":{"kubernetes.io/service-name":"service-%d"},"namespace"`, i), 1))
	}
	heap := func() float64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc)
	}
	for b.Loop() {
		before := heap()
		r, end := c.start(b, Options{})
		r.until(b, "the first Apply", r.started)
		b.ReportMetric((heap()-before)/(1<<20), "MiB-held")
		b.ReportMetric(float64(len(r.objects)), "objects")
		end()
	}
}
