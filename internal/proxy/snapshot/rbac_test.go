package snapshot

import (
	"net/netip"
	"testing"

	"github.com/meshctl/meshctl/internal/proxy/header"
)

func headerRule(name, value string) Rule {
	return Rule{Op: RuleHeader, Header: &HeaderMatch{
		Name: name, ID: header.LookupString(name), Kind: HeaderString, Value: StringMatch{Kind: StringExact, Value: value},
	}}
}

func inverted(name, value string) Rule {
	r := headerRule(name, value)
	r.Header.Invert = true
	return r
}

func not(r Rule) Rule { return Rule{Op: RuleNot, Subs: []Rule{r}} }

func principal(kind StringKind, v string) Rule {
	return Rule{Op: RuleAuthenticated, Str: &StringMatch{Kind: kind, Value: v}}
}

func policies(a PolicyAction, perm, princ Rule) *Policies {
	return &Policies{Action: a, Policies: []Policy{{Name: "p", Permissions: []Rule{perm}, Principals: []Rule{princ}}}}
}

func TestPolicies(t *testing.T) {
	t.Parallel()
	anyone := Rule{Op: RuleAny}
	alice := &Peer{Presented: true, Verified: true, URISANs: []string{"spiffe://td/ns/a/sa/alice"}}
	unverified := &Peer{Presented: true, URISANs: []string{"spiffe://td/ns/a/sa/alice"}}
	for name, c := range map[string]struct {
		p       *Policies
		headers [][2]string
		peer    *Peer
		allowed bool
	}{
		"no policies":                        {nil, nil, nil, true},
		"allow without a match":              {policies(ActionAllow, headerRule("x", "a"), anyone), nil, nil, false},
		"allow with a match":                 {policies(ActionAllow, headerRule("x", "a"), anyone), [][2]string{{"x", "a"}}, nil, true},
		"allow, one of two values":           {policies(ActionAllow, headerRule("x", "a"), anyone), [][2]string{{"x", "a"}, {"x", "b"}}, nil, true},
		"allow, both values":                 {policies(ActionAllow, headerRule("x", "a"), anyone), [][2]string{{"x", "a"}, {"x", "a"}}, nil, true},
		"deny, second of two values":         {policies(ActionDeny, headerRule("x", "b"), anyone), [][2]string{{"x", "a"}, {"x", "b"}}, nil, false},
		"deny, none of two values":           {policies(ActionDeny, headerRule("x", "c"), anyone), [][2]string{{"x", "a"}, {"x", "b"}}, nil, true},
		"allow unless, hidden in two values": {policies(ActionAllow, not(headerRule("x", "bad")), anyone), [][2]string{{"x", "good"}, {"x", "bad"}}, nil, false},
		"deny unless, hidden in two values":  {policies(ActionDeny, not(headerRule("x", "good")), anyone), [][2]string{{"x", "good"}, {"x", "bad"}}, nil, false},
		"deny by inversion, hidden":          {policies(ActionDeny, inverted("x", "good"), anyone), [][2]string{{"x", "good"}, {"x", "bad"}}, nil, false},
		"allow by inversion, hidden":         {policies(ActionAllow, inverted("x", "bad"), anyone), [][2]string{{"x", "good"}, {"x", "bad"}}, nil, false},
		"allow by inversion":                 {policies(ActionAllow, inverted("x", "bad"), anyone), [][2]string{{"x", "good"}, {"x", "fine"}}, nil, true},
		"deny twice negated":                 {policies(ActionDeny, not(not(headerRule("x", "b"))), anyone), [][2]string{{"x", "a"}, {"x", "b"}}, nil, false},
		"deny unless, header missing":        {policies(ActionDeny, not(headerRule("x", "good")), anyone), nil, nil, false},
		"principal":                          {policies(ActionAllow, anyone, principal(StringExact, "spiffe://td/ns/a/sa/alice")), nil, alice, true},
		"principal that was not verified":    {policies(ActionAllow, anyone, principal(StringExact, "spiffe://td/ns/a/sa/alice")), nil, unverified, false},
		"principal over plain text":          {policies(ActionAllow, anyone, principal(StringPrefix, "spiffe://")), nil, nil, false},
		"any principal over plain text":      {policies(ActionAllow, anyone, Rule{Op: RuleAuthenticated, Any: true}), nil, nil, false},
		"deny unless principal, plain text":  {policies(ActionDeny, anyone, not(principal(StringPrefix, "spiffe://td/"))), nil, nil, false},
		"log never refuses":                  {policies(ActionLog, headerRule("x", "a"), anyone), [][2]string{{"x", "a"}}, nil, true},
		"unknown operator matches nothing":   {policies(ActionAllow, Rule{Op: 200}, anyone), nil, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var h header.List
			for _, kv := range c.headers {
				h.AddString(kv[0], kv[1])
			}
			if got := c.p.Evaluate(&Facts{Headers: &h, Peer: c.peer}); got.Allowed != c.allowed {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestHeaderRulesNeverMatchTCP(t *testing.T) {
	t.Parallel()
	p := policies(ActionAllow, headerRule("x", "a"), Rule{Op: RuleAny})
	if p.Evaluate(&Facts{}).Allowed {
		t.Fatal("allowed")
	}
}

func TestAddressesAndPorts(t *testing.T) {
	t.Parallel()
	f := &Facts{
		Source: netip.MustParseAddrPort("10.0.0.1:5"), Direct: netip.MustParseAddrPort("[::ffff:10.0.0.2]:5"),
		Remote: netip.MustParseAddrPort("8.8.8.8:0"), Destination: netip.MustParseAddrPort("10.0.0.9:8080"), ServerName: []byte("a.b"),
	}
	in := func(op RuleOp, p string) Rule { return Rule{Op: op, Prefix: netip.MustParsePrefix(p)} }
	for _, c := range []struct {
		r    Rule
		want bool
	}{
		{in(RuleSourceIP, "10.0.0.1/32"), true},
		{in(RuleDirectIP, "10.0.0.2/32"), true},
		{in(RuleRemoteIP, "8.8.0.0/16"), true},
		{in(RuleRemoteIP, "10.0.0.0/8"), false},
		{in(RuleDestinationIP, "10.0.0.8/30"), true},
		{Rule{Op: RuleDestinationPort, From: 8080, To: 8081}, true},
		{Rule{Op: RuleDestinationPort, From: 8081, To: 9000}, false},
		{Rule{Op: RuleServerName, Str: &StringMatch{Kind: StringSuffix, Value: ".b"}}, true},
	} {
		if got := c.r.match(f, side{}); got != c.want {
			t.Errorf("%+v: %v", c.r, got)
		}
	}
}

func TestEvaluationDoesNotAllocate(t *testing.T) {
	p := policies(ActionDeny, headerRule(":method", "DELETE"), principal(StringPrefix, "spiffe://td/"))
	var h header.List
	h.AddIDString(header.Method, "DELETE")
	f := &Facts{Headers: &h, Peer: &Peer{Verified: true, URISANs: []string{"spiffe://td/ns/a/sa/b"}}}
	if n := testing.AllocsPerRun(100, func() {
		if d := p.Evaluate(f); d.Allowed || d.Policy != "p" {
			t.Fatal("allowed")
		}
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}
