package resource_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/meshctl/meshctl/internal/resource"
)

// A broken policy that was never good refuses: those it selects, or the namespace
// when that cannot be known.
func TestBrokenPolicyFailsClosed(t *testing.T) {
	t.Parallel()
	const head = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: p, namespace: shop}\n"
	const nobody = `rules:{} action:DENY`
	for name, c := range map[string]struct{ text, want string }{
		"unknown field":          {head + "spec:\n  selector: {matchLabels: {app: a}}\n  rulez: [{}]\n", `shop/p selector:{match_labels:{key:"app" value:"a"}} ` + nobody},
		"broken rule":            {head + "spec:\n  action: ALLOW\n  selector: {matchLabels: {app: a}}\n  rules: [{from: []}]\n", `shop/p selector:{match_labels:{key:"app" value:"a"}} ` + nobody},
		"no selector":            {head + "spec: {action: DENI}\n", "shop/p " + nobody},
		"misspelled selector":    {head + "spec:\n  selecter: {matchLabels: {app: a}}\n", "shop/p " + nobody},
		"misspelled labels":      {head + "spec:\n  selector: {matchLabel: {app: a}}\n", "shop/p " + nobody},
		"impossible label":       {head + "spec:\n  selector: {matchLabels: {app: 'a b'}}\n  rules: [{from: 3}]\n", "shop/p " + nobody},
		"labels of a wrong type": {head + "spec:\n  selector: {matchLabels: [app]}\n", "shop/p " + nobody},
		"selector beside spec":   {head + "selector: {matchLabels: {app: a}}\nspec: {action: DENY}\n", "shop/p " + nobody},
		"target reference":       {head + "spec:\n  targetRefs: [{kind: Gateway, group: gateway.networking.k8s.io, name: g}]\n  rules: 7\n", `shop/p targetRefs:{group:"gateway.networking.k8s.io" kind:"Gateway" name:"g"} ` + nobody},
		"spec is a list":         {head + "spec: []\n", "shop/p " + nobody},
		"no apiVersion":          {"kind: AuthorizationPolicy\nmetadata: {name: p}\nspec: {action: DENY, rules: [{}]}\n", "default/p " + nobody},
		"no name":                {"apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nspec: {action: DENY, rules: [{}]}\n", "default/unnamed-1 " + nobody},
		"no YAML":                {"apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata:\n  name: p\n  namespace: shop\nspec:\n  action: DENY\n rules: [}\n", "shop/p " + nobody},
		"no JSON":                {`{"apiVersion": "security.istio.io/v1",` + "\n" + `"kind": "AuthorizationPolicy", "metadata": {"name": "p"}, "spec": {"action": "DENY", }]}`, "default/unnamed-2 " + nobody},
		"peers": {
			"apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: p}\nspec:\n  selector: {matchLabels: {app: a}}\n  mtls: {mode: STRICTLY}\n",
			`default/p selector:{match_labels:{key:"app" value:"a"}} mtls:{mode:STRICT}`,
		},
		"only audits":  {head + "spec: {action: AUDIT, rules: 7}\n", ""},
		"only counted": {strings.Replace(head, "namespace: shop", `namespace: shop, annotations: {istio.io/dry-run: "true"}`, 1) + "spec: {action: DENI}\n", ""},
		"no policy":    {"apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v}\nspec: {hostz: [a]}\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			docs := resource.DecodeDocuments("a.yaml", []byte(c.text), resource.Options{})
			if len(docs) != 1 {
				t.Fatalf("%d documents", len(docs))
			}
			o, finding := docs[0].StandIn()
			got := ""
			if o != nil {
				got = o.Key.Namespace + "/" + o.Key.Name + " " + strings.Join(strings.Fields(o.Spec.(fmt.Stringer).String()), " ")
				if finding.Code != resource.CodeFailClosed || finding.Effect == "" || finding.Object != o.Ref() {
					t.Errorf("finding %+v", finding)
				}
				if strings.Contains(c.want, "sel") != strings.Contains(finding.Effect, "that it selects") && !strings.Contains(c.want, "targetRefs") {
					t.Errorf("effect %q", finding.Effect)
				}
			}
			if got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}
