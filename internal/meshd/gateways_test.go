package meshd

import (
	"strings"
	"testing"

	"github.com/meshctl/meshctl/internal/resource/source/kube/kubetest"
)

// at walks an object.
func at(o any, path ...string) any {
	for _, p := range path {
		m, _ := o.(kubetest.Object)
		o = m[p]
	}
	return o
}

// A Gateway of the mesh's class gets what serves it, once the kinds are installed;
// what somebody else owns is left alone, and what drifts is put right.
func TestGatewaysAreServed(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t)
	c.apply(t, shop, `{"apiVersion":"v1","kind":"Service","metadata":{"namespace":"shop","name":"taken-istio"},"spec":{"ports":[{"port":1}]}}`)
	r := c.start(t, nil)
	r.ready(t)
	const group = "gateway.networking.k8s.io"
	c.Define(group, "gatewayclasses", "GatewayClass", false, "v1")
	c.Define(group, "gateways", "Gateway", true, "v1")
	r.until(t, "the class", func() bool {
		return at(c.Get(group, "gatewayclasses", "", "istio"), "spec", "controllerName") == "istio.io/gateway-controller"
	})
	r.until(t, "the class's status", func() bool {
		all, _ := at(c.Get(group, "gatewayclasses", "", "istio"), "status", "conditions").([]any)
		return len(all) == 1 && at(all[0], "type") == "Accepted" && at(all[0], "status") == "True"
	})
	gateway := func(name, class string, port string) string {
		return `{"apiVersion":"gateway.networking.k8s.io/v1","kind":"Gateway","metadata":{"namespace":"shop","name":"` + name + `"},
			"spec":{"gatewayClassName":"` + class + `","listeners":[{"name":"web","port":` + port + `,"protocol":"HTTP"}]}}`
	}
	c.apply(t, `{"apiVersion":"gateway.networking.k8s.io/v1","kind":"GatewayClass","metadata":{"name":"theirs"},"spec":{"controllerName":"example.com/other"}}`,
		gateway("front", "istio", "80"), gateway("other", "theirs", "80"), gateway("taken", "istio", "80"))
	ports := func() string {
		var out []string
		all, _ := at(c.Get("", "services", "shop", "front-istio"), "spec", "ports").([]any)
		for _, p := range all {
			out = append(out, at(p, "name").(string))
		}
		return strings.Join(out, " ")
	}
	r.until(t, "the Service", func() bool { return ports() == "status-port web" })
	r.until(t, "the Deployment", func() bool { return c.Get("apps", "deployments", "shop", "front-istio") != nil })
	pod := at(c.Get("apps", "deployments", "shop", "front-istio"), "spec", "template")
	containers, _ := at(pod, "spec", "containers").([]any)
	if len(containers) != 1 || !strings.Contains(at(containers[0], "image").(string), "meshproxy") || at(pod, "spec", "serviceAccountName") != "front-istio" {
		t.Errorf("the pod is %v", pod)
	}
	owners, _ := at(c.Get("apps", "deployments", "shop", "front-istio"), "metadata", "ownerReferences").([]any)
	if len(owners) != 1 || at(owners[0], "uid") != at(c.Get(group, "gateways", "shop", "front"), "metadata", "uid") {
		t.Errorf("owners are %v", owners)
	}
	c.apply(t, strings.Replace(gateway("front", "istio", "80"), `"listeners":[`, `"listeners":[{"name":"more","port":81,"protocol":"HTTP"},`, 1))
	r.until(t, "the new port", func() bool { return ports() == "status-port web more" })
	c.Delete("", "services", "shop", "front-istio")
	r.until(t, "the Service again", func() bool { return ports() == "status-port web more" })
	if c.Get("apps", "deployments", "shop", "other-theirs") != nil {
		t.Error("something was made for another controller's Gateway")
	}
	r.until(t, "the reason", func() bool { return strings.Contains(r.logs.String(), "belongs to somebody else") })
	if at(c.Get("", "services", "shop", "taken-istio"), "metadata", "labels") != nil || c.Get("apps", "deployments", "shop", "taken-istio") != nil {
		t.Error("a Service of somebody else was taken over")
	}
}
