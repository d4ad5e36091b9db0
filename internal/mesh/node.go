package mesh

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// NodeInfo is the part of an xDS node that says who a proxy is.
type NodeInfo struct {
	ID       string // type~ip~id~dnsDomain
	Cluster  string
	Locality Locality
	// Metadata as decoded from the node's Struct: strings, bools, numbers, maps, lists.
	Metadata map[string]any
}

// maxNodeField bounds each part of a node id: names in Kubernetes are at most 253 bytes.
const maxNodeField = 512

// ProxyFromNode reads a proxy's identity. What is missing in the metadata is
// taken from the id; what contradicts it is an error.
func ProxyFromNode(n NodeInfo) (*Proxy, error) {
	id, ok := ParseNodeID(n.ID)
	if !ok {
		return nil, fmt.Errorf("node id %.100q: want type~ip~name.namespace~domain", n.ID)
	}
	for _, p := range []string{string(id.Type), id.Address, id.Proxy, id.Domain} {
		if len(p) > maxNodeField {
			return nil, fmt.Errorf("node id: a part is longer than %d bytes", maxNodeField)
		}
	}
	p := &Proxy{Type: id.Type, ID: id.Proxy, DNSDomain: id.Domain, Locality: n.Locality, Dialect: DialectEnvoy}
	if p.Type != Sidecar && p.Type != Router {
		return nil, fmt.Errorf("node id %.100q: type %q is not one of sidecar, router", n.ID, id.Type)
	}
	name, namespace := id.Pod()
	if namespace == "" {
		return nil, fmt.Errorf("node id %.100q: want name.namespace in its third part", n.ID)
	}
	m := metadata(n.Metadata)
	p.Name, p.Namespace = or(m.text("NAME"), name), or(m.text("NAMESPACE"), namespace)
	if p.Namespace != namespace {
		return nil, fmt.Errorf("node id %.100q: its namespace is not that of the metadata, %q", n.ID, p.Namespace)
	}
	if err := p.setAddresses(id.Address, m.list("INSTANCE_IPS")); err != nil {
		return nil, err
	}
	p.Labels = m.table("LABELS")
	p.ServiceAccount = m.text("SERVICE_ACCOUNT")
	p.Workload = m.text("WORKLOAD_NAME")
	p.Cluster, p.Network = m.text("CLUSTER_ID"), m.text("NETWORK")
	p.Version = m.text("ISTIO_VERSION")
	p.Interception = or(m.text("INTERCEPTION_MODE"), InterceptRedirect)
	p.DNSCapture, p.HTTP10, p.Unprivileged = m.flag("DNS_CAPTURE"), m.flag("HTTP10"), m.flag("UNPRIVILEGED_POD")
	if err := p.setListening(m); err != nil {
		return nil, err
	}
	if m.flag("MESHCTL_NATIVE") {
		p.Dialect = DialectNative
	}
	p.Group, p.Entry = m.text("AUTO_REGISTER_GROUP"), m.text("WORKLOAD_ENTRY")
	if config, ok := m["PROXY_CONFIG"].(map[string]any); ok {
		p.Probed = config["readinessProbe"] != nil
	}
	p.Metadata = m.texts()
	return p, nil
}

func (p *Proxy) setAddresses(first string, rest []string) error {
	for _, s := range append([]string{first}, rest...) {
		if s == "" {
			continue
		}
		a, err := netip.ParseAddr(s)
		if err != nil {
			return fmt.Errorf("node address %.100q: %w", s, err)
		}
		if t := a.Unmap().String(); len(p.IPs) == 0 || t != p.IPs[0] {
			p.IPs = append(p.IPs, t)
		}
	}
	if len(p.IPs) == 0 {
		return fmt.Errorf("node %q: no address", p.ID)
	}
	return nil
}

// setListening reads where the proxy listens itself.
func (p *Proxy) setListening(m metadata) error {
	if s := m.text("HTTP_PROXY_PORT"); s != "" {
		n, err := strconv.ParseUint(s, 10, 16)
		if err != nil || n == 0 {
			return fmt.Errorf("node %q: HTTP_PROXY_PORT %.100q is not a port", p.ID, s)
		}
		p.HTTPProxyPort = uint32(n)
	}
	if s := m.text("MESHCTL_BOUND"); s != "" {
		b, err := ParseBound(s)
		if err != nil {
			return fmt.Errorf("node %q: MESHCTL_BOUND: %w", p.ID, err)
		}
		p.Bound = b
	}
	return nil
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i <= 0 || i == len(s)-1 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// metadata reads loosely typed node metadata: a value of another type is absent.
type metadata map[string]any

func (m metadata) text(key string) string {
	s, _ := m[key].(string)
	return s
}

// flag reads "1", "true" and true; environment variables arrive as strings.
func (m metadata) flag(key string) bool {
	switch v := m[key].(type) {
	case bool:
		return v
	case string:
		return v == "1" || strings.EqualFold(v, "true")
	default:
		return false
	}
}

// list reads a comma-separated string or a list of strings.
func (m metadata) list(key string) []string {
	switch v := m[key].(type) {
	case string:
		return strings.FieldsFunc(v, func(r rune) bool { return r == ',' || r == ' ' })
	case []any:
		var out []string
		for _, e := range v {
			if s, ok := e.(string); ok {
				out = append(out, s)
			}
		}
		return out
	default:
		return nil
	}
}

func (m metadata) table(key string) map[string]string {
	v, ok := m[key].(map[string]any)
	if !ok {
		return nil
	}
	out := make(map[string]string, len(v))
	for k, e := range v {
		if s, ok := e.(string); ok {
			out[k] = s
		}
	}
	return out
}

func (m metadata) texts() map[string]string {
	out := map[string]string{}
	for k, e := range m {
		if s, ok := e.(string); ok {
			out[k] = s
		}
	}
	return out
}
