package kube

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/meshctl/meshctl/internal/resource"
)

// Whatever happens in a cluster, who followed it knows what somebody knows who
// reads it afresh.
func TestFollowedEqualsListed(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c, stop := startCluster()
		defer stop()
		c.define("virtualservices", "peerauthentications")
		defined := true
		broken := map[string]bool{}
		names := rapid.SampledFrom([]string{"a/x", "a/y", "b/x"})
		small := rapid.IntRange(0, 3)
		act := func(t *rapid.T) {
			name := names.Draw(t, "name")
			switch rapid.IntRange(0, 9).Draw(t, "action") {
			case 0:
				c.apply(t, object("v1", "Service", name, fmt.Sprintf(`"spec":{"ports":[{"port":%d}]}`, 80+small.Draw(t, "port"))))
			case 1:
				c.apply(t, object("v1", "Pod", name, fmt.Sprintf(`"spec":{"nodeName":"n"},"status":{"podIP":"10.0.0.%d"}`, small.Draw(t, "ip"))))
			case 2:
				kind := rapid.SampledFrom([]string{"kubernetes.io/tls", "Opaque", "other"}).Draw(t, "type")
				c.Delete("", "secrets", name[:1], name[2:]) // the type of a Secret does not change
				c.apply(t, object("v1", "Secret", name, fmt.Sprintf(`"type":%q,"data":{"tls.crt":"YQ=="}`, kind)))
			case 3, 4:
				if defined {
					c.apply(t, virtualService(name, fmt.Sprint("h", small.Draw(t, "host"))))
					delete(broken, name)
				}
			case 5:
				if defined {
					c.apply(t, object("networking.istio.io/v1", "VirtualService", name, `"spec":{"hosts":[]}`))
					broken[name] = true
				}
			case 6:
				plural := rapid.SampledFrom([]string{"services", "pods", "secrets"}).Draw(t, "kind")
				c.Delete("", plural, name[:1], name[2:])
			case 7:
				c.Delete(resource.GroupNetworking, "virtualservices", name[:1], name[2:])
				delete(broken, name)
			case 8:
				c.Expire()
			case 9:
				if defined {
					c.Undefine(resource.GroupNetworking, "virtualservices")
					clear(broken)
				} else {
					c.define("virtualservices")
				}
				defined = !defined
			}
		}
		steps := rapid.IntRange(0, 12)
		for range steps.Draw(t, "before") {
			act(t)
		}
		followed, end := c.start(t, Options{})
		defer end()
		if rapid.Bool().Draw(t, "changes after the start only") {
			followed.until(t, "the first Apply", followed.started)
		}
		for range steps.Draw(t, "after") {
			act(t)
		}
		for name := range broken { // who reads afresh has no last good version
			c.apply(t, virtualService(name, "repaired"))
		}
		listed, end := c.start(t, Options{})
		defer end()
		listed.until(t, "a fresh list", listed.started)
		want := listed.text()
		followed.until(t, "the same as a fresh list:\n"+want, func() bool { return followed.started() && followed.text() == want })
	})
}
