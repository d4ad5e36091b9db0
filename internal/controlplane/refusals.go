package controlplane

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/mesh"
)

// codeRefused is the code of what a proxy refused.
const codeRefused = "MSH0208"

// Refused is a resource that a proxy did not take, with whom to blame.
type Refused struct {
	Node    string
	TypeURL string
	Name    string // "" when the proxy did not say
	Reason  string
	Origins []mesh.Origin
}

// Refusals returns what proxies refuse at present, for the status of objects.
func (cp *ControlPlane) Refusals() []Refused {
	var out []Refused
	blame := sync.OnceValue(cp.view.Blame) // large, and seldom needed
	for _, s := range cp.server.Ledger().Sessions() {
		for _, t := range s.Types {
			if t.Refusal == nil {
				continue
			}
			if len(t.Refusal.Names) == 0 {
				out = append(out, Refused{Node: s.Node, TypeURL: t.TypeURL, Reason: t.Refusal.Text})
			}
			for _, n := range t.Refusal.Names {
				out = append(out, Refused{s.Node, t.TypeURL, n, t.Refusal.Text, blame()(t.TypeURL, n, "")})
			}
		}
	}
	return out
}

// RefusalFindings are the refusals in force as findings: one for each object to
// blame and reason, whatever the number of proxies and resources. Without an object
// to blame, the finding names the resource.
func (cp *ControlPlane) RefusalFindings() []diag.Diagnostic {
	type cause struct {
		object diag.Object
		pos    diag.Pos
		reason string
	}
	nodes := map[cause][]string{}
	var causes []cause
	for _, r := range cp.Refusals() {
		blamed := []cause{{reason: r.Reason}}
		if from := decisive(r.Origins); len(from) > 0 {
			blamed = nil
			for _, o := range from {
				blamed = append(blamed, cause{o.Ref(), o.Pos, r.Reason})
			}
		}
		for _, c := range blamed {
			if nodes[c] == nil {
				causes = append(causes, c)
			}
			if n := mesh.ProxyName(r.Node); !slices.Contains(nodes[c], n) {
				nodes[c] = append(nodes[c], n)
			}
		}
	}
	var out []diag.Diagnostic
	for _, c := range causes {
		out = append(out, diag.Diagnostic{
			Code: codeRefused, Severity: diag.Error, Object: c.object, Pos: c.pos,
			Message: fmt.Sprintf("%s refused what this became: %s", someOf(nodes[c]), c.reason),
			Effect:  "these proxies go on with what they had before",
			Fix:     "change the object, then look at `meshctl ps " + nodes[c][0] + "`",
		})
	}
	slices.SortFunc(out, diag.Compare)
	return out
}

// decisive are the origins that say something about traffic. A Service, which is
// behind every resource, is one when there is no other.
func decisive(all []mesh.Origin) []mesh.Origin {
	var out []mesh.Origin
	for _, o := range all {
		if o.Group != "" {
			out = append(out, o)
		}
	}
	if len(out) == 0 {
		return all
	}
	return out
}

// someOf names a few proxies and counts the rest.
func someOf(nodes []string) string {
	const named = 3
	if len(nodes) <= named {
		return "the proxy of " + strings.Join(nodes, ", ")
	}
	return fmt.Sprintf("the proxies of %s and %d more", strings.Join(nodes[:named], ", "), len(nodes)-named)
}
