package mesh_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	networking "istio.io/api/networking/v1alpha3"
	security "istio.io/api/security/v1beta1"

	"github.com/meshctl/meshctl/internal/mesh"
)

// parse reads a message as users write it.
func parse[M proto.Message](t testing.TB, m M, text string) M {
	t.Helper()
	if err := protojson.Unmarshal([]byte(text), m); err != nil {
		t.Fatalf("parse %s: %v", text, err)
	}
	return m
}

func origin(kind, namespace, name string, age int) mesh.Origin {
	return mesh.Origin{Group: "x", Kind: kind, Namespace: namespace, Name: name, Created: time.Unix(int64(1000-age), 0)}
}

func peerAuth(t testing.TB, ns, name string, age int, spec string) *mesh.PeerAuthentication {
	return &mesh.PeerAuthentication{Origin: origin("PeerAuthentication", ns, name, age), Spec: parse(t, &security.PeerAuthentication{}, spec)}
}

func TestEffectiveAuthn(t *testing.T) {
	t.Parallel()
	strict, disable, unset := `{"mtls":{"mode":"STRICT"}}`, `{"mtls":{"mode":"DISABLE"}}`, `{}`
	sel := func(rest string) string { return `{"selector":{"matchLabels":{"app":"a"}}` + rest + `}` }
	for _, c := range []struct {
		name string
		all  []*mesh.PeerAuthentication
		want string // default, and port 80
	}{
		{"nothing said", nil, "PERMISSIVE PERMISSIVE"},
		{"root", []*mesh.PeerAuthentication{peerAuth(t, "root", "r", 0, strict)}, "STRICT STRICT"},
		{"namespace before root", []*mesh.PeerAuthentication{peerAuth(t, "root", "r", 0, strict), peerAuth(t, "ns", "n", 0, disable)}, "DISABLE DISABLE"},
		{"unset inherits", []*mesh.PeerAuthentication{peerAuth(t, "root", "r", 0, strict), peerAuth(t, "ns", "n", 0, unset)}, "STRICT STRICT"},
		{"other namespace", []*mesh.PeerAuthentication{peerAuth(t, "other", "n", 0, strict)}, "PERMISSIVE PERMISSIVE"},
		{"workload before namespace", []*mesh.PeerAuthentication{peerAuth(t, "ns", "n", 0, strict), peerAuth(t, "ns", "w", 0, sel(`,"mtls":{"mode":"DISABLE"}`))}, "DISABLE DISABLE"},
		{"workload unset, port set", []*mesh.PeerAuthentication{peerAuth(t, "ns", "n", 0, strict), peerAuth(t, "ns", "w", 0, sel(`,"portLevelMtls":{"80":{"mode":"DISABLE"}}`))}, "STRICT DISABLE"},
		{"port unset inherits", []*mesh.PeerAuthentication{peerAuth(t, "ns", "w", 0, sel(`,"mtls":{"mode":"STRICT"},"portLevelMtls":{"80":{"mode":"UNSET"}}`))}, "STRICT STRICT"},
		{"selector of others", []*mesh.PeerAuthentication{peerAuth(t, "ns", "w", 0, `{"selector":{"matchLabels":{"app":"b"}},"mtls":{"mode":"STRICT"}}`)}, "PERMISSIVE PERMISSIVE"},
		{"selector in root is of root's workloads", []*mesh.PeerAuthentication{peerAuth(t, "root", "w", 0, sel(`,"mtls":{"mode":"STRICT"}`))}, "PERMISSIVE PERMISSIVE"},
		{"oldest wins", []*mesh.PeerAuthentication{peerAuth(t, "ns", "a", 1, strict), peerAuth(t, "ns", "b", 2, disable)}, "DISABLE DISABLE"},
		{"then the name", []*mesh.PeerAuthentication{peerAuth(t, "ns", "b", 1, strict), peerAuth(t, "ns", "a", 1, disable)}, "DISABLE DISABLE"},
		{"port of a namespace policy does not count", []*mesh.PeerAuthentication{peerAuth(t, "ns", "n", 0, `{"portLevelMtls":{"80":{"mode":"STRICT"}}}`)}, "PERMISSIVE PERMISSIVE"},
	} {
		p := mesh.EffectiveAuthn(c.all, "root", "ns", map[string]string{"app": "a"})
		if got := fmt.Sprint(p.Mode(1), " ", p.Mode(80)); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

func authz(t testing.TB, ns, name, spec string) *mesh.AuthorizationPolicy {
	return &mesh.AuthorizationPolicy{Origin: origin("AuthorizationPolicy", ns, name, 0), Spec: parse(t, &security.AuthorizationPolicy{}, spec)}
}

func TestRefuseUnsupported(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, in, want string }{
		{
			"supported stays", `{"rules":[{"from":[{"source":{"principals":["a"]}}]}]}`,
			`{"rules":[{"from":[{"source":{"principals":["a"]}}]}]}`,
		},
		{
			"custom denies what it selects", `{"action":"CUSTOM","provider":{"name":"x"},"rules":[{"to":[{"operation":{"paths":["/a"]}}]}]}`,
			`{"action":"DENY","rules":[{"to":[{"operation":{"paths":["/a"]}}]}]}`,
		},
		{
			"conditions on tokens stay", `{"rules":[{"from":[{"source":{"requestPrincipals":["*"]}}],"when":[{"key":"request.auth.claims[group]","values":["a"]}]}]}`,
			`{"rules":[{"from":[{"source":{"requestPrincipals":["*"]}}],"when":[{"key":"request.auth.claims[group]","values":["a"]}]}]}`,
		},
		{
			"allow rule never matches", `{"rules":[{"when":[{"key":"experimental.envoy.filters.a[b]","values":["c"]}]},{"to":[{"operation":{"paths":["/open"]}}]}]}`,
			`{"rules":[{"to":[{"operation":{"paths":["/open"]}}]}]}`,
		},
		{
			"allow policy without rules left denies all", `{"rules":[{"when":[{"key":"experimental.envoy.filters.a[b]","values":["c"]}]}]}`, `{}`,
		},
		{
			"deny on metadata", `{"action":"DENY","rules":[{"when":[{"key":"experimental.envoy.filters.a[b]","values":["c"]},{"key":"source.namespace","values":["n"]}]}]}`,
			`{"action":"DENY","rules":[{"when":[{"key":"source.namespace","values":["n"]}]}]}`,
		},
	} {
		in := authz(t, "ns", "p", c.in)
		before := proto.CloneOf(in.Spec)
		got, problems := mesh.RefuseUnsupported(in)
		if want := parse(t, &security.AuthorizationPolicy{}, c.want); !proto.Equal(got.Spec, want) {
			t.Errorf("%s: got %v, want %v", c.name, got.Spec, want)
		}
		if (len(problems) == 0) != (got == in) {
			t.Errorf("%s: %d problems, but changed is %v", c.name, len(problems), got != in)
		}
		if !proto.Equal(before, in.Spec) {
			t.Errorf("%s: changed its input", c.name)
		}
		if got != in && got.Equal(in) {
			t.Errorf("%s: the rewritten policy counts as equal to the written one", c.name)
		}
	}
}

func TestSelectTokens(t *testing.T) {
	t.Parallel()
	of := func(ns, name, spec string) *mesh.RequestAuthentication {
		return &mesh.RequestAuthentication{Origin: origin("RequestAuthentication", ns, name, 0), Spec: parse(t, &security.RequestAuthentication{}, spec)}
	}
	all := []*mesh.RequestAuthentication{
		of("ns", "b", `{}`), of("ns", "a", `{"selector":{"matchLabels":{"app":"x"}}}`), of("ns", "else", `{"selector":{"matchLabels":{"app":"y"}}}`),
		of("root", "all", `{}`), of("other", "all", `{}`), of("ns", "gateway", `{"targetRefs":[{"kind":"Gateway","group":"gateway.networking.k8s.io","name":"front"}]}`),
	}
	for want, target := range map[string]mesh.Target{
		"a b all":       {Namespace: "ns", Labels: map[string]string{"app": "x"}},
		"b gateway all": {Namespace: "ns", Gateways: []string{"ns/front"}},
		"all":           {Namespace: "nowhere"},
	} {
		var got []string
		for _, r := range mesh.SelectTokens(all, "root", target) {
			got = append(got, r.Origin.Name)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%+v: %v, want %s", target, got, want)
		}
	}
}

func TestClaimPath(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		".a": "a", ".a.b": "a|b", "[a]": "a", "[a.b][c/d]": "a.b|c/d", "": "", ".": "", ".a.": "", "[]": "", "[a": "", "[a]b": "", "[[a]": "", "a": "",
	} {
		path, ok := mesh.ClaimPath(in)
		if got := strings.Join(path, "|"); ok != (want != "") || ok && got != want {
			t.Errorf("%q: %q %v, want %q", in, got, ok, want)
		}
	}
}

func TestKeySourceOf(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`{"issuer":"https://a.example","jwksUri":"https://a.example/keys"}`: "https://a.example/keys",
		`{"issuer":"https://a.example"}`:                                    "issuer https://a.example",
		`{"issuer":"https://a.example","jwks":"{}"}`:                        "",
		`{"issuer":"me@a.example"}`:                                         "",
	} {
		s, ok := mesh.KeySourceOf(parse(t, &security.JWTRule{}, in))
		if ok != (want != "") || ok && s.CollectionKey() != want {
			t.Errorf("%s: %q, want %q", in, s.CollectionKey(), want)
		}
	}
}

func TestSelectAuthz(t *testing.T) {
	t.Parallel()
	dry := authz(t, "ns", "dry", `{"action":"DENY","rules":[{}]}`)
	dry.Annotations = map[string]string{"istio.io/dry-run": "true"}
	all := []*mesh.AuthorizationPolicy{
		authz(t, "root", "everywhere", `{"action":"DENY"}`),
		authz(t, "root", "selected", `{"selector":{"matchLabels":{"app":"a"}}}`),
		authz(t, "ns", "namespace", `{}`),
		authz(t, "ns", "workload", `{"selector":{"matchLabels":{"app":"a"}},"action":"AUDIT"}`),
		authz(t, "ns", "another", `{"selector":{"matchLabels":{"app":"b"}}}`),
		authz(t, "ns", "service", `{"targetRefs":[{"kind":"Service","name":"a"}],"action":"DENY"}`),
		authz(t, "ns", "gateway", `{"targetRef":{"kind":"Gateway","name":"a"},"action":"DENY"}`),
		authz(t, "other", "foreign", `{"action":"DENY"}`),
		dry,
	}
	got := mesh.SelectAuthz(all, "root", mesh.Target{Namespace: "ns", Labels: map[string]string{"app": "a"}, Services: []string{"a"}})
	names := func(ps []*mesh.AuthorizationPolicy) string {
		var out []string
		for _, p := range ps {
			out = append(out, p.Origin.Name)
		}
		return strings.Join(out, " ")
	}
	for _, c := range []struct{ list, got, want string }{
		{"deny", names(got.Deny), "service everywhere"},
		{"allow", names(got.Allow), "namespace selected"},
		{"audit", names(got.Audit), "workload"},
		{"dry-run deny", names(got.DryRunDeny), "dry"},
	} {
		if c.got != c.want {
			t.Errorf("%s: %q, want %q", c.list, c.got, c.want)
		}
	}
}

func rule(t testing.TB, ns, name string, age int, exportTo []string, spec string) *mesh.DestinationRule {
	s := parse(t, &networking.DestinationRule{}, spec)
	return &mesh.DestinationRule{
		Origin: origin("DestinationRule", ns, name, age), Host: s.Host, Spec: s,
		ExportTo: mesh.NewVisibility(exportTo, ns, nil), WorkloadSelector: s.GetWorkloadSelector().GetMatchLabels(),
	}
}

func TestFindDestinationRules(t *testing.T) {
	t.Parallel()
	const host = `{"host":"a.svc.com"}`
	for _, c := range []struct {
		name  string
		rules []*mesh.DestinationRule
		want  string
	}{
		{"none", nil, ""},
		{"client first", []*mesh.DestinationRule{rule(t, "client", "c", 0, nil, host), rule(t, "svc", "s", 0, nil, host), rule(t, "root", "r", 0, nil, host)}, "c"},
		{"then the service", []*mesh.DestinationRule{rule(t, "svc", "s", 0, nil, host), rule(t, "root", "r", 0, nil, host)}, "s"},
		{"then root", []*mesh.DestinationRule{rule(t, "root", "r", 0, nil, host), rule(t, "other", "o", 0, nil, host)}, "r"},
		{"never another", []*mesh.DestinationRule{rule(t, "other", "o", 0, nil, host)}, ""},
		{"not exported", []*mesh.DestinationRule{rule(t, "svc", "s", 0, []string{"."}, host), rule(t, "root", "r", 0, nil, host)}, "r"},
		{"own, exported to itself", []*mesh.DestinationRule{rule(t, "client", "c", 0, []string{"."}, host)}, "c"},
		{"most specific host", []*mesh.DestinationRule{rule(t, "client", "w", 9, nil, `{"host":"*.com"}`), rule(t, "client", "x", 0, nil, host)}, "x"},
		{"wildcard in the client's namespace before a name elsewhere", []*mesh.DestinationRule{rule(t, "client", "w", 0, nil, `{"host":"*.com"}`), rule(t, "svc", "s", 0, nil, host)}, "w"},
		{"several, oldest first", []*mesh.DestinationRule{rule(t, "svc", "young", 1, nil, host), rule(t, "svc", "old", 2, nil, host)}, "old young"},
		{"selected clients", []*mesh.DestinationRule{rule(t, "client", "all", 9, nil, host), rule(t, "client", "sel", 0, nil, `{"host":"a.svc.com","workloadSelector":{"matchLabels":{"app":"c"}}}`)}, "sel all"},
		{"other clients", []*mesh.DestinationRule{rule(t, "client", "sel", 0, nil, `{"host":"a.svc.com","workloadSelector":{"matchLabels":{"app":"d"}}}`), rule(t, "svc", "s", 0, nil, host)}, "s"},
		{"selector elsewhere", []*mesh.DestinationRule{rule(t, "svc", "sel", 0, nil, `{"host":"a.svc.com","workloadSelector":{"matchLabels":{"app":"c"}}}`)}, ""},
	} {
		client := mesh.Client{Namespace: "client", Labels: map[string]string{"app": "c"}}
		var got []string
		for _, r := range mesh.FindDestinationRules(c.rules, "a.svc.com", client, "svc", "root") {
			got = append(got, r.Origin.Name)
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%s: %q, want %q", c.name, s, c.want)
		}
	}
}

func TestDestinationPolicy(t *testing.T) {
	t.Parallel()
	p := mesh.MergeDestinationRules([]*mesh.DestinationRule{
		rule(t, "ns", "a", 2, nil, `{"host":"h","trafficPolicy":{
			"loadBalancer":{"simple":"RANDOM"},"connectionPool":{"tcp":{"maxConnections":1}},
			"portLevelSettings":[{"port":{"number":80},"outlierDetection":{"maxEjectionPercent":10}}]},
			"subsets":[{"name":"v1","labels":{"version":"v1"},"trafficPolicy":{"loadBalancer":{"simple":"ROUND_ROBIN"},
				"portLevelSettings":[{"port":{"number":90},"tls":{"mode":"DISABLE"}}]}}]}`),
		rule(t, "ns", "b", 1, nil, `{"host":"h","trafficPolicy":{"loadBalancer":{"simple":"LEAST_REQUEST"}},
			"subsets":[{"name":"v1","labels":{"version":"other"}},{"name":"v2"}]}`),
	})
	for _, c := range []struct {
		port   uint32
		subset string
		want   string
	}{
		{70, "", `{"loadBalancer":{"simple":"RANDOM"},"connectionPool":{"tcp":{"maxConnections":1}}}`},
		{80, "", `{"outlierDetection":{"maxEjectionPercent":10}}`},
		{70, "v1", `{"loadBalancer":{"simple":"ROUND_ROBIN"},"connectionPool":{"tcp":{"maxConnections":1}}}`},
		{80, "v1", `{"loadBalancer":{"simple":"ROUND_ROBIN"},"outlierDetection":{"maxEjectionPercent":10}}`},
		{90, "v1", `{"tls":{"mode":"DISABLE"}}`},
		{70, "v2", `{"loadBalancer":{"simple":"RANDOM"},"connectionPool":{"tcp":{"maxConnections":1}}}`},
	} {
		if got, want := p.Policy(c.port, c.subset), parse(t, &networking.TrafficPolicy{}, c.want); !proto.Equal(got, want) {
			t.Errorf("port %d subset %q: %v, want %v", c.port, c.subset, got, want)
		}
	}
	if s, _ := p.Subset("v1"); s.Labels["version"] != "v1" || len(p.Subsets) != 2 || len(p.Origins) != 2 {
		t.Errorf("merged subsets: %v", p.Subsets)
	}
	if (*mesh.DestinationPolicy)(nil).Policy(80, "v1") != nil {
		t.Error("no rule, but a policy")
	}
}

func TestSelectSidecar(t *testing.T) {
	t.Parallel()
	sidecar := func(ns, name string, age int, spec string) *mesh.SidecarConfig {
		return &mesh.SidecarConfig{Origin: origin("Sidecar", ns, name, age), Spec: parse(t, &networking.Sidecar{}, spec)}
	}
	sel := `{"workloadSelector":{"labels":{"app":"a"}}}`
	for _, c := range []struct {
		name string
		all  []*mesh.SidecarConfig
		want string
	}{
		{"none", nil, ""},
		{"selector first", []*mesh.SidecarConfig{sidecar("ns", "default", 9, `{}`), sidecar("ns", "sel", 0, sel), sidecar("root", "r", 9, `{}`)}, "sel"},
		{"namespace before root", []*mesh.SidecarConfig{sidecar("root", "r", 9, `{}`), sidecar("ns", "default", 0, `{}`)}, "default"},
		{"root", []*mesh.SidecarConfig{sidecar("root", "r", 0, `{}`), sidecar("root", "sel", 9, sel), sidecar("other", "o", 9, `{}`)}, "r"},
		{"oldest", []*mesh.SidecarConfig{sidecar("ns", "young", 1, `{}`), sidecar("ns", "old", 2, `{}`)}, "old"},
	} {
		got := ""
		if s := mesh.SelectSidecar(c.all, "root", "ns", map[string]string{"app": "a"}); s != nil {
			got = s.Origin.Name
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	scope := mesh.NewSidecarScope(sidecar("ns", "s", 0, `{"egress":[{"hosts":["./*","prod/a.com","*/*.b.com","~/*"]}]}`), "ns")
	for _, c := range []struct {
		ns, host string
		want     bool
	}{
		{"ns", "any.ns.svc", true}, {"prod", "a.com", true}, {"prod", "c.com", false}, {"x", "y.b.com", true}, {"x", "*.b.com", true}, {"x", "b.com", false},
	} {
		if got := scope.Imports(c.ns, c.host); got != c.want {
			t.Errorf("imports %s/%s: %v, want %v", c.ns, c.host, got, c.want)
		}
	}
}
