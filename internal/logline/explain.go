package logline

import (
	"fmt"
	"slices"
	"strings"
)

// Explanation is what a line means.
type Explanation struct {
	// What happened, in one or two sentences.
	What string `json:"what"`
	// Says are the flags and details, in words.
	Says []Meaning `json:"says,omitempty"`
	// Causes, the likeliest first.
	Causes []string `json:"causes,omitempty"`
	Next   []string `json:"next,omitempty"`
	// Policies are the names of policies that the details have, as generated
	// configuration has them: ns[default]-policy[deny]-rule[0].
	Policies []string `json:"policies,omitempty"`
	// NoneOf: none of Policies matched, and one had to.
	NoneOf bool `json:"noneOf,omitempty"`
}

// Explain says what a line means.
func Explain(e Entry) Explanation {
	var out Explanation
	for _, s := range []string{e.Details, e.ConnectionEnd, e.TransportFailure} {
		if s != "" && s != "via_upstream" {
			out.add(s)
		}
	}
	for _, f := range e.Flags {
		out.add(f)
	}
	out.What = what(e)
	if len(out.Says) == 0 && e.Code > 0 {
		out.Causes = append(out.Causes, byCode(e)...)
		if e.Code >= 400 {
			out.Next = append(out.Next, askLogs)
		}
	}
	for i := range out.Next {
		out.Next[i] = fill(out.Next[i], e)
	}
	return out
}

// ExplainWord says what a flag or a detail means by itself; false when it is none.
func ExplainWord(s string) (Explanation, bool) {
	var out Explanation
	out.add(s)
	if len(out.Says) == 0 {
		return out, false
	}
	out.What = out.Says[0].What
	return out, true
}

// add takes a flag or a detail in.
func (x *Explanation) add(s string) {
	m, ok := Flag(s)
	argument := ""
	if !ok {
		m, argument, ok = Detail(s)
	}
	if !ok {
		return
	}
	if why := reasons[argument]; why != "" {
		m.What += ": " + why
		m.Causes = slices.DeleteFunc(slices.Clone(m.Causes), func(s string) bool { return strings.Contains(s, "in the braces") })
	}
	if m.Name == "rbac_access_denied_matched_policy" {
		x.policies(argument)
		switch {
		case x.NoneOf:
			m.What, m.Causes = "no ALLOW policy matches the request, and there is one: what none allows is denied", nil
		case len(x.Policies) > 0:
			m.What, m.Causes = "a DENY policy matches the request", nil
		}
	}
	if argument != "" && m.Name == "TLS_error" {
		m.What += ": " + strings.ReplaceAll(argument, "_", " ")
	}
	x.Says = append(x.Says, m)
	for _, c := range m.Causes {
		if !slices.Contains(x.Causes, c) {
			x.Causes = append(x.Causes, c)
		}
	}
	for _, n := range m.Next {
		if !slices.Contains(x.Next, n) {
			x.Next = append(x.Next, n)
		}
	}
}

// policies reads the names in the brackets: one that matched, or none_of: and those
// that did not; Envoy writes none, and names nothing.
func (x *Explanation) policies(s string) {
	if s == "none" || s == "" {
		x.NoneOf = true
		return
	}
	s, x.NoneOf = strings.CutPrefix(s, "none_of:")
	x.Policies = strings.Split(s, ",")
}

// what says in a sentence what became of the request.
func what(e Entry) string {
	subject := "the connection"
	if !e.TCP() {
		subject = e.Method + " " + e.Path
	}
	if e.Authority != "" {
		subject += " to " + e.Authority
	} else if host := Host(e.UpstreamCluster); host != "" {
		subject += " to " + host
	}
	by := "the program that was called"
	switch {
	case e.TCP() && len(e.Flags) == 0 && e.ConnectionEnd == "":
		return subject + " ended as connections do"
	case e.TCP():
		return subject + " was ended by the proxy or failed"
	case e.Code == 0:
		return subject + " got no answer"
	case e.Details != "via_upstream" && e.Details != "" || len(e.Flags) > 0 && e.Details == "":
		by = "the proxy"
	}
	s := fmt.Sprintf("%s was answered with %d by %s", subject, e.Code, by)
	if e.Duration != "" {
		s += " after " + e.Duration + " ms"
	}
	return s
}

func byCode(e Entry) []string {
	switch {
	case e.Code >= 500:
		return []string{"the program failed: its own log says why"}
	case e.Code == 403 || e.Code == 401:
		return []string{"the program itself refused it: a policy of the mesh would be named in the details"}
	case e.Code >= 400:
		return []string{"the program did not accept the request"}
	}
	return nil
}

// fill puts what the line tells into a command.
func fill(s string, e Entry) string {
	client, server, proxy := "CLIENT", "SERVER", "PROXY"
	if e.Pod != "" {
		proxy = e.Pod
		if e.Inbound() {
			server = e.Pod
		} else {
			client = e.Pod
		}
	}
	if host := Host(e.UpstreamCluster); host != "" && server == "SERVER" {
		if name, _, ok := strings.Cut(host, ".svc."); ok {
			server = "svc/" + name
		}
	}
	url := "URL"
	if e.Authority != "" && !e.TCP() {
		url = "http://" + e.Authority + e.Path
	}
	return strings.NewReplacer("CLIENT", client, "SERVER", server, "PROXY", proxy, "URL", url).Replace(s)
}

// Host is the service of a cluster's name, outbound|9080|v1|reviews.default.svc.cluster.local.
func Host(cluster string) string {
	if i := strings.LastIndexByte(cluster, '|'); i >= 0 {
		return cluster[i+1:]
	}
	return ""
}
