package whatif

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/meshctl/meshctl/internal/proxy/header"
)

// Request is what is asked.
type Request struct {
	// From is the workload or pod that sends it; "" with Gateway.
	From string
	// Namespace is that of From and Gateway when they name none; "default" when empty.
	Namespace string
	// Gateway is the workload of an ingress gateway that a client outside calls.
	Gateway string
	// Client is the address of that client; 203.0.113.1 when not valid.
	Client netip.Addr
	Method string // GET when empty
	// URL is http://host[:port]/path, https:// for TLS by the program itself, or
	// tcp://host:port for bytes that are no HTTP.
	URL     string
	Headers []Header
	// Token is sent along; nil: none but those in Headers.
	Token *Token
}

// Header is a name and a value.
type Header struct{ Name, Value string }

// outside is a client of no mesh (RFC 5737).
var outside = netip.MustParseAddr("203.0.113.1")

// walk is one request under way: what it is now, and how likely it got here.
type walk struct {
	w      *World
	ctx    context.Context
	answer *Answer

	scheme  string // http, https, tcp
	host    string // without port
	port    uint16
	headers *header.List
	share   float64
	source  *pod // nil: outside
	client  netip.Addr
	delay   string
	token   *Token
	carried bool // the token is in the headers
	// What was chosen so far, for the outcome.
	sentHost, sentSubset string
	mtls                 bool
}

// Ask walks a request through the mesh. An error means that the question makes no
// sense (an unknown workload, a malformed URL), never that the request fails.
func (w *World) Ask(ctx context.Context, r Request) (*Answer, error) {
	x := &walk{w: w, ctx: ctx, share: 100, headers: &header.List{}, token: r.Token, answer: &Answer{Method: cmp.Or(r.Method, "GET"), URL: r.URL}}
	if err := x.target(r); err != nil {
		return nil, err
	}
	x.answer.URL = x.scheme + "://" + x.authority()
	if x.scheme != "tcp" {
		x.answer.URL += string(x.headers.Get(header.Path))
	}
	namespace := cmp.Or(r.Namespace, "default")
	if r.Gateway != "" {
		if err := x.enter(r, namespace); err != nil {
			return nil, err
		}
	} else {
		from, err := w.find(r.From, namespace)
		if err != nil {
			return nil, err
		}
		x.source, x.client = from, from.addrs[0]
		x.answer.From = from.owner + "." + from.namespace
		if err := x.leave(from); err != nil {
			return nil, err
		}
	}
	slices.SortStableFunc(x.answer.Outcomes, func(a, b Outcome) int { return -cmp.Compare(a.Share, b.Share) })
	return x.answer, nil
}

// target reads the URL and the headers.
func (x *walk) target(r Request) error {
	raw := r.URL
	if !strings.Contains(raw, "://") {
		raw = "http://" + raw
	}
	u, err := url.Parse(raw)
	if err != nil {
		return fmt.Errorf("the URL %q: %w", r.URL, err)
	}
	x.scheme, x.host = strings.ToLower(u.Scheme), u.Hostname()
	defaults := map[string]uint16{"http": 80, "https": 443, "tcp": 0, "grpc": 80}
	port, known := defaults[x.scheme]
	switch {
	case !known:
		return fmt.Errorf("the URL %q: scheme %q is not one of http, https, grpc, tcp", r.URL, u.Scheme)
	case x.host == "":
		return fmt.Errorf("the URL %q names no host", r.URL)
	}
	x.port = port
	if p := u.Port(); p != "" {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil || n == 0 {
			return fmt.Errorf("the URL %q: %q is not a port", r.URL, p)
		}
		x.port = uint16(n)
	}
	if x.port == 0 {
		return fmt.Errorf("the URL %q needs a port", r.URL)
	}
	path := u.EscapedPath()
	if path == "" {
		path = "/"
	}
	if u.RawQuery != "" {
		path += "?" + u.RawQuery
	}
	h := x.headers
	h.AddIDString(header.Method, x.answer.Method)
	h.AddIDString(header.Scheme, strings.Replace(x.scheme, "grpc", "http", 1))
	h.AddIDString(header.Authority, u.Host)
	h.AddIDString(header.Path, path)
	if x.scheme == "grpc" {
		h.AddName("content-type", []byte("application/grpc"))
		h.AddName("te", []byte("trailers"))
	}
	for _, kv := range r.Headers {
		name := strings.ToLower(kv.Name)
		if name == "host" || name == ":authority" {
			h.SetString(header.Authority, kv.Value)
			continue
		}
		if name == "" || strings.HasPrefix(name, ":") {
			return fmt.Errorf("%q is not a header that a client can send", kv.Name)
		}
		h.AddName(name, []byte(kv.Value))
	}
	return nil
}

func (x *walk) authority() string {
	if x.scheme == "tcp" {
		return x.host + ":" + strconv.Itoa(int(x.port))
	}
	return string(x.headers.Get(header.Authority))
}

// end adds an outcome with what is left of the share.
func (x *walk) end(o Outcome) {
	if x.share <= 0 {
		return
	}
	o.Share, o.Delay = x.share, x.delay
	if x.scheme != "tcp" {
		o.Authority, o.Path = string(x.headers.Get(header.Authority)), string(x.headers.Get(header.Path))
	}
	for i := range x.answer.Outcomes {
		p := &x.answer.Outcomes[i]
		if same := *p; func() bool { same.Share = o.Share; return same.equal(o) }() {
			p.Share += o.Share
			return
		}
	}
	x.answer.Outcomes = append(x.answer.Outcomes, o)
}

// equal compares all but what points elsewhere; decisions are compared by their text.
func (o Outcome) equal(p Outcome) bool {
	a, b := o.Decided.String(), p.Decided.String()
	o.Decided, p.Decided = nil, nil
	return a == b && o == p
}

// branch is x with a share of its requests, and headers of its own.
func (x *walk) branch(share float64) *walk {
	y := *x
	y.share = x.share * share
	y.headers = &header.List{}
	y.headers.CopyFrom(x.headers)
	return &y
}

// hop begins the part of a proxy.
func (x *walk) hop(side string, p *pod) *Hop {
	h := &Hop{Side: side, Proxy: p.String(), Share: x.share}
	x.answer.Hops = append(x.answer.Hops, h)
	return h
}

// step adds a step to the last hop.
func (h *Hop) step(s Step) *Step {
	h.Steps = append(h.Steps, &s)
	return &s
}
