// Package kubetest is a Kubernetes API server in process, for tests of what
// follows or writes objects: list, watch (streamed lists, bookmarks and expiry
// included), create, update, patch, delete, discovery of custom kinds, TokenReview,
// TokenRequest, and what a node answers about its pods (port-forward, logs, exec).
// It checks no schema and no rights but those that a test takes
// away, and forgets everything at the end.
//
//	api := kubetest.New()
//	server := httptest.NewServer(api)
//	config := &rest.Config{Host: server.URL}
//	api.Apply(`{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"a"}}`)
package kubetest

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Object is an object as JSON has it.
type Object = map[string]any

// resourceKind is a kind that is served.
type resourceKind struct {
	group, plural, kind string
	versions            []string
	namespaced          bool
}

// event is one change; events are never changed.
type event struct {
	version  uint64
	kind     resourceKind
	what     string // ADDED, MODIFIED, DELETED
	object   Object // after it, or before a deletion
	previous Object
}

// API is the server; an http.Handler.
type API struct {
	mu      sync.Mutex
	moved   chan struct{} // closed at every change, and replaced
	version uint64
	oldest  uint64 // changes up to it are forgotten
	kinds   []resourceKind
	objects map[string]map[string]Object // by group/plural, then namespace/name
	log     []event
	down    bool
	forbid  func(verb, group, plural, namespace string) bool
	reviews func(token string) (Object, error)
	kubelet Kubelet
	calls   map[string]int
}

// New makes an empty cluster that serves Kubernetes' own kinds.
func New() *API {
	a := &API{moved: make(chan struct{}), objects: map[string]map[string]Object{}, calls: map[string]int{}}
	core := func(plural, kind string, namespaced bool) {
		a.kinds = append(a.kinds, resourceKind{"", plural, kind, []string{"v1"}, namespaced})
	}
	core("namespaces", "Namespace", false)
	core("nodes", "Node", false)
	core("services", "Service", true)
	core("pods", "Pod", true)
	core("secrets", "Secret", true)
	core("configmaps", "ConfigMap", true)
	core("events", "Event", true)
	core("serviceaccounts", "ServiceAccount", true)
	a.kinds = append(a.kinds, []resourceKind{
		{"discovery.k8s.io", "endpointslices", "EndpointSlice", []string{"v1"}, true},
		{"apps", "deployments", "Deployment", []string{"v1"}, true},
		{"autoscaling", "horizontalpodautoscalers", "HorizontalPodAutoscaler", []string{"v2"}, true},
		{"policy", "poddisruptionbudgets", "PodDisruptionBudget", []string{"v1"}, true},
		{"networking.k8s.io", "ingresses", "Ingress", []string{"v1"}, true},
		{"networking.k8s.io", "ingressclasses", "IngressClass", []string{"v1"}, false},
		{"coordination.k8s.io", "leases", "Lease", []string{"v1"}, true},
		{"apiextensions.k8s.io", "customresourcedefinitions", "CustomResourceDefinition", []string{"v1"}, false},
		{"admissionregistration.k8s.io", "mutatingwebhookconfigurations", "MutatingWebhookConfiguration", []string{"v1"}, false},
		{"admissionregistration.k8s.io", "validatingwebhookconfigurations", "ValidatingWebhookConfiguration", []string{"v1"}, false},
	}...)
	return a
}

// Define serves a custom kind and creates its definition.
func (a *API) Define(group, plural, kind string, namespaced bool, versions ...string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.kinds = append(a.kinds, resourceKind{group, plural, kind, versions, namespaced})
	a.put(a.kindNamed("customresourcedefinitions"), "/"+plural+"."+group, Object{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": Object{"name": plural + "." + group},
	})
}

// Undefine removes a custom kind with its objects.
func (a *API) Undefine(group, plural string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, k := range a.kinds {
		if k.group == group && k.plural == plural {
			for name := range a.objects[k.key()] {
				a.remove(k, name)
			}
		}
	}
	a.kinds = slices.DeleteFunc(a.kinds, func(k resourceKind) bool { return k.group == group && k.plural == plural })
	a.remove(a.kindNamed("customresourcedefinitions"), "/"+plural+"."+group)
}

// Apply creates or replaces an object given as JSON.
func (a *API) Apply(text string) error {
	var o Object
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return fmt.Errorf("apply: %w", err)
	}
	group, _, grouped := strings.Cut(str(o, "apiVersion"), "/")
	if !grouped {
		group = ""
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, k := range a.kinds {
		if k.group == group && k.kind == str(o, "kind") {
			a.put(k, nameOf(k, o), o)
			return nil
		}
	}
	return fmt.Errorf("apply: %s of %q is not served", str(o, "kind"), group)
}

// Delete removes an object and reports whether it was there.
func (a *API) Delete(group, plural, namespace, name string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.remove(resourceKind{group: group, plural: plural}, namespace+"/"+name)
}

// Get returns an object, nil when it is not there.
func (a *API) Get(group, plural, namespace, name string) Object {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.objects[group+"/"+plural][namespace+"/"+name]
}

// Forbid takes rights away: requests for which no returns true get 403. nil gives
// all of them back.
func (a *API) Forbid(no func(verb, group, plural, namespace string) bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.forbid = no
	a.tell()
}

// SetDown makes the server drop every connection, or answer again.
func (a *API) SetDown(down bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.down = down
	a.tell()
}

// Expire forgets all changes so far: who watches from before has to list again.
func (a *API) Expire() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.version++
	a.oldest, a.log = a.version, nil
	a.tell()
}

// Review answers TokenReviews with the status that review returns.
func (a *API) Review(review func(token string) (Object, error)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.reviews = review
}

// Calls is how often a verb was asked for on a kind.
func (a *API) Calls(verb, plural string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.calls[verb+" "+plural]
}

func (k resourceKind) key() string { return k.group + "/" + k.plural }

func (a *API) kindNamed(plural string) resourceKind {
	return a.kinds[slices.IndexFunc(a.kinds, func(k resourceKind) bool { return k.plural == plural })]
}

// put stores an object and tells watchers. The caller holds the lock.
func (a *API) put(k resourceKind, name string, o Object) Object {
	a.version++
	o = maps.Clone(o)
	meta := maps.Clone(sub(o, "metadata"))
	if meta == nil {
		meta = Object{}
	}
	meta["resourceVersion"] = strconv.FormatUint(a.version, 10)
	old := a.objects[k.key()][name]
	what := "ADDED"
	if old != nil {
		what = "MODIFIED"
		meta["uid"], meta["creationTimestamp"] = sub(old, "metadata")["uid"], sub(old, "metadata")["creationTimestamp"]
		if _, ok := o["status"]; !ok && old["status"] != nil {
			o["status"] = old["status"]
		}
	} else {
		meta["uid"] = fmt.Sprintf("uid-%d", a.version)
		meta["creationTimestamp"] = time.Unix(1_700_000_000+int64(a.version), 0).UTC().Format(time.RFC3339)
	}
	o["metadata"] = meta
	if a.objects[k.key()] == nil {
		a.objects[k.key()] = map[string]Object{}
	}
	a.objects[k.key()][name] = o
	a.record(event{a.version, k, what, o, old})
	return o
}

func (a *API) remove(k resourceKind, name string) bool {
	old := a.objects[k.key()][name]
	if old == nil {
		return false
	}
	a.version++
	delete(a.objects[k.key()], name)
	last := maps.Clone(old)
	last["metadata"] = maps.Clone(sub(old, "metadata"))
	sub(last, "metadata")["resourceVersion"] = strconv.FormatUint(a.version, 10)
	a.record(event{a.version, k, "DELETED", last, old})
	return true
}

func (a *API) record(e event) {
	a.log = append(a.log, e)
	a.tell()
}

func (a *API) tell() {
	close(a.moved)
	a.moved = make(chan struct{})
}

func sub(o Object, name string) Object {
	m, _ := o[name].(Object)
	return m
}

func str(o Object, name string) string {
	s, _ := o[name].(string)
	return s
}

func nameOf(k resourceKind, o Object) string {
	m := sub(o, "metadata")
	if !k.namespaced {
		return "/" + str(m, "name")
	}
	return str(m, "namespace") + "/" + str(m, "name")
}

var _ http.Handler = (*API)(nil)
