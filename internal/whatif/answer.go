package whatif

import (
	"fmt"

	"github.com/meshctl/meshctl/internal/diag"
)

// Answer is what a request would get.
type Answer struct {
	From   string `json:"from"` // workload.namespace, or the client outside
	Method string `json:"method"`
	URL    string `json:"url"`
	// Outcomes are all that may happen, with their shares of 100 %; the likeliest first.
	Outcomes []Outcome `json:"outcomes"`
	// Hops are the proxies on the way, the client's first.
	Hops []*Hop `json:"hops"`
}

// Kind is how a request ends.
type Kind string

// Kinds of outcome.
const (
	Forwarded   Kind = "forwarded"   // the program at By answers
	Denied      Kind = "denied"      // a policy refused it
	Redirected  Kind = "redirected"  // the proxy answers with a Location
	Direct      Kind = "direct"      // the proxy answers by itself, as a route says
	Fault       Kind = "fault"       // a fault that was injected
	NoRoute     Kind = "noRoute"     // no route matches
	Unavailable Kind = "unavailable" // nowhere to send it
	Refused     Kind = "refused"     // a connection is refused or cannot be made
	Unknown     Kind = "unknown"     // it leaves what is known of the mesh
)

// Outcome is one way a request may end.
type Outcome struct {
	Share float64 `json:"share"` // percent
	Kind  Kind    `json:"kind"`
	// Status is the HTTP status that the mesh answers; 0 when a program answers.
	Status int `json:"status,omitempty"`
	// By is who answers: a workload with its namespace, or an address outside.
	By string `json:"by,omitempty"`
	// Host and Subset are the service and subset that the request was sent to.
	Host   string `json:"host,omitempty"`
	Subset string `json:"subset,omitempty"`
	// Flag is the response flag that the access log shows.
	Flag     string    `json:"flag,omitempty"`
	Location string    `json:"location,omitempty"`
	MTLS     bool      `json:"mtls"`
	Delay    string    `json:"delay,omitempty"`
	Reason   string    `json:"reason,omitempty"`
	Decided  *Decision `json:"decidedBy,omitempty"`
	// Method, Authority and Path are those of the request when it ended.
	Authority string `json:"authority,omitempty"`
	Path      string `json:"path,omitempty"`
}

// Hop is one proxy on the way.
type Hop struct {
	Side  string  `json:"side"`  // client, gateway, server
	Proxy string  `json:"proxy"` // pod.namespace
	Share float64 `json:"share"` // percent of the requests that come here
	Steps []*Step `json:"steps"`
}

// Step is one decision on the way.
type Step struct {
	Name    string    `json:"step"` // name, listener, chain, host, route, policy, …
	What    string    `json:"what"`
	Decided *Decision `json:"decidedBy,omitempty"`
	// Near are the candidates that were passed over, and why.
	Near []Near `json:"near,omitempty"`
	// Settings in force from here on: timeout, retries, mirror, rewrite, balancing.
	Settings []Setting `json:"settings,omitempty"`
}

// Setting is a value in force.
type Setting struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Near is a candidate that was passed over.
type Near struct {
	What    string    `json:"what"`
	Reason  string    `json:"reason"`
	Decided *Decision `json:"object,omitempty"`
}

// Decision names the line that decided.
type Decision struct {
	Kind      string   `json:"kind"`
	Namespace string   `json:"namespace,omitempty"`
	Name      string   `json:"name"`
	Field     string   `json:"field,omitempty"` // spec.http[0].match[1]
	Pos       diag.Pos `json:"-"`
	At        string   `json:"at,omitempty"` // file:line:col; "" in a running mesh that keeps none
}

// String is "VirtualService default/reviews spec.http[0] (reviews.yaml:9:5)".
func (d *Decision) String() string {
	if d == nil {
		return ""
	}
	s := d.Kind + " " + d.Name
	if d.Namespace != "" {
		s = fmt.Sprintf("%s %s/%s", d.Kind, d.Namespace, d.Name)
	}
	if d.Field != "" {
		s += " " + d.Field
	}
	if d.At != "" {
		s += " (" + d.At + ")"
	}
	return s
}

// set adds a setting when there is something to say.
func (s *Step) set(name, format string, args ...any) {
	if v := fmt.Sprintf(format, args...); v != "" {
		s.Settings = append(s.Settings, Setting{name, v})
	}
}
