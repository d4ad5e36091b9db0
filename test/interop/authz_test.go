package interop

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	security "istio.io/api/security/v1beta1"
	"pgregory.net/rapid"

	"github.com/meshctl/meshctl/internal/controlplane/xdsgen"
	"github.com/meshctl/meshctl/internal/controlplane/xdsgen/xdsgentest"
	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/proxy/compile"
	"github.com/meshctl/meshctl/internal/proxy/header"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// call is a request as the oracle sees it.
type call struct {
	namespace, account    string // of the caller; "" is plain text
	host, method, path, x string
	ip                    string
}

// holds is what a value of a policy means, written down as naively as possible.
func holds(value, actual string) bool {
	switch {
	case value == "*":
		return actual != ""
	case strings.HasPrefix(value, "*"):
		return strings.HasSuffix(actual, value[1:])
	case strings.HasSuffix(value, "*"):
		return strings.HasPrefix(actual, value[:len(value)-1])
	default:
		return value == actual
	}
}

// field judges a list and its negation.
func field(values, notValues []string, match func(string) bool) bool {
	return (len(values) == 0 || slices.ContainsFunc(values, match)) && !slices.ContainsFunc(notValues, match)
}

func (c call) principal() string {
	if c.account == "" {
		return ""
	}
	return "cluster.local/ns/" + c.namespace + "/sa/" + c.account
}

func (c call) from(s *security.Source) bool {
	ip := netip.MustParseAddr(c.ip)
	inBlock := func(v string) bool {
		if p, err := netip.ParsePrefix(v); err == nil {
			return p.Contains(ip)
		}
		return netip.MustParseAddr(v) == ip
	}
	named := c.account != ""
	return field(s.Principals, s.NotPrincipals, func(v string) bool { return named && holds(v, c.principal()) }) &&
		field(s.Namespaces, s.NotNamespaces, func(v string) bool { return named && holds(v, c.namespace) }) &&
		field(s.ServiceAccounts, s.NotServiceAccounts, func(v string) bool { return named && v == c.namespace+"/"+c.account }) &&
		field(s.IpBlocks, s.NotIpBlocks, inBlock)
}

func (c call) to(o *security.Operation, tcp bool) bool {
	port := func(v string) bool { return v == "9080" }
	if tcp {
		return field(o.Ports, o.NotPorts, port)
	}
	host := func(v string) bool {
		bare, _, _ := strings.Cut(c.host, ":")
		return holds(strings.ToLower(v), strings.ToLower(c.host)) || holds(strings.ToLower(v), strings.ToLower(bare))
	}
	return field(o.Hosts, o.NotHosts, host) && field(o.Ports, o.NotPorts, port) &&
		field(o.Methods, o.NotMethods, func(v string) bool { return holds(v, c.method) }) &&
		field(o.Paths, o.NotPaths, func(v string) bool { return holds(v, c.path) })
}

// onlyHTTP reports whether a rule has conditions about requests.
func onlyHTTP(r *security.Rule) bool {
	return len(r.When) > 0 || slices.ContainsFunc(r.To, func(t *security.Rule_To) bool {
		o := t.Operation
		return len(o.Hosts)+len(o.NotHosts)+len(o.Methods)+len(o.NotMethods)+len(o.Paths)+len(o.NotPaths) > 0
	})
}

// matches judges a rule. Of a connection, conditions on requests count as met.
func (c call) matches(r *security.Rule, tcp bool) bool {
	if len(r.From) > 0 && !slices.ContainsFunc(r.From, func(f *security.Rule_From) bool { return c.from(f.Source) }) {
		return false
	}
	if len(r.To) > 0 && !slices.ContainsFunc(r.To, func(t *security.Rule_To) bool { return c.to(t.Operation, tcp) }) {
		return false
	}
	return tcp || !slices.ContainsFunc(r.When, func(w *security.Condition) bool {
		return !field(w.Values, w.NotValues, func(v string) bool { return c.x != "" && holds(v, c.x) })
	})
}

// oracle decides about a call by the policies' meaning.
func oracle(p mesh.AuthzPolicies, c call, tcp bool) bool {
	for _, d := range p.Deny {
		if slices.ContainsFunc(d.Spec.Rules, func(r *security.Rule) bool { return c.matches(r, tcp) }) {
			return false
		}
	}
	if len(p.Allow) == 0 {
		return true
	}
	for _, a := range p.Allow {
		for _, r := range a.Spec.Rules {
			if tcp {
				// An alternative about requests never admits a connection; the others may.
				r = proto.CloneOf(r)
				had := len(r.To)
				r.To = slices.DeleteFunc(r.To, func(t *security.Rule_To) bool { return onlyHTTP(&security.Rule{To: []*security.Rule_To{t}}) })
				if len(r.When) > 0 || had > 0 && len(r.To) == 0 {
					continue
				}
			}
			if c.matches(r, tcp) {
				return true
			}
		}
	}
	return false
}

func drawPolicy(t *rapid.T, name string) *mesh.AuthorizationPolicy {
	some := func(label string, values ...string) []string {
		return rapid.SliceOfN(rapid.SampledFrom(values), 0, 2).Draw(t, label)
	}
	spec := &security.AuthorizationPolicy{}
	for range rapid.IntRange(0, 2).Draw(t, "rules") {
		r := &security.Rule{}
		for range rapid.IntRange(0, 2).Draw(t, "from") {
			r.From = append(r.From, &security.Rule_From{Source: &security.Source{
				Principals:    some("principals", "*", "cluster.local/ns/a/sa/x", "cluster.local/ns/a*", "*/sa/x", "cluster.local/ns/a.b/sa/x"),
				NotPrincipals: some("not principals", "cluster.local/ns/b/sa/y", "*y"),
				Namespaces:    some("namespaces", "a", "a*", "*b", "*", "a.b"), NotNamespaces: some("not namespaces", "b", "axb"),
				ServiceAccounts: some("accounts", "a/x", "a.b/x"), IpBlocks: some("ips", "10.0.0.0/8", "10.1.2.3"), NotIpBlocks: some("not ips", "10.1.0.0/16"),
			}})
		}
		for range rapid.IntRange(0, 2).Draw(t, "to") {
			r.To = append(r.To, &security.Rule_To{Operation: &security.Operation{
				Hosts: some("hosts", "a.example", "*.example", "a.*", "*", "A.EXAMPLE"), NotHosts: some("not hosts", "b.example"),
				Methods: some("methods", "GET", "P*", "*"), NotMethods: some("not methods", "PUT"), Paths: some("paths", "/a", "/a*", "*b", "*"), NotPaths: some("not paths", "/a/b"),
				Ports: some("ports", "9080", "1"), NotPorts: some("not ports", "2"),
			}})
		}
		if rapid.Bool().Draw(t, "when") {
			w := &security.Condition{Key: "request.headers[x-a]", Values: some("values", "v", "v*", "*"), NotValues: some("not values", "w")}
			if len(w.Values)+len(w.NotValues) > 0 {
				r.When = append(r.When, w)
			}
		}
		spec.Rules = append(spec.Rules, r)
	}
	return &mesh.AuthorizationPolicy{Origin: mesh.Origin{Kind: "AuthorizationPolicy", Namespace: "default", Name: name}, Spec: spec}
}

// filtersOf compiles the inbound side and gives the policies of port 9080.
func filtersOf(t *rapid.T, p mesh.AuthzPolicies, protocol mesh.Protocol) []*snapshot.RBAC {
	s, err := xdsgentest.Parse("kind: Workload\nspec: {namespace: default, ports: [{number: 9080, protocol: " + string(protocol) + "}]}\n---\nkind: PeerAuthentication\nspec: {mtls: {mode: DISABLE}}\n")
	if err != nil {
		t.Fatal(err)
	}
	s.Authz = p
	c, err := compile.New(compile.Options{})
	if err != nil {
		t.Fatal(err)
	}
	listeners, _ := xdsgen.InboundListeners(s.InboundInput(mesh.DialectNative))
	for _, l := range listeners {
		body, version, err := xdsgen.Encode(l)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range c.Apply(compile.Update{TypeURL: compile.TypeListener, Set: []compile.Raw{{Name: l.Name, Version: version, Bytes: body}}}) {
			t.Fatal(e)
		}
	}
	c.ReleaseHeld()
	var out []*snapshot.RBAC
	for _, l := range c.Snapshot().Listeners {
		for _, ch := range l.Chains {
			if ch.Match.DestinationPort != 9080 {
				continue
			}
			for _, f := range ch.Network {
				if r, ok := f.Config.(*snapshot.RBAC); ok {
					out = append(out, r)
				}
			}
			if ch.HTTP != nil {
				for _, f := range ch.HTTP.Filters {
					if r, ok := f.Config.(*snapshot.RBAC); ok {
						out = append(out, r)
					}
				}
			}
			return out
		}
	}
	t.Fatal("no chain for port 9080")
	return nil
}

func (c call) facts(tcp bool) *snapshot.Facts {
	src := netip.AddrPortFrom(netip.MustParseAddr(c.ip), 40000)
	f := &snapshot.Facts{Source: src, Direct: src, Remote: src, Destination: netip.MustParseAddrPort("10.9.9.9:" + strconv.Itoa(9080))}
	if c.account != "" {
		f.Peer = &snapshot.Peer{Presented: true, Verified: true, URISANs: []string{"spiffe://" + c.principal()}}
	}
	if !tcp {
		f.Headers, f.Path = &header.List{}, []byte(c.path)
		for _, kv := range [][2]string{{":authority", c.host}, {":method", c.method}, {":path", c.path}, {"x-a", c.x}} {
			if kv[1] != "" {
				f.Headers.AddString(kv[0], kv[1])
			}
		}
	}
	return f
}

func TestPoliciesDecideAsTheyRead(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var p mesh.AuthzPolicies
		for i := range rapid.IntRange(0, 2).Draw(t, "deny") {
			p.Deny = append(p.Deny, drawPolicy(t, "deny"+strconv.Itoa(i)))
		}
		for i := range rapid.IntRange(0, 2).Draw(t, "allow") {
			p.Allow = append(p.Allow, drawPolicy(t, "allow"+strconv.Itoa(i)))
		}
		tcp := rapid.Bool().Draw(t, "tcp")
		protocol := mesh.ProtocolHTTP
		if tcp {
			protocol = mesh.ProtocolTCP
		}
		filters := filtersOf(t, p, protocol)
		for range 8 {
			pick := func(label string, values ...string) string { return rapid.SampledFrom(values).Draw(t, label) }
			c := call{
				namespace: pick("namespace", "a", "b", "ab", "a.b", "axb"), account: pick("account", "", "x", "y"), host: pick("host", "a.example", "A.Example", "a.example:8080", "b.example", "other"),
				method: pick("method", "GET", "POST", "PUT"), path: pick("path", "/a", "/a/b", "/c", "/b"), x: pick("x", "", "v", "vv", "w"), ip: pick("ip", "10.1.2.3", "10.2.0.1", "192.168.0.1"),
			}
			got := true
			for _, f := range filters {
				got = got && f.Rules.Evaluate(c.facts(tcp)).Allowed
			}
			if want := oracle(p, c, tcp); got != want {
				t.Fatalf("%+v: admitted %v, want %v (tcp %v)", c, got, want, tcp)
			}
		}
	})
}
