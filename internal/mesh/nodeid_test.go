package mesh

import "testing"

func TestNodeID(t *testing.T) {
	for _, c := range []struct {
		id              string
		kind            ProxyType
		proxy           string
		name, namespace string
		ok              bool
	}{
		{"sidecar~10.0.0.1~web-1.shop~shop.svc.cluster.local", Sidecar, "web-1.shop", "web-1", "shop", true},
		{"router~fd00::1~gw.v2.istio-system~istio-system.svc.cluster.local", Router, "gw.v2.istio-system", "gw.v2", "istio-system", true},
		{"sidecar~~web-1.shop~", Sidecar, "web-1.shop", "web-1", "shop", true}, // as one is made of a foreign /debug/syncz
		{"sidecar~10.0.0.1~web~x", Sidecar, "web", "web", "", true},
		{"grpc-client", "", "grpc-client", "grpc-client", "", false},
		{"", "", "", "", "", false},
	} {
		n, ok := ParseNodeID(c.id)
		name, namespace := n.Pod()
		if ok != c.ok || n.Type != c.kind || n.Proxy != c.proxy || name != c.name || namespace != c.namespace {
			t.Errorf("%q is %+v (%s in %q), %v", c.id, n, name, namespace, ok)
		}
		if ok && n.String() != c.id {
			t.Errorf("%q is written as %q", c.id, n)
		}
		if got := ProxyName(c.id); got != c.proxy {
			t.Errorf("%q is called %q", c.id, got)
		}
	}
}
