package view

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/meshctl/meshctl/internal/collection"
	"github.com/meshctl/meshctl/internal/mesh"
)

// session is one connected proxy.
type session struct {
	id    string
	proxy *mesh.Proxy
}

func (s *session) CollectionKey() string { return s.id }
func (s *session) Equal(t *session) bool { return s == t }

// Class is what all sessions have in common that get the same configuration.
// Two classes with one key are the same in every field.
type Class struct {
	Key            string
	Type           mesh.ProxyType
	Dialect        mesh.Dialect
	Namespace      string
	Labels         map[string]string
	ServiceAccount string
	DNSDomain      string
	Interception   string
	Bound          mesh.Bound
	HTTPProxyPort  uint32
	HTTP10         bool
	IPv6           bool // of the pod
	Unprivileged   bool
	Locality       mesh.Locality
	Network        string
	Cluster        string // ID
	NamedPorts     map[string]uint32
	// Machine: the workload is a WorkloadEntry, whose ports have other names than a pod's.
	Machine bool
}

// CollectionKey makes classes usable in collections.
func (c *Class) CollectionKey() string { return c.Key }

// Equal compares the key, which says everything.
func (c *Class) Equal(d *Class) bool { return c.Key == d.Key }

// member says which class a session belongs to.
type member struct {
	session string
	class   *Class
}

func (m *member) CollectionKey() string { return m.session }
func (m *member) Equal(n *member) bool  { return m.session == n.session && m.class.Equal(n.class) }

// classify finds the class of a proxy. What the registry knows of its workload
// counts more than what the proxy says: labels decide about policies.
func classify(p *mesh.Proxy, cluster string, w *mesh.Workload) *Class {
	c := &Class{
		Type: p.Type, Dialect: p.Dialect, Namespace: p.Namespace, Labels: p.Labels,
		ServiceAccount: p.ServiceAccount, DNSDomain: p.DNSDomain, Interception: p.Interception,
		Bound: p.Bound, HTTPProxyPort: p.HTTPProxyPort,
		HTTP10: p.HTTP10, IPv6: p.IPv6(), Unprivileged: p.Unprivileged, Locality: p.Locality, Network: p.Network, NamedPorts: p.NamedPorts,
		Cluster: cluster,
	}
	if w != nil {
		c.Labels, c.ServiceAccount, c.NamedPorts = w.Labels, w.ServiceAccount, w.Ports
		c.Network, c.Cluster, c.Machine = w.Network, w.Cluster, w.Machine()
		if w.Locality != (mesh.Locality{}) {
			c.Locality = w.Locality
		}
	}
	var ports []string
	for _, name := range slices.Sorted(maps.Keys(c.NamedPorts)) {
		ports = append(ports, fmt.Sprintf("%s=%d", name, c.NamedPorts[name]))
	}
	c.Key = c.Namespace + "/" + digest(
		string(c.Type), string(c.Dialect), c.Namespace, mesh.LabelsKey(c.Labels), c.ServiceAccount, c.DNSDomain,
		c.Interception, c.Bound.String(), fmt.Sprint(c.HTTPProxyPort, c.HTTP10, c.IPv6, c.Unprivileged, c.Machine), c.Locality.String(), c.Network, c.Cluster, strings.Join(ports, ","))
	return c
}

// digest is a key made of parts. It is long enough that nobody finds two inputs
// with one digest: sharing a key means sharing configuration.
func digest(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// members derives the class of each session, and the classes.
func (v *View) classes() {
	v.members = collection.Derive(v.g, "session-classes", collection.Collection[*session](v.sessions), func(c *collection.Ctx, s *session) (*member, bool) {
		return &member{s.id, classify(s.proxy, v.m.Settings.ClusterID(s.proxy.Cluster), v.workloadOf(c, s.proxy))}, true
	})
	v.Classes = collection.Derive(v.g, "classes", v.members, func(_ *collection.Ctx, m *member) (*Class, bool) {
		return m.class, true
	})
}

// workloadOf finds what the registry knows of a proxy's workload: its pod, or the
// WorkloadEntry of its machine, by the name that is known or else by address and
// account; nil for none.
func (v *View) workloadOf(c *collection.Ctx, p *mesh.Proxy) *mesh.Workload {
	if w, ok := collection.Fetch(c, v.m.Workloads, v.m.PodKey(p)); ok {
		return w
	}
	if p.Entry != "" {
		w, _ := collection.Fetch(c, v.m.Workloads, mesh.WorkloadKey("", "WorkloadEntry", p.Namespace, p.Entry))
		return ofAccount(w, p)
	}
	for _, ip := range p.IPs {
		for _, w := range collection.FetchIndex(c, v.m.WorkloadsByAddress, ip) {
			if w.Origin.Kind == "WorkloadEntry" && w.Namespace == p.Namespace && ofAccount(w, p) != nil {
				return w
			}
		}
	}
	return nil
}

// ofAccount is w when it runs as the account that the proxy proved.
func ofAccount(w *mesh.Workload, p *mesh.Proxy) *mesh.Workload {
	if w == nil || p.ServiceAccount != "" && w.ServiceAccount != p.ServiceAccount {
		return nil
	}
	return w
}
