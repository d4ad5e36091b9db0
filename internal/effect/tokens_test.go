package effect_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/meshctl/meshctl/internal/effect"
	"github.com/meshctl/meshctl/internal/resource"
	"github.com/meshctl/meshctl/internal/whatif"
)

// lines are the effects on identities, tokens and access of adding text to the sample,
// with files of it.
func lines(t *testing.T, text string, files ...string) []string {
	t.Helper()
	base := objects(t, append([]string{"platform/kube/bookinfo.yaml"}, files...)...)
	more, ds := resource.Decode("change.yaml", []byte(text), resource.Options{})
	for _, d := range ds {
		t.Fatal(d)
	}
	before, err := whatif.New(t.Context(), whatif.Input{Objects: base, Ingress: true})
	if err != nil {
		t.Fatal(err)
	}
	after, err := whatif.New(t.Context(), whatif.Input{Objects: append(base, more...), Ingress: true, Before: before})
	if err != nil {
		t.Fatal(err)
	}
	effects, _ := told(t, before, after)
	var out []string
	for _, e := range effects {
		if e.Area == effect.Tokens || e.Area == effect.Access {
			out = append(out, strings.ReplaceAll(e.String(), "reviews-v1, reviews-v2, reviews-v3", "reviews"))
		}
	}
	return out
}

const head = `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: p, namespace: default}
spec:
  selector: {matchLabels: {app: reviews}}
`

// issuer is a RequestAuthentication for reviews.
const issuer = `---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: tokens, namespace: default}
spec:
  selector: {matchLabels: {app: reviews}}
  jwtRules: [{issuer: me, jwks: '{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}', audiences: [shop], forwardOriginalToken: true}]
`

// What changes for tokens, and for what policies tell apart besides methods and paths:
// each is said for the requests that it holds for, and no others.
func TestWordsForTokensAndMarks(t *testing.T) {
	t.Parallel()
	for name, x := range map[string]struct {
		change string
		want   []string
	}{
		"issuer": {issuer, []string{
			"reviews, tokens of me: accepted, for audience shop, passed on to the program, bad ones are refused with 401 (was not looked at)",
			"reviews, tokens of other issuers: refused with 401 (was not looked at)",
		}},
		"token needed": {head + "  action: DENY\n  rules: [{from: [{source: {notRequestPrincipals: ['*']}}]}]\n" + issuer, []string{
			"reviews, tokens of me: accepted, for audience shop, passed on to the program, bad ones are refused with 401 (was not looked at)",
			"reviews, tokens of other issuers: refused with 401 (was not looked at)",
			"every request without a token from everybody to reviews: denied, a DENY policy matches (was allowed)",
		}},
		"claim": {head + "  rules:\n  - {to: [{operation: {methods: [GET]}}]}\n  - {when: [{key: 'request.auth.claims[groups]', values: [admin]}]}\n" + issuer, []string{
			"reviews, tokens of me: accepted, for audience shop, passed on to the program, bad ones are refused with 401 (was not looked at)",
			"reviews, tokens of other issuers: refused with 401 (was not looked at)",
			"POST but those with a token of me with groups admin from everybody to reviews: denied, no rule of the ALLOW policies matches: default/p (was allowed)",
		}},
		"other paths": {head + "  rules: [{to: [{operation: {paths: [/health], methods: [GET]}}]}]\n", []string{
			"POST /health from everybody to reviews: denied, no rule of the ALLOW policies matches: default/p (was allowed)",
			"other paths than /health from everybody to reviews: denied, no rule of the ALLOW policies matches: default/p (was allowed)",
		}},
		"header": {head + "  action: DENY\n  rules: [{when: [{key: 'request.headers[x-test]', notValues: ['yes']}]}]\n", []string{
			"every request but those with x-test: yes from everybody to reviews: denied, a DENY policy matches (was allowed)",
		}},
		"host": {head + "  action: DENY\n  rules: [{to: [{operation: {hosts: [shop.example.com]}}]}]\n", []string{
			"every request for host shop.example.com from everybody to reviews: denied, a DENY policy matches (was allowed)",
		}},
		"address": {head + "  rules: [{from: [{source: {ipBlocks: [10.0.0.0/8]}}]}]\n", []string{
			"every request but those from 10.0.0.0/8 from everybody to reviews: denied, no rule of the ALLOW policies matches: default/p (was allowed)",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(x.want, lines(t, x.change)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A policy at a gateway changes requests, too.
func TestWordsForGateways(t *testing.T) {
	t.Parallel()
	got := lines(t, `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: door, namespace: istio-system}
spec:
  selector: {matchLabels: {istio: ingressgateway}}
  action: DENY
  rules: [{to: [{operation: {paths: [/admin], hosts: [shop.example.com]}}]}]
`, "networking/bookinfo-gateway.yaml")
	want := []string{"/admin for host shop.example.com at gateway istio-ingressgateway.istio-system: denied, a DENY policy matches (was allowed)"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
