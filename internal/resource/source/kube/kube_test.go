package kube

import (
	"log/slog"
	"slices"
	"strings"
	"testing"

	securityv1beta1 "istio.io/api/security/v1beta1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"

	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/resource"
)

// The first Apply holds everything, and later ones what changed.
func TestStartAndFollow(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.define("virtualservices")
	c.apply(t,
		object("v1", "Namespace", "shop", ""),
		object("v1", "Service", "shop/reviews", `"spec":{"clusterIP":"10.0.0.1","ports":[{"name":"http","port":9080}]}`),
		virtualService("shop/reviews", "reviews"),
		object("v1", "ConfigMap", "istio-system/istio", `"data":{"mesh":"trustDomain: td"}`),
		object("v1", "ConfigMap", "istio-system/other", `"data":{}`),
		object("v1", "ConfigMap", "shop/istio", `"data":{}`),
	)
	r := c.follow(t, Options{})
	r.until(t, "the first Apply", r.started)
	if r.applies != 1 || len(r.objects) != 4 {
		t.Fatalf("%d calls, in force:\n%s", r.applies, r.text())
	}
	c.apply(t, virtualService("shop/reviews", "ratings"))
	was := r.objects[key(resource.KindVirtualService, "shop/reviews")]
	r.until(t, "the edit", func() bool { return r.objects[was.Key] != was })
	if !c.Delete("", "services", "shop", "reviews") {
		t.Fatal("no service to delete")
	}
	r.until(t, "the deletion", func() bool { return r.objects[key(resource.KindService, "shop/reviews")] == nil })
}

// Of a remote cluster only what says where workloads are is read, under keys of its
// own, and the rights for that are enough.
func TestRemoteCluster(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.define("virtualservices")
	c.apply(t,
		object("v1", "Namespace", "shop", ""), object("v1", "Node", "n", ""), object("v1", "Service", "shop/reviews", `"spec":{}`),
		object("v1", "Pod", "shop/p", ""), object("discovery.k8s.io/v1", "EndpointSlice", "shop/s", `"addressType":"IPv4"`),
		virtualService("shop/reviews", "reviews"), object("v1", "Secret", "shop/s", `"type":"Opaque"`), object("v1", "ConfigMap", "istio-system/istio", `"data":{}`),
	)
	allowed := map[string]bool{}
	for _, r := range RemoteRights() {
		for _, name := range r.Resources {
			allowed[r.Group+"/"+name] = true
		}
	}
	c.Forbid(func(_, group, plural, _ string) bool { return !allowed[group+"/"+plural] })
	r := c.follow(t, Options{Cluster: "east", Remote: true, Troubled: func(ds []diag.Diagnostic) { t.Errorf("told %v", ds) }})
	r.until(t, "the first Apply", r.started)
	want := map[resource.Kind]string{
		resource.KindNamespace: "shop", resource.KindNode: "n", resource.KindService: "shop/reviews", resource.KindPod: "shop/p", resource.KindEndpointSlice: "shop/s",
	}
	for kind, name := range want {
		k := key(kind, name)
		k.Cluster = "east"
		if o := r.objects[k]; o == nil || o.Key != k {
			t.Errorf("%s is not there", k)
		}
	}
	if len(r.objects) != len(want) {
		t.Errorf("in force:\n%s", r.text())
	}
	c.Delete("", "services", "shop", "reviews")
	r.until(t, "a deletion", func() bool { return len(r.objects) == len(want)-1 })
}

// Kinds come and go while the source runs.
func TestCustomKindsComeAndGo(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	r := c.follow(t, Options{})
	r.until(t, "the first Apply, of nothing", r.started)
	c.define("virtualservices")
	c.apply(t, virtualService("shop/reviews", "reviews"))
	k := key(resource.KindVirtualService, "shop/reviews")
	r.until(t, "a kind that was installed", func() bool { return r.objects[k] != nil })
	c.Undefine(resource.GroupNetworking, "virtualservices")
	r.until(t, "its removal", func() bool { return r.objects[k] == nil })
	c.define("virtualservices")
	c.apply(t, virtualService("shop/reviews", "reviews"))
	r.until(t, "its return", func() bool { return r.objects[k] != nil })
}

// A broken object leaves its last good version in force.
func TestBrokenObjectKeepsLastGood(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.define("virtualservices")
	c.apply(t,
		virtualService("shop/reviews", "reviews"),
		object("networking.istio.io/v1", "VirtualService", "shop/never-good", `"spec":{"hosts":[]}`),
	)
	r := c.follow(t, Options{})
	r.until(t, "the first Apply", r.started)
	good := r.objects[key(resource.KindVirtualService, "shop/reviews")]
	if good == nil || len(r.objects) != 1 {
		t.Fatalf("in force:\n%s", r.text())
	}
	c.apply(t, object("networking.istio.io/v1", "VirtualService", "shop/reviews", `"spec":{"hosts":["reviews"],"htp":[]}`))
	about := func(code string) bool {
		return slices.ContainsFunc(r.found, func(d diag.Diagnostic) bool { return d.Code == code && d.Object == good.Ref() })
	}
	r.until(t, "both findings", func() bool { return about(resource.CodeLastGood) && about(resource.CodeSchema) })
	if r.objects[good.Key] != good {
		t.Error("the last good version is not in force")
	}
	c.apply(t, virtualService("shop/reviews", "ratings"))
	r.until(t, "the repair", func() bool { return r.objects[good.Key] != good && !about(resource.CodeLastGood) })
}

func TestPolicyBrokenFromTheStartRefuses(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.define("authorizationpolicies")
	broken := object("security.istio.io/v1", "AuthorizationPolicy", "shop/closed", `"spec":{"selector":{"matchLabels":{"app":"a"}},"rules":7}`)
	c.apply(t, broken)
	r := c.follow(t, Options{})
	r.until(t, "the first Apply", r.started)
	k := key(resource.KindAuthorizationPolicy, "shop/closed")
	denies := func() bool {
		s, ok := r.objects[k].Spec.(*securityv1beta1.AuthorizationPolicy)
		return ok && s.Action == securityv1beta1.AuthorizationPolicy_DENY && len(s.Rules) == 1 && s.Selector.MatchLabels["app"] == "a"
	}
	if r.objects[k] == nil || !denies() {
		t.Fatalf("in force:\n%s", r.text())
	}
	about := func(code string) bool {
		return slices.ContainsFunc(r.found, func(d diag.Diagnostic) bool { return d.Code == code && d.Object.Name == "closed" })
	}
	r.until(t, "the finding", func() bool { return about(resource.CodeFailClosed) })
	c.apply(t, object("security.istio.io/v1", "AuthorizationPolicy", "shop/closed", `"spec":{"selector":{"matchLabels":{"app":"a"}}}`))
	r.until(t, "the repair", func() bool { return !denies() && !about(resource.CodeFailClosed) })
	c.apply(t, broken)
	r.until(t, "the last good version", func() bool { return !denies() && about(resource.CodeLastGood) && !about(resource.CodeFailClosed) })
}

// What nobody in the mesh reads is no event: heartbeats, readiness gates, status.
func TestStatusIsNoEvent(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.define("virtualservices")
	c.apply(t, object("v1", "Node", "n1", ""), object("v1", "Pod", "shop/a", `"spec":{"nodeName":"n1"}`), virtualService("shop/reviews", "reviews"))
	r := c.follow(t, Options{})
	r.until(t, "the first Apply", r.started)
	c.apply(t,
		object("v1", "Node", "n1", `"status":{"conditions":[{"type":"Ready","status":"True"}]}`),
		object("v1", "Pod", "shop/a", `"spec":{"nodeName":"n1"},"status":{"conditions":[{"type":"Ready","status":"True"}]}`),
		`{"apiVersion":"networking.istio.io/v1","kind":"VirtualService","metadata":{"namespace":"shop","name":"reviews",
		  "annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{}"},"managedFields":[{"manager":"x"}]},
		  "spec":{"hosts":["reviews"],"http":[{"route":[{"destination":{"host":"reviews"}}]}]},"status":{"conditions":[]}}`,
		object("v1", "Namespace", "last", ""),
	)
	r.until(t, "the namespace", func() bool { return r.objects[key(resource.KindNamespace, "last")] != nil })
	// Watches are independent: a change of each kind comes after its own last event.
	c.apply(t, object("v1", "Node", "n2", ""), object("v1", "Pod", "shop/b", ""), virtualService("shop/other", "reviews"))
	r.until(t, "the last of each kind", func() bool {
		return r.objects[key(resource.KindNode, "n2")] != nil && r.objects[key(resource.KindPod, "shop/b")] != nil &&
			r.objects[key(resource.KindVirtualService, "shop/other")] != nil
	})
	if r.sets != 4 {
		t.Errorf("%d objects set after the start, want the 4 that are new", r.sets)
	}
}

// A machine that says it is healthy took no traffic in a cluster: its entry had changed
// in nothing but its status.
func TestHealthOfAMachineIsAnEvent(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.define("workloadentries")
	entry := func(status string) string {
		return object("networking.istio.io/v1", "WorkloadEntry", "shop/vm", `"spec":{"address":"10.0.0.9"}`+status)
	}
	c.apply(t, entry(""))
	r := c.follow(t, Options{})
	r.until(t, "the first Apply", r.started)
	k := key(resource.KindWorkloadEntry, "shop/vm")
	for _, healthy := range []string{"True", "False"} {
		c.apply(t, entry(`,"status":{"conditions":[{"type":"Healthy","status":"`+healthy+`"}]}`))
		r.until(t, "a machine whose health is "+healthy, func() bool { return r.objects[k].Healthy == healthy })
	}
}

// A right that is missing is a finding that names it, and the rest goes on.
func TestMissingRight(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.apply(t, object("v1", "Namespace", "shop", ""))
	c.Forbid(func(_, _, plural, _ string) bool { return plural == "secrets" })
	r := c.follow(t, Options{})
	r.until(t, "the finding", func() bool {
		return r.started() && slices.ContainsFunc(r.found, func(d diag.Diagnostic) bool {
			return strings.Contains(d.Fix, "get, list and watch on secrets")
		})
	})
	if len(r.objects) != 1 {
		t.Errorf("in force:\n%s", r.text())
	}
	c.apply(t, object("v1", "Secret", "shop/cert", `"type":"kubernetes.io/tls","data":{"tls.crt":"YQ==","tls.key":"YQ=="}`))
	c.Forbid(nil)
	r.until(t, "the secret, once the right is there", func() bool {
		return len(r.found) == 0 && r.objects[key(resource.KindSecret, "shop/cert")] != nil
	})
}

// Policies that cannot be read hold everything up: what they forbid would be allowed.
func TestPoliciesMustHaveBeenRead(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.define("authorizationpolicies")
	c.apply(t, object("security.istio.io/v1", "AuthorizationPolicy", "shop/deny-all", `"spec":{}`))
	c.Forbid(func(_, group, _, _ string) bool { return group == resource.GroupSecurity })
	r := c.follow(t, Options{})
	c.logs.until(t, "no proxy is served before they have been read once")
	r.until(t, "nothing", func() bool { return !r.started() })
	c.Forbid(nil)
	r.until(t, "the policy", func() bool { return r.objects[key(resource.KindAuthorizationPolicy, "shop/deny-all")] != nil })
}

// While the API server is away what was read stays, and what changed is caught up with.
func TestAPIServerGoesAway(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.apply(t, object("v1", "Namespace", "a", ""), object("v1", "Namespace", "b", ""))
	r := c.follow(t, Options{})
	r.until(t, "the first Apply", r.started)
	c.SetDown(true)
	r.until(t, "the finding", func() bool { return len(r.found) > 0 })
	if len(r.objects) != 2 || len(r.found) != 1 {
		t.Errorf("in force:\n%sfindings %v", r.text(), r.found)
	}
	c.Delete("", "namespaces", "", "a")
	c.apply(t, object("v1", "Namespace", "c", ""))
	c.Expire()
	c.SetDown(false)
	r.until(t, "the changes made meanwhile", func() bool {
		return r.objects[key(resource.KindNamespace, "a")] == nil && r.objects[key(resource.KindNamespace, "c")] != nil && len(r.found) == 0
	})
}

// Of Secrets only what a gateway can refer to is kept.
func TestSecretsAreCutDown(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.apply(t,
		object("v1", "Secret", "shop/tls", `"type":"kubernetes.io/tls","data":{"tls.crt":"YQ==","tls.key":"YQ==","password":"YQ=="}`),
		object("v1", "Secret", "shop/generic", `"type":"Opaque","data":{"cert":"YQ==","key":"YQ==","cacert":"YQ=="}`),
		object("v1", "Secret", "shop/password", `"type":"Opaque","data":{"password":"YQ=="}`),
		object("v1", "Secret", "shop/token", `"type":"kubernetes.io/service-account-token","data":{"ca.crt":"YQ=="}`),
	)
	r := c.follow(t, Options{})
	r.until(t, "the first Apply", r.started)
	var got []string
	for k, o := range r.objects {
		s, err := resource.SpecOf[*corev1.Secret](o)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, k.Name)
		if _, ok := s.Data["password"]; ok || o.Raw != nil {
			t.Errorf("%s keeps what is not read", k)
		}
	}
	if slices.Sort(got); !slices.Equal(got, []string{"generic", "tls"}) {
		t.Errorf("in force: %v", got)
	}
}

// A Secret that was made anew with another type was lost when the watch of its new
// type was heard before the one of its old.
func TestSecretOfAnotherTypeIsHeardOfInAnyOrder(t *testing.T) {
	t.Parallel()
	const tls, opaque = "Secret/tls", "Secret/opaque"
	k := key(resource.KindSecret, "shop/cert")
	version := func(hash uint64) *item {
		return &item{key: k, object: &resource.Object{Key: k, Hash: hash}}
	}
	r := newRecorder()
	st := newState("test", r, slog.New(slog.DiscardHandler))
	for _, id := range []string{tls, opaque} {
		st.expect(id)
	}
	st.replace(tls, nil)
	st.replace(opaque, nil)
	st.set(opaque, version(2))
	st.set(tls, version(1))
	st.remove(tls, k)
	if o := r.objects[k]; o == nil || o.Hash != 2 {
		t.Errorf("in force:\n%s", r.text())
	}
	st.remove(opaque, k)
	if r.objects[k] != nil || len(st.entries)+len(st.beneath) > 0 {
		t.Errorf("left in force:\n%s%s", r.text(), st)
	}
}

// Objects of another revision are not ours.
func TestRevision(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.define("virtualservices")
	labelled := func(name, rev string) string {
		return strings.Replace(virtualService(name, "reviews"), `"name"`, `"labels":{"istio.io/rev":"`+rev+`"},"name"`, 1)
	}
	c.apply(t, virtualService("shop/all", "reviews"), labelled("shop/ours", "canary"), labelled("shop/theirs", "default"))
	r := c.follow(t, Options{Revision: "canary"})
	r.until(t, "the first Apply", r.started)
	if len(r.objects) != 2 || r.objects[key(resource.KindVirtualService, "shop/theirs")] != nil {
		t.Errorf("in force:\n%s", r.text())
	}
	c.apply(t, labelled("shop/ours", "default"))
	r.until(t, "an object that changed hands", func() bool { return len(r.objects) == 1 })
}

// A tag is another name of a revision: objects for it were left out, policies too.
func TestObjectsForATagOfTheRevision(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.define("virtualservices")
	labelled := func(o string, labels string) string {
		return strings.Replace(o, `"name"`, `"labels":{`+labels+`},"name"`, 1)
	}
	tag := func(name, revision string) string {
		return labelled(object("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration", "istio-revision-tag-"+name, ""),
			`"istio.io/tag":"`+name+`","istio.io/rev":"`+revision+`"`)
	}
	virtual := func(rev string) string {
		return labelled(virtualService("shop/of-"+rev, "reviews"), `"istio.io/rev":"`+rev+`"`)
	}
	c.apply(t, tag("prod", "canary"), tag("test", "default"), virtual("canary"), virtual("prod"), virtual("test"), virtual("default"))
	r := c.follow(t, Options{Revision: "canary"})
	inForce := func(revs ...string) func() bool {
		return func() bool {
			for _, rev := range revs {
				if r.objects[key(resource.KindVirtualService, "shop/of-"+rev)] == nil {
					return false
				}
			}
			return len(r.objects) == len(revs)
		}
	}
	r.until(t, "the first Apply", r.started)
	if !inForce("canary", "prod")() {
		t.Errorf("at first in force:\n%s", r.text())
	}
	c.apply(t, tag("test", "canary"))
	r.until(t, "a tag that changed hands", inForce("canary", "prod", "test"))
	c.apply(t, tag("prod", "default"))
	r.until(t, "a tag that went to another", inForce("canary", "test"))
	if !c.Delete("admissionregistration.k8s.io", "mutatingwebhookconfigurations", "", "istio-revision-tag-test") {
		t.Fatal("no tag to delete")
	}
	r.until(t, "the end of a tag", inForce("canary"))

	s, err := New(Options{Config: &rest.Config{Host: c.url}, Revision: "default"})
	if err != nil {
		t.Fatal(err)
	}
	objects, findings, err := s.Once(t.Context(), "")
	if err != nil || len(objects) != 2 {
		t.Errorf("read once: %v, %v, %v", objects, findings, err)
	}
}
