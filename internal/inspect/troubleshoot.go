package inspect

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/whatif"
)

// Question is what does not work.
type Question struct {
	From      string // a workload, pod or gateway
	Namespace string // of names that say none
	To        string // [scheme://]host[:port][/path]; a service may be given as svc/NAME
	Method    string // GET when empty
	Headers   []whatif.Header
}

// State of a check.
type State string

// States.
const (
	Passed State = "ok"
	Failed State = "failed"
	Odd    State = "odd" // does not stand in the way, and is hardly meant
)

// Check is one thing that a request needs.
type Check struct {
	Name    string           `json:"check"`
	State   State            `json:"state"`
	What    string           `json:"what"`
	Decided *whatif.Decision `json:"decidedBy,omitempty"`
	Near    []whatif.Near    `json:"near,omitempty"` // candidates that were passed over, and why
	Next    []string         `json:"next,omitempty"` // what to do, best first
}

// Diagnosis is the way of a request up to what stops it.
type Diagnosis struct {
	From   string  `json:"from"`
	URL    string  `json:"url"`
	Method string  `json:"method"`
	Checks []Check `json:"checks"`
	// Cause is the first thing that stops the request, in one sentence; "" when
	// nothing does. Stopped is its share of the requests in percent.
	Cause   string  `json:"cause,omitempty"`
	Stopped float64 `json:"stopped,omitempty"`
	// Answer is what was asked of the proxies; nil when the way ended before.
	Answer *whatif.Answer `json:"-"`
	// Pods are the caller and those that may answer.
	Caller  whatif.Pod   `json:"-"`
	Callees []whatif.Pod `json:"-"`
}

// Names of checks, in their order.
const (
	checkCaller      = "caller"
	checkDestination = "destination"
	checkEndpoints   = "endpoints"
	checkSidecars    = "sidecars"
	checkVisibility  = "visibility"
	checkRoute       = "route"
	checkTarget      = "target"
	checkMTLS        = "mutual TLS"
	checkPolicy      = "policy"
	checkPort        = "port"
	checkConfig      = "configuration"
)

// doctor asks one question.
type doctor struct {
	*Inspector
	ctx context.Context
	q   Question
	d   *Diagnosis

	scheme, host, path string
	port               uint16
	from               whatif.Pod
	service            *mesh.Service // nil: the host is none of the mesh
	servicePort        mesh.Port
}

// Troubleshoot follows a request step by step and ends at the first thing that
// stops it. An error means that the question cannot be understood.
func (in *Inspector) Troubleshoot(ctx context.Context, q Question) (*Diagnosis, error) {
	x := &doctor{Inspector: in, ctx: ctx, q: q, d: &Diagnosis{From: q.From, URL: q.To, Method: cmp.Or(q.Method, "GET")}}
	if err := x.read(); err != nil {
		return nil, err
	}
	for _, step := range []func() (bool, error){x.caller, x.destination, x.endpoints, x.sidecars, x.visibility, x.way, x.configuration} {
		if on, err := step(); err != nil || !on {
			return x.d, err
		}
	}
	return x.d, nil
}

// read takes the destination apart.
func (x *doctor) read() error {
	to := x.q.To
	for _, prefix := range []string{"svc/", "service/"} {
		to = strings.TrimPrefix(to, prefix)
	}
	if !strings.Contains(to, "://") {
		to = "//" + to
	}
	u, err := url.Parse(to)
	if err != nil || u.Hostname() == "" {
		return fmt.Errorf("%q is not HOST[:PORT][/PATH]", x.q.To)
	}
	x.scheme, x.host, x.path = u.Scheme, strings.ToLower(u.Hostname()), cmp.Or(u.RequestURI(), "/")
	if !strings.HasPrefix(x.path, "/") {
		x.path = "/" + x.path
	}
	if p := u.Port(); p != "" {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil || n == 0 {
			return fmt.Errorf("%q is not a port", p)
		}
		x.port = uint16(n)
	}
	return nil
}

func (x *doctor) ok(check, what string, decided *whatif.Decision) {
	x.d.Checks = append(x.d.Checks, Check{Name: check, State: Passed, What: what, Decided: decided})
}

func (x *doctor) odd(check, what string, decided *whatif.Decision) {
	x.d.Checks = append(x.d.Checks, Check{Name: check, State: Odd, What: what, Decided: decided})
}

// fail ends the way: what is the cause, in a sentence.
func (x *doctor) fail(check, what string, decided *whatif.Decision, next ...string) *Check {
	x.d.Checks = append(x.d.Checks, Check{Name: check, State: Failed, What: what, Decided: decided, Next: next})
	x.d.Cause, x.d.Stopped = what, 100
	return &x.d.Checks[len(x.d.Checks)-1]
}

func (x *doctor) namespace() string { return cmp.Or(x.q.Namespace, "default") }

// To names a pod that may answer, for a next step.
func (d *Diagnosis) To() string {
	if len(d.Callees) == 0 {
		return d.URL
	}
	return d.Callees[0].String()
}
