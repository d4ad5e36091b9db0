package whatif

import (
	"fmt"
	"slices"
	"strings"

	"github.com/meshctl/meshctl/internal/proxy/header"
	"github.com/meshctl/meshctl/internal/proxy/route"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// authentication adds the step that tells how the client was authenticated.
func (x *walk) authentication(c *connection, chain *snapshot.Chain) {
	mode, d := x.w.authn(c.px.pod, c.dst.Port())
	s := c.hop.step(Step{Name: "authentication", Decided: d})
	switch {
	case chain.TLS != nil && c.peer != nil:
		s.What = fmt.Sprintf("%s: the client is %s", mode, c.peer.Principal())
	case chain.TLS == nil && c.tls:
		s.What = mode + ": TLS is passed through to the program"
		c.peer = nil
	default:
		s.What = mode + ": plain text, the client is nobody"
		c.peer = nil
	}
}

// networkPolicies asks the policies that look at the connection alone.
func (x *walk) networkPolicies(c *connection, chain *snapshot.Chain) (done bool) {
	for _, f := range chain.Network {
		if r, ok := f.Config.(*snapshot.RBAC); ok {
			if x.policies(c, r, nil, nil) {
				return true
			}
		}
	}
	return false
}

// policies asks one access control filter; done when it refuses.
func (x *walk) policies(c *connection, r *snapshot.RBAC, h *header.List, found dynamic) (done bool) {
	if r == nil || r.Rules == nil {
		return false
	}
	f := &snapshot.Facts{Source: c.src, Direct: c.src, Remote: c.src, Destination: c.dst, ServerName: []byte(c.sni), Peer: c.peer, Headers: h}
	if found != nil {
		f.Dynamic = found
	}
	if h != nil {
		f.Path, _ = route.SplitPath(h.Get(header.Path))
	}
	d := r.Rules.Evaluate(f)
	s := c.hop.step(Step{Name: "authorization", What: "denied"})
	if d.Allowed {
		s.What = "allowed"
	}
	if d.Matched {
		s.Decided = x.w.policyRule(d.Policy)
		s.What += " by " + r.Rules.Action.String()
	}
	for i := range r.Rules.Policies {
		p := &r.Rules.Policies[i]
		if d.Matched && p.Name == d.Policy {
			break
		}
		if strings.HasSuffix(p.Name, "-rule[none]") {
			continue // it has no rules
		}
		if reason := p.WhyNot(f, r.Rules.Action); reason != "" {
			s.Near = append(s.Near, Near{What: r.Rules.Action.String() + " " + shortPolicy(p.Name), Reason: reason, Decided: x.w.policyRule(p.Name)})
		}
	}
	if d.Allowed {
		if !d.Matched {
			s.What = "allowed: no DENY policy matches"
		}
		return false
	}
	o := Outcome{Kind: Denied, Decided: s.Decided, Reason: "a DENY policy matches", Host: x.sentHost, Subset: x.sentSubset, MTLS: x.mtls, By: c.px.pod.owner + "." + c.px.pod.namespace}
	if !d.Matched {
		s.What = "denied: no ALLOW policy matches, and there is one"
		o.Reason = "no rule of the ALLOW policies matches: " + strings.Join(policyNames(r.Rules), ", ")
		if len(r.Rules.Policies) > 0 {
			if at := x.w.policyRule(r.Rules.Policies[0].Name); at != nil {
				if whole := x.w.decided(policyPath(at.Namespace, at.Name), ""); whole != nil {
					at = whole
				}
				s.Decided, o.Decided = at, at
			}
		}
	}
	if h != nil {
		o.Status = 403
	} else {
		o.Flag = "UAEX"
	}
	x.end(o)
	return true
}

func policyNames(p *snapshot.Policies) []string {
	var out []string
	for i := range p.Policies {
		n := shortPolicy(p.Policies[i].Name)
		n, _, _ = strings.Cut(n, " rule ")
		if !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	return out
}

// shortPolicy is namespace/name rule i of a generated policy's name.
func shortPolicy(name string) string {
	ns, rest, ok := bracket(name, "ns")
	if !ok {
		return name
	}
	policy, rest, ok := bracket(rest, "policy")
	if !ok {
		return name
	}
	if rule, _, ok := bracket(rest, "rule"); ok && rule != "none" {
		return ns + "/" + policy + " rule " + rule
	}
	return ns + "/" + policy
}
