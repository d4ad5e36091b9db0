package listener

import (
	"slices"

	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// need says which inspectors some chain depends on.
type need uint8

const (
	needTLS need = 1 << iota
	needHTTP
)

// needs are a listener's, by destination port: a port that chains name is
// served by those chains alone, or by the default one.
type needs struct {
	ports map[uint16]need
	other need
}

func (n *needs) of(port uint16) need {
	if v, ok := n.ports[port]; ok {
		return v
	}
	return n.other
}

// httpProtocols are what the HTTP inspector finds.
var httpProtocols = []string{"http/1.0", "http/1.1", "h2c"}

func needsOf(l *snapshot.Listener) *needs {
	n := &needs{}
	var all need // of the default chain
	if l.Default != nil {
		all = chainNeeds(l.Default)
	}
	n.other = all
	for _, c := range l.Chains {
		v := chainNeeds(c)
		if p := c.Match.DestinationPort; p != 0 {
			if n.ports == nil {
				n.ports = map[uint16]need{}
			}
			n.ports[p] |= v | all
		} else {
			n.other |= v
		}
	}
	return n
}

func chainNeeds(c *snapshot.Chain) (n need) {
	m := &c.Match
	if len(m.ServerNames) > 0 || m.Transport != snapshot.TransportAny || len(m.ApplicationProtocols) > 0 {
		n |= needTLS
	}
	if slices.ContainsFunc(m.ApplicationProtocols, func(p string) bool { return slices.Contains(httpProtocols, p) }) {
		n |= needHTTP
	}
	if c.TLS != nil {
		return n // the handshake tells the rest
	}
	for i := range c.Network {
		switch f := c.Network[i].Config.(type) {
		case *snapshot.SNICluster:
			n |= needTLS
		case *snapshot.RBAC:
			if f.Rules != nil && namesServer(f.Rules) {
				n |= needTLS
			}
		}
	}
	return n
}

// namesServer reports whether policies look at the server name.
func namesServer(p *snapshot.Policies) bool {
	for i := range p.Policies {
		if anyNamesServer(p.Policies[i].Permissions) || anyNamesServer(p.Policies[i].Principals) {
			return true
		}
	}
	return false
}

func anyNamesServer(rules []snapshot.Rule) bool {
	for i := range rules {
		if rules[i].Op == snapshot.RuleServerName || anyNamesServer(rules[i].Subs) {
			return true
		}
	}
	return false
}

// needsFor gives the inspectors that run for a connection to port: configured,
// not disabled for the port, and of use.
func (w *worker) needsFor(l *snapshot.Listener, port uint16) need {
	tls := l.TLSInspector != nil && !l.TLSInspector.DisabledFor(port)
	http := l.HTTPInspector != nil && !l.HTTPInspector.DisabledFor(port)
	if !tls && !http {
		return 0
	}
	n := w.needs[l]
	if n == nil {
		n = needsOf(l)
		w.needs[l] = n
	}
	v := n.of(port)
	if !tls {
		v &^= needTLS
	}
	if !http {
		v &^= needHTTP
	}
	return v
}
