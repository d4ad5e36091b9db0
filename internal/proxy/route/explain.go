package route

import (
	"fmt"
	"strings"

	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// Step is one route that was looked at.
type Step struct {
	Route *snapshot.Route
	// Index is the place of the route in its virtual host.
	Index int
	// Matched is true for the last step when a route was found.
	Matched bool
	// Near: the path matches and another condition does not.
	Near bool
	// Reason says which condition failed and on what, "" when matched.
	Reason string
}

// Trace is the way to a route.
type Trace struct {
	Host  *snapshot.VirtualHost
	Route *snapshot.Route
	// Domain is the domain of Host that fits.
	Domain string
	Steps  []Step
}

// Explain finds the route as Find does and tells why the others were passed over.
func Explain(t *snapshot.RouteTable, r *Request) Trace {
	out := Trace{Host: FindHost(t, r.host)}
	if out.Host == nil {
		return out
	}
	out.Domain = domainFor(out.Host, t, r.host)
	for i, rt := range out.Host.Routes {
		m := match(&rt.Match, r)
		s := Step{Route: rt, Index: i, Matched: m.kind == missNone, Near: m.kind > missPath}
		if !s.Matched {
			s.Reason = m.reason(&rt.Match, r)
		}
		out.Steps = append(out.Steps, s)
		if s.Matched {
			out.Route = rt
			break
		}
	}
	return out
}

// domainFor finds which domain of the host led to it: the most specific that fits.
func domainFor(v *snapshot.VirtualHost, t *snapshot.RouteTable, host []byte) string {
	if t.IgnorePort {
		host = stripPort(host)
	}
	h := strings.ToLower(string(host))
	best := ""
	for _, d := range v.Domains {
		d = strings.ToLower(d)
		var fits bool
		switch {
		case d == h:
			return d
		case d == "*":
			fits = true
		case d[0] == '*':
			fits = strings.HasSuffix(h, d[1:]) && len(h) > len(d)-1
		case d[len(d)-1] == '*':
			fits = strings.HasPrefix(h, d[:len(d)-1]) && len(h) > len(d)-1
		}
		if fits && len(d) > len(best) {
			best = d
		}
	}
	return best
}

// reason puts a miss into words.
func (m miss) reason(rm *snapshot.RouteMatch, r *Request) string {
	switch m.kind {
	case missPath:
		return fmt.Sprintf("path %q does not match %s", r.path, DescribePath(&rm.Path))
	case missHeader:
		return headerReason(&rm.Headers[m.index], r)
	case missQuery:
		q := &rm.Query[m.index]
		v, ok := queryValue(r.query, q.Name)
		switch {
		case q.Absent:
			return fmt.Sprintf("query parameter %s must be absent", q.Name)
		case !ok:
			return fmt.Sprintf("query parameter %s is missing", q.Name)
		default:
			return fmt.Sprintf("query parameter %s is %q, want %s", q.Name, v, q.Value.String())
		}
	case missCookie:
		k := &rm.Cookies[m.index]
		return fmt.Sprintf("cookie %s does not match %s", k.Name, k.Value.String())
	case missGRPC:
		return "the request is not gRPC"
	case missTLS:
		return "the client's certificate does not meet the condition"
	case missMetadata:
		d := &rm.Metadata[m.index]
		return d.Is(r.Dynamic) + ", want " + d.Value.Want()
	case missFraction:
		return fmt.Sprintf("only %g%% of requests are taken, this one is not among them", float64(rm.Fraction)/10_000)
	default:
		return ""
	}
}

func headerReason(h *snapshot.HeaderMatch, r *Request) string {
	v := r.Headers.GetName(h.Name)
	var want string
	switch h.Kind {
	case snapshot.HeaderPresent:
		if h.Absent != h.Invert {
			return fmt.Sprintf("header %s must be absent", h.Name)
		}
		return fmt.Sprintf("header %s is missing", h.Name)
	case snapshot.HeaderRange:
		want = fmt.Sprintf("a number from %d up to but not including %d", h.From, h.To)
	default:
		want = h.Value.String()
	}
	if h.Invert {
		want = "anything but " + want
	}
	if v == nil {
		return fmt.Sprintf("header %s is missing, want %s", h.Name, want)
	}
	return fmt.Sprintf("header %s is %q, want %s", h.Name, v, want)
}

// DescribePath shows a path match for people.
func DescribePath(p *snapshot.PathMatch) string {
	var s string
	switch p.Kind {
	case snapshot.PathPrefix:
		s = "prefix " + p.Value
	case snapshot.PathExact:
		s = "path " + p.Value
	case snapshot.PathSeparatedPrefix:
		s = "path prefix " + p.Value
	case snapshot.PathRegex:
		s = "regex " + p.Value
	case snapshot.PathTemplate:
		s = "template " + p.Value
	case snapshot.PathConnect:
		s = "method CONNECT"
	}
	if p.IgnoreCase {
		s += " (any case)"
	}
	return s
}
