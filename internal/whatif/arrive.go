package whatif

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/meshctl/meshctl/internal/compare"
	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/proxy/header"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// Arrival is a request as it stands before the proxy of a workload: where it comes
// from does not matter any more, only who says so.
type Arrival struct {
	To        string // workload, pod or name.namespace; of a gateway, too
	Namespace string // of To when it names none; "default" when empty
	Port      uint16 // of the pod
	Principal string // SPIFFE ID of the client's certificate; "": plain text
	Source    netip.Addr
	SNI       string
	TLS       bool   // of the client's own, to a gateway; SNI is the authority's host
	Method    string // "" with TCP
	Authority string
	Path      string
	Headers   []Header
	Token     *Token // sent along; may be nil
	TCP       bool   // the connection carries no HTTP, or its HTTP is not known
}

// Arrive asks the proxy of a workload about a request. What a gateway lets in goes on
// to where its routes lead.
func (w *World) Arrive(ctx context.Context, a Arrival) (*Answer, error) {
	to, err := w.find(a.To, cmp.Or(a.Namespace, "default"))
	if err != nil {
		return nil, err
	}
	if to.role == plain {
		return nil, fmt.Errorf("%s has no proxy", to.owner)
	}
	x := &walk{w: w, ctx: ctx, share: 100, headers: &header.List{}, scheme: "http", token: a.Token, client: a.Source, answer: &Answer{From: a.Principal, Method: cmp.Or(a.Method, "GET")}}
	if !x.client.IsValid() {
		x.client = outside
	}
	x.host, x.port = a.Authority, a.Port
	switch {
	case a.TCP:
		x.scheme = "tcp"
	case a.TLS:
		x.scheme = "https"
	}
	if !a.TCP {
		h := x.headers
		h.AddIDString(header.Method, x.answer.Method)
		h.AddIDString(header.Scheme, x.scheme)
		h.AddIDString(header.Authority, cmp.Or(a.Authority, to.owner))
		h.AddIDString(header.Path, cmp.Or(a.Path, "/"))
		for _, kv := range a.Headers {
			h.AddName(strings.ToLower(kv.Name), []byte(kv.Value))
		}
	}
	next := &connection{dst: netip.AddrPortFrom(to.addrs[0], a.Port), src: netip.AddrPortFrom(x.client, 0), alpn: x.speaks()}
	if a.TLS {
		next.tls, next.sni = true, strings.ToLower(a.Authority)
	}
	if a.Principal != "" {
		next.tls, next.sni, x.mtls = true, a.SNI, true
		next.peer = &snapshot.Peer{Presented: true, Verified: true, URISANs: []string{a.Principal}}
		next.alpn = []string{"istio-http/1.1", "istio"}
		if a.TCP {
			next.alpn = []string{"istio"}
		}
	}
	return x.answer, x.meet(to, next)
}

// Caller is an identity of the mesh and who has it.
type Caller struct {
	Principal string
	Workloads []string // name.namespace
}

// Callers are all identities, in order.
func (w *World) Callers() []Caller {
	by := map[string][]string{}
	for _, p := range w.pods {
		id, name := w.identityOf(p), p.owner+"."+p.namespace
		if p.role != plain && !slices.Contains(by[id], name) {
			by[id] = append(by[id], name)
		}
	}
	var out []Caller
	for _, id := range slices.Sorted(maps.Keys(by)) {
		out = append(out, Caller{id, by[id]})
	}
	return out
}

// Inbound is what a proxy lets in.
type Inbound struct {
	Mode    string // of mutual TLS: STRICT, PERMISSIVE, DISABLE; "" at a gateway
	Decided *Decision
	Doors   []Door
	// Policies of the listeners' filters, each once.
	Policies []*snapshot.RBAC
	Tokens   []TokenRule
}

// Door is where requests come in: a port that the workload serves, or a host at a port
// of a gateway.
type Door struct {
	Port uint16
	Host string // "" at a sidecar
	TLS  bool   // the client begins TLS
}

// TokenRule says of one issuer how its tokens are found and verified.
type TokenRule struct {
	*snapshot.JWTProvider
	Decided *Decision
}

// InboundOf says what the proxy of a pod lets in; nil when the pod has none.
func (w *World) InboundOf(ctx context.Context, of compare.Proxy) (*Inbound, error) {
	i := slices.IndexFunc(w.pods, func(p *pod) bool { return p.name == of.Name && p.namespace == of.Namespace && p.role != plain })
	if i < 0 {
		return nil, nil //nolint:nilnil // nothing to look at is an answer
	}
	p := w.pods[i]
	out := &Inbound{}
	x, err := w.server(ctx, p)
	if p.role == gateway {
		x, err = w.proxy(ctx, p)
	}
	if err != nil {
		return nil, err
	}
	if p.role == sidecar {
		for _, port := range w.serves(p) {
			out.Doors = append(out.Doors, Door{Port: port})
		}
		out.Mode, out.Decided = w.authn(p, 0)
	}
	seen := map[string]bool{}
	for _, l := range x.snap.Listeners {
		for _, c := range append(slices.Clone(l.Chains), l.Default) {
			if c == nil {
				continue
			}
			if p.role == gateway {
				out.Doors = append(out.Doors, doors(x.snap, l, c)...)
			}
			w.tokensAt(p, c, out)
			eachRBAC(c, func(r *snapshot.RBAC) {
				if key := snapshot.Dump(r); r != nil && !seen[key] {
					seen[key] = true
					out.Policies = append(out.Policies, r)
				}
			})
		}
	}
	return out, nil
}

// doors are the way in by a chain of a gateway: one host stands for all, since it is
// not by the host that its filters tell requests apart.
func doors(s *snapshot.Snapshot, l *snapshot.Listener, c *snapshot.Chain) []Door {
	if c.HTTP == nil || len(l.Addrs) == 0 || l.Addrs[0].Port() >= firstOwnPort {
		return nil
	}
	d := Door{Port: l.Addrs[0].Port(), TLS: c.TLS != nil, Host: "example.com"}
	hosts := c.Match.ServerNames
	if len(hosts) == 0 {
		if t := s.RoutesOf(c.HTTP); t != nil && len(t.Hosts) > 0 {
			hosts = t.Hosts[0].Domains
		}
	}
	if len(hosts) > 0 && hosts[0] != "*" {
		d.Host = strings.Replace(hosts[0], "*", "any", 1)
	}
	return []Door{d}
}

// firstOwnPort is where the ports begin that proxies listen on for themselves.
const firstOwnPort = 15000

// tokensAt takes over how a chain verifies tokens; all chains of a proxy do the same.
func (w *World) tokensAt(p *pod, c *snapshot.Chain, out *Inbound) {
	if c.HTTP == nil || len(out.Tokens) > 0 {
		return
	}
	for _, f := range c.HTTP.Filters {
		cfg, ok := f.Config.(*snapshot.JWT)
		if !ok {
			continue
		}
		rules := w.tokenRules(p)
		for i := range cfg.Providers {
			out.Tokens = append(out.Tokens, TokenRule{&cfg.Providers[i], w.ruleOf(rules, cfg.Providers[i].Name)})
		}
	}
}

// serves are the ports of a pod that Services lead to, else those of its containers.
func (w *World) serves(p *pod) []uint16 {
	var out []uint16
	spec, _ := p.source.Spec.(*corev1.Pod)
	for _, o := range w.objects {
		s, ok := o.Spec.(*corev1.Service)
		if !ok || o.Key.Namespace != p.namespace || len(s.Spec.Selector) == 0 || !mesh.Selects(s.Spec.Selector, p.labels) {
			continue
		}
		for _, sp := range s.Spec.Ports {
			port := uint16(sp.Port)
			if n := sp.TargetPort.IntValue(); n > 0 {
				port = uint16(n)
			} else if spec != nil && sp.TargetPort.StrVal != "" {
				for _, c := range spec.Spec.Containers {
					for _, cp := range c.Ports {
						if cp.Name == sp.TargetPort.StrVal {
							port = uint16(cp.ContainerPort)
						}
					}
				}
			}
			if !slices.Contains(out, port) {
				out = append(out, port)
			}
		}
	}
	if len(out) == 0 && spec != nil {
		for _, c := range spec.Spec.Containers {
			for _, cp := range c.Ports {
				if c.Name != "istio-proxy" {
					out = append(out, uint16(cp.ContainerPort))
				}
			}
		}
	}
	slices.Sort(out)
	return out
}

// Generated names an object of the world, and a field of it, by the path that
// generated configuration has for it; nil when there is none.
func (w *World) Generated(path, field string) *Decision { return w.decided(path, field) }

// PolicyRule names the AuthorizationPolicy and rule behind the name that generated
// policies, and response code details, have: ns[a]-policy[b]-rule[0].
func (w *World) PolicyRule(name string) *Decision { return w.policyRule(name) }
