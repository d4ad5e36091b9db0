//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/meshctl/meshctl/internal/resource"
	"github.com/meshctl/meshctl/internal/whatif"
)

// asked are the rules that testWhatIf asks about: each kind of match and action.
const asked = `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: asked}
spec:
  hosts: [ratings]
  http:
  - match: [{uri: {exact: /teapot}}]
    directResponse: {status: 418}
  - match: [{uri: {prefix: /moved}, queryParams: {to: {regex: "[a-z]+"}}}]
    redirect: {uri: /ratings/1, redirectCode: 307}
  - match: [{headers: {end-user: {exact: jason}}, uri: {regex: "/rat.*"}}]
    fault: {abort: {httpStatus: 555, percentage: {value: 100}}}
    route: [{destination: {host: ratings}}]
  - match: [{uri: {prefix: /Old/}, ignoreUriCase: true, withoutHeaders: {x-new: {}}}]
    rewrite: {uri: /ratings/}
    route: [{destination: {host: ratings}}]
  - match: [{uri: {prefix: /ratings}}, {uri: {exact: /health}, method: {exact: GET}}]
    route: [{destination: {host: ratings}}]
  - match: [{uri: {prefix: /gone}}]
    route: [{destination: {host: ratings, subset: v9}}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: asked}
spec:
  selector: {matchLabels: {app: ratings}}
  rules:
  - from: [{source: {serviceAccounts: [bookinfo-reviews]}}]
    to: [{operation: {paths: ["/ratings/*", /health]}}]
  - from: [{source: {notPrincipals: ["*/sa/bookinfo-reviews"]}}]
    when: [{key: "request.headers[x-key]", notValues: ["wrong*"]}]
    to: [{operation: {methods: [GET], notPaths: ["/ratings/2"]}}]
  - from: [{source: {requestPrincipals: ["testing@meshctl/*"], notRequestPrincipals: ["*/demo"]}}]
    when: [{key: "request.auth.claims[groups]", values: [admin]}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: asked-deny}
spec:
  selector: {matchLabels: {app: ratings}}
  action: DENY
  rules:
  - when: [{key: request.auth.principal, values: ["testing@meshctl/demo"]}]
    to: [{operation: {paths: [/health]}}]
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: asked}
spec:
  selector: {matchLabels: {app: ratings}}
  jwtRules: [{issuer: testing@meshctl, jwks: 'KEYS'}]
`

// testWhatIf holds what route test answers against what the running proxies do,
// for every combination of caller, path, header and token.
func testWhatIf(t *testing.T, m *mesh) {
	m.applyText(t, strings.ReplaceAll(asked, "KEYS", sampleToken(t, "jwks.json")))
	demo := sampleToken(t, "demo.jwt")
	headers := []whatif.Header{{Name: "x-none", Value: "1"}, {Name: "end-user", Value: "jason"}, {Name: "x-new", Value: "1"}, {Name: "x-key", Value: "wrong-one"}}
	for _, token := range []string{demo, sampleToken(t, "admin.jwt"), demo[:len(demo)-8] + "AAAAAAAA", "abc"} {
		headers = append(headers, whatif.Header{Name: "authorization", Value: "Bearer " + token})
	}
	w := m.world(t)
	address := fmt.Sprintf("%s:9080", m.service(t, "ratings").ClusterIP)
	differ := 0
	for _, workload := range []string{"reviews-v1", "productpage-v1"} {
		pod := m.pod(t, workload)
		client := &http.Client{
			Timeout: 20 * time.Second, Transport: &http.Transport{DialContext: m.from(pod, address)},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
		for _, path := range []string{"/ratings/1", "/ratings/2", "/old/1", "/OLD/2", "/health", "/teapot", "/moved?to=there", "/moved?to=1", "/gone", "/", "/x/../ratings/1", "/ratings/../health", "/ratings%2f1"} {
			for _, h := range headers {
				url := "http://ratings:9080" + path
				a, err := w.Ask(t.Context(), whatif.Request{From: workload, URL: url, Headers: []whatif.Header{h}})
				if err != nil {
					t.Fatal(err)
				}
				if got, want := send(t, client, url, h), expected(a); got != want {
					differ++
					t.Errorf("%s %s %s=%s: the proxies give %s, route test says %s: %+v", workload, path, h.Name, h.Value, got, want, a.Outcomes)
				}
			}
		}
		client.CloseIdleConnections()
	}
	if differ == 0 {
		t.Log("208 answers of route test are what the proxies did")
	}
}

// send makes a request and says who answered it, and how.
func send(t *testing.T, client *http.Client, url string, h whatif.Header) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set(h.Name, h.Value)
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	status := strconv.Itoa(resp.StatusCode)
	switch {
	case resp.StatusCode == http.StatusForbidden, resp.StatusCode == http.StatusUnauthorized:
		return status // the other side's proxy refuses, and ours passes it on
	case resp.Header.Get("x-envoy-upstream-service-time") != "":
		return "the program"
	}
	return status + resp.Header.Get("location")
}

func expected(a *whatif.Answer) string {
	if len(a.Outcomes) != 1 {
		return "several outcomes"
	}
	o := a.Outcomes[0]
	if o.Kind == whatif.Forwarded {
		return "the program"
	}
	return strconv.Itoa(o.Status) + o.Location
}

// world is the running mesh, to be asked.
func (m *mesh) world(t *testing.T) *whatif.World {
	t.Helper()
	all, err := m.api.Objects(t.Context(), "", "", "", "")
	if err != nil {
		t.Fatal(err)
	}
	var objects []*resource.Object
	for _, x := range all {
		read, _ := resource.Decode("", x.Raw, resource.Options{})
		objects = append(objects, read...)
	}
	w, err := whatif.New(t.Context(), whatif.Input{Objects: objects})
	if err != nil {
		t.Fatal(err)
	}
	return w
}
