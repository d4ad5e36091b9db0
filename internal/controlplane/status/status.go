// Package status writes back into Istio's resources what became of them, so that
// whoever wrote one sees it where it was written: whether it was taken (condition
// Accepted), whether proxies take what is made of it (Reconciled), and what was
// found in it (validationMessages).
//
//  1. Desired is what the statuses should be, a pure function of findings and
//     refusals. A resource that nobody has anything to say about has none: a write
//     for every resource would be most of the load on an API server.
//  2. A Reconciler compares that with what was written and writes the difference,
//     so many in a round. A resource that is well again is told so once.
//
// One replica runs a Reconciler; what it writes with is a Writer. Statuses of the
// Gateway API go the same way, but everything that is the mesh's has one (Owned).
package status

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/resource"
)

// Types of conditions.
const (
	TypeAccepted   = "Accepted"
	TypeReconciled = "Reconciled"
)

// Bounds of what one status says.
const (
	maxMessages = 16
	maxText     = 1024
)

// Status is what one resource is told.
type Status struct {
	Accepted, Reconciled Condition
	Messages             []Message
}

// Condition is one of its conditions.
type Condition struct {
	True            bool
	Reason, Message string
	Since           time.Time // of the last change of True; zero in Desired
}

// Message is one finding.
type Message struct {
	Code, Level string // Level is ERROR, WARNING or INFO
}

// Refusal is a resource of xDS that a proxy did not take, with the objects it
// comes from.
type Refusal struct {
	Node, Reason string
	From         []resource.Key
}

// Fine is the status of a resource that nobody has anything to say about.
func Fine() Status {
	return Status{
		Accepted:   Condition{True: true, Reason: "Accepted", Message: "the resource is in force"},
		Reconciled: Condition{True: true, Reason: "Reconciled", Message: "no proxy refuses what is made of it"},
	}
}

// Desired are the statuses of all resources that there is something to say about.
func Desired(findings []diag.Diagnostic, refusals []Refusal) map[resource.Key]Status {
	out := map[resource.Key]Status{}
	for _, d := range findings {
		k, ok := keyOf(d.Object)
		if !ok || d.Severity < diag.Warning || strings.HasPrefix(d.Code, "MSH12") { // those are of the Gateway API, whose statuses are its own
			continue
		}
		s, known := out[k]
		if !known {
			s = Fine()
		}
		s.add(d)
		out[k] = s
	}
	for k, rs := range byObject(refusals) {
		s, known := out[k]
		if !known {
			s = Fine()
		}
		s.Reconciled = refused(rs)
		out[k] = s
	}
	return out
}

// keyOf finds the resource of Istio's that a finding is about. Findings name no
// group; Gateway is the one name that another API has too, and a status for a
// resource that does not exist is written nowhere.
func keyOf(o diag.Object) (resource.Key, bool) {
	for _, info := range resource.Kinds() {
		if info.IsIstio() && info.Kind.Kind == o.Kind && o.Name != "" {
			return resource.Key{Kind: info.Kind, Namespace: o.Namespace, Name: o.Name}, true
		}
	}
	return resource.Key{}, false
}

// setAside are the codes of findings for which a resource is not used as written.
var setAside = []string{resource.CodeSchema, resource.CodeSyntax, resource.CodeLimit, resource.CodeLastGood, resource.CodeFailClosed}

func (s *Status) add(d diag.Diagnostic) {
	m := Message{Code: d.Code, Level: strings.ToUpper(d.Severity.String())}
	if len(s.Messages) < maxMessages && !slices.Contains(s.Messages, m) {
		s.Messages = append(s.Messages, m)
	}
	text := d.Message
	if d.Field != "" {
		text = d.Field + ": " + text
	}
	switch {
	case slices.Contains(setAside, d.Code):
		if s.Accepted.True {
			s.Accepted = Condition{Reason: "SetAside"}
		}
		s.Accepted.say(text)
	case s.Accepted.True:
		if s.Accepted.Reason != "Findings" {
			s.Accepted = Condition{True: true, Reason: "Findings"}
		}
		s.Accepted.say(text)
	}
}

func (c *Condition) say(text string) {
	if c.Message != "" {
		text = c.Message + "; " + text
	}
	if len(text) > maxText {
		text = strings.ToValidUTF8(text[:maxText-len("…")], "") + "…"
	}
	c.Message = text
}

func byObject(refusals []Refusal) map[resource.Key][]Refusal {
	out := map[resource.Key][]Refusal{}
	for _, r := range refusals {
		for _, k := range r.From {
			if info := resource.InfoOf(k.Kind); info != nil && info.IsIstio() {
				out[k] = append(out[k], r)
			}
		}
	}
	return out
}

// refused names one of the proxies, always the same while the same ones refuse.
func refused(rs []Refusal) Condition {
	slices.SortFunc(rs, func(a, b Refusal) int {
		return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.Reason, b.Reason))
	})
	nodes := map[string]bool{}
	for _, r := range rs {
		nodes[r.Node] = true
	}
	c := Condition{Reason: "RefusedByProxies"}
	c.say(fmt.Sprintf("refused by %d proxies, the first is %s: %s", len(nodes), rs[0].Node, rs[0].Reason))
	return c
}

// Equal ignores since when.
func (s Status) Equal(t Status) bool {
	same := func(a, b Condition) bool { return a.True == b.True && a.Reason == b.Reason && a.Message == b.Message }
	return same(s.Accepted, t.Accepted) && same(s.Reconciled, t.Reconciled) && slices.Equal(s.Messages, t.Messages)
}

// Rest is Fine.
func (s Status) Rest() Status { return Fine() }

// After dates the conditions: one that says what it said before keeps its time.
func (s Status) After(before Status, now time.Time) Status {
	date := func(c *Condition, was Condition) {
		c.Since = now
		if c.True == was.True && !was.Since.IsZero() {
			c.Since = was.Since
		}
	}
	date(&s.Accepted, before.Accepted)
	date(&s.Reconciled, before.Reconciled)
	return s
}
