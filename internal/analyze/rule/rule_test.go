package rule_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/meshctl/meshctl/internal/analyze/rule"
	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/resource"
)

const objects = `
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {tier: gold}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: example/web}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  selector: {app: web}
  ports: [{name: http, port: 80}]
`

func look(t *testing.T, rules string) []diag.Diagnostic {
	t.Helper()
	compiled, err := rule.Parse("rules.yaml", []byte(rules))
	if err != nil {
		t.Fatal(err)
	}
	all, ds := resource.Decode("in.yaml", []byte(objects), resource.Options{})
	if len(ds) > 0 {
		t.Fatal(ds)
	}
	return rule.Run(t.Context(), compiled, all)
}

func TestRun(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ rest, want string }{
		"holds":             {"kinds: [Deployment], expression: object.spec.replicas >= 1, message: m", ""},
		"does not hold":     {"kinds: [Deployment], expression: object.spec.replicas >= 2, message: m, field: spec.replicas, level: Error", "Error SHOP1 in.yaml:10:3 m"},
		"by group":          {"kinds: [Deployment.apps], expression: 'false', message: m", "Warning SHOP1 in.yaml:6:1 m"},
		"other kind":        {"kinds: [StatefulSet], expression: 'false', message: m", ""},
		"every kind":        {"kinds: ['*'], expression: object.kind != 'Service', message: m", "Warning SHOP1 in.yaml:16:1 m"},
		"own message":       {"kinds: [Service], expression: 'false', messageExpression: \"'port ' + string(object.spec.ports[0].port)\"", "Warning SHOP1 in.yaml:16:1 port 80"},
		"namespace":         {"kinds: [Service], expression: namespaceObject.metadata.labels.tier == 'silver', message: m", "Warning SHOP1 in.yaml:16:1 m"},
		"all objects":       {"kinds: [Service], expression: 'objects.exists(o, o.kind == \"Deployment\" && o.metadata.name == object.metadata.name)', message: m", ""},
		"missing field":     {"kinds: [Service], expression: object.spec.type == 'X', message: m", "Warning MSH0109 rules.yaml:2:3 rule SHOP1: no such key: type"},
		"not a boolean":     {"kinds: [Service], expression: object.kind, message: m", "Warning MSH0109 rules.yaml:2:3 rule SHOP1: it gives a string"},
		"costs too much":    {"kinds: [Service], expression: '[1,2,3,4,5,6,7,8,9,10].all(a, [1,2,3,4,5,6,7,8,9,10].all(b, [1,2,3,4,5,6,7,8,9,10].all(c, [1,2,3,4,5,6,7,8,9,10].all(d, [1,2,3,4,5,6,7,8,9,10].all(e, a+b+c+d+e > 0)))))', message: m", "Warning MSH0109 rules.yaml:2:3 rule SHOP1: operation cancelled: actual cost limit exceeded"},
		"message that ends": {"kinds: [Service], expression: 'false', messageExpression: object.none", "Warning SHOP1 in.yaml:16:1 the rule does not hold, and its message cannot be made: no such key: none"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []string
			for _, d := range look(t, "rules:\n- {code: SHOP1, "+c.rest+"}\n") {
				got = append(got, fmt.Sprintf("%s %s %s %s", d.Severity, d.Code, d.Pos, d.Message))
			}
			if s := strings.Join(got, "\n"); s != c.want {
				t.Errorf("got  %s\nwant %s", s, c.want)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"nothing":           "",
		"no rules":          "rules: []",
		"unknown field":     "rules:\n- {code: A1, kinds: [Service], expression: 'true', message: m, severity: Error}",
		"unknown top field": "rulez: []",
		"two documents":     "rules:\n- {code: AA1, kinds: [Service], expression: 'true', message: m}\n---\nrules: []",
		"our code":          "rules:\n- {code: IST0101, kinds: [Service], expression: 'true', message: m}",
		"no code":           "rules:\n- {kinds: [Service], expression: 'true', message: m}",
		"code twice":        "rules:\n- &a {code: AA1, kinds: [Service], expression: 'true', message: m}\n- {code: AA1, kinds: [Service], expression: 'true', message: m}",
		"no kinds":          "rules:\n- {code: AA1, expression: 'true', message: m}",
		"no message":        "rules:\n- {code: AA1, kinds: [Service], expression: 'true'}",
		"level":             "rules:\n- {code: AA1, kinds: [Service], expression: 'true', message: m, level: Fatal}",
		"syntax":            "rules:\n- {code: AA1, kinds: [Service], expression: 'object.', message: m}",
		"unknown variable":  "rules:\n- {code: AA1, kinds: [Service], expression: 'thing.a', message: m}",
		"number":            "rules:\n- {code: AA1, kinds: [Service], expression: '1 + 1', message: m}",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := rule.Parse("rules.yaml", []byte(text)); err == nil || !strings.HasPrefix(err.Error(), "rules.yaml:") {
				t.Errorf("taken, or without its place: %v", err)
			}
		})
	}
}

// FuzzParse: no file breaks the reader, and what it takes can run.
func FuzzParse(f *testing.F) {
	f.Add([]byte("rules:\n- {code: AA1, kinds: ['*'], expression: 'object.a.all(x, x > 1)', message: m}"))
	f.Add([]byte("rules:\n- {code: AA1, kinds: ['*'], expression: 'true', messageExpression: 'object.kind'}"))
	all, _ := resource.Decode("in.yaml", []byte(objects), resource.Options{})
	f.Fuzz(func(t *testing.T, data []byte) {
		rules, err := rule.Parse("rules.yaml", data)
		if err != nil {
			return
		}
		rule.Run(t.Context(), rules, all)
	})
}
