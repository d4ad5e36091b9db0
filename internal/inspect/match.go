package inspect

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/types/known/durationpb"
	networking "istio.io/api/networking/v1alpha3"
	security "istio.io/api/security/v1beta1"
)

// Or stands between alternatives in a cell.
const Or = " | "

// stringMatch prints a condition on a text: "prefix /a".
func stringMatch(m *networking.StringMatch) string {
	switch t := m.GetMatchType().(type) {
	case *networking.StringMatch_Exact:
		return "= " + t.Exact
	case *networking.StringMatch_Prefix:
		return "prefix " + t.Prefix
	case *networking.StringMatch_Regex:
		return "~ " + t.Regex
	default:
		return "present"
	}
}

// httpMatch prints all conditions of a match, in the order in which people think of them.
func httpMatch(m *networking.HTTPMatchRequest) string {
	var out []string
	add := func(what string, c *networking.StringMatch) {
		if c != nil {
			out = append(out, strings.TrimSpace(what+" "+stringMatch(c)))
		}
	}
	add("path", m.Uri)
	add("method", m.Method)
	add("scheme", m.Scheme)
	add("authority", m.Authority)
	for _, k := range slices.Sorted(maps.Keys(m.Headers)) {
		add("header "+k, orPresent(m.Headers[k]))
	}
	for _, k := range slices.Sorted(maps.Keys(m.WithoutHeaders)) {
		add("not header "+k, orPresent(m.WithoutHeaders[k]))
	}
	for _, k := range slices.Sorted(maps.Keys(m.QueryParams)) {
		add("query "+k, orPresent(m.QueryParams[k]))
	}
	if m.Port != 0 {
		out = append(out, fmt.Sprintf("port %d", m.Port))
	}
	if len(m.SourceLabels) > 0 {
		out = append(out, "caller "+labels(m.SourceLabels))
	}
	if m.SourceNamespace != "" {
		out = append(out, "caller in "+m.SourceNamespace)
	}
	if len(m.Gateways) > 0 {
		out = append(out, "at "+strings.Join(m.Gateways, ", "))
	}
	return strings.Join(out, ", ")
}

func orPresent(m *networking.StringMatch) *networking.StringMatch {
	if m == nil {
		return &networking.StringMatch{}
	}
	return m
}

// anyOf prints several matches; none match everything.
func anyOf(ms []*networking.HTTPMatchRequest) string {
	if len(ms) == 0 {
		return "any"
	}
	var out []string
	for _, m := range ms {
		s := httpMatch(m)
		if s == "" {
			return "any"
		}
		out = append(out, s)
	}
	return strings.Join(out, Or)
}

func tlsMatches(ms []*networking.TLSMatchAttributes) string {
	var out []string
	for _, m := range ms {
		s := "SNI " + strings.Join(m.SniHosts, ", ")
		if m.Port != 0 {
			s += fmt.Sprintf(", port %d", m.Port)
		}
		out = append(out, s)
	}
	return strings.Join(out, Or)
}

func tcpMatches(ms []*networking.L4MatchAttributes) string {
	var out []string
	for _, m := range ms {
		var s []string
		if m.Port != 0 {
			s = append(s, fmt.Sprintf("port %d", m.Port))
		}
		if len(m.DestinationSubnets) > 0 {
			s = append(s, "to "+strings.Join(m.DestinationSubnets, ", "))
		}
		if len(m.SourceLabels) > 0 {
			s = append(s, "caller "+labels(m.SourceLabels))
		}
		if m.SourceNamespace != "" {
			s = append(s, "caller in "+m.SourceNamespace)
		}
		if len(s) == 0 {
			return "any"
		}
		out = append(out, strings.Join(s, ", "))
	}
	if len(out) == 0 {
		return "any"
	}
	return strings.Join(out, Or)
}

// labels prints labels in the form of a selector.
func labels(l map[string]string) string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(l)) {
		parts = append(parts, k+"="+l[k])
	}
	return strings.Join(parts, ",")
}

// ruleFrom, ruleTo and ruleWhen print the three parts of an authorization rule.
func ruleFrom(r *security.Rule) string {
	var out []string
	for _, f := range r.GetFrom() {
		s := f.GetSource()
		out = append(out, allOf(
			part{"", s.GetPrincipals()}, part{"not ", s.GetNotPrincipals()},
			part{"account ", s.GetServiceAccounts()}, part{"not account ", s.GetNotServiceAccounts()},
			part{"namespace ", s.GetNamespaces()}, part{"not namespace ", s.GetNotNamespaces()},
			part{"address ", s.GetIpBlocks()}, part{"not address ", s.GetNotIpBlocks()},
			part{"client ", s.GetRemoteIpBlocks()}, part{"not client ", s.GetNotRemoteIpBlocks()},
			part{"token of ", s.GetRequestPrincipals()}, part{"no token of ", s.GetNotRequestPrincipals()},
		))
	}
	if len(out) == 0 {
		return "anybody"
	}
	return strings.Join(out, Or)
}

func ruleTo(r *security.Rule) string {
	var out []string
	for _, t := range r.GetTo() {
		o := t.GetOperation()
		out = append(out, allOf(
			part{"", o.GetMethods()}, part{"not ", o.GetNotMethods()}, part{"", o.GetPaths()}, part{"not ", o.GetNotPaths()},
			part{"host ", o.GetHosts()}, part{"not host ", o.GetNotHosts()}, part{"port ", o.GetPorts()}, part{"not port ", o.GetNotPorts()},
		))
	}
	if len(out) == 0 {
		return "anything"
	}
	return strings.Join(out, Or)
}

func ruleWhen(r *security.Rule) string {
	var out []string
	for _, w := range r.GetWhen() {
		if len(w.Values) > 0 {
			out = append(out, w.Key+" = "+strings.Join(w.Values, ", "))
		}
		if len(w.NotValues) > 0 {
			out = append(out, w.Key+" not "+strings.Join(w.NotValues, ", "))
		}
	}
	return strings.Join(out, " and ")
}

// part is one list of a condition: any of the values will do.
type part struct {
	what   string
	values []string
}

func allOf(parts ...part) string {
	var out []string
	for _, p := range parts {
		if len(p.values) > 0 {
			out = append(out, p.what+strings.Join(p.values, ", "))
		}
	}
	if len(out) == 0 {
		return "any"
	}
	return strings.Join(out, " ")
}

func duration(d *durationpb.Duration) string {
	if d == nil {
		return ""
	}
	return d.AsDuration().String()
}
