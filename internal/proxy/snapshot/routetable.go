package snapshot

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// AddHosts gives the table its virtual hosts and makes the lookup structure.
// A domain that appears twice is an error that names both owners. Call it once,
// before publication.
func (t *RouteTable) AddHosts(hosts []*VirtualHost) error {
	t.Hosts = hosts
	n := 0
	for _, h := range hosts {
		n += len(h.Domains)
	}
	t.Exact = make(map[string]*VirtualHost, n)
	t.Suffix, t.Prefix, t.Any = nil, nil, nil
	for _, h := range hosts {
		for _, d := range h.Domains {
			if err := t.addDomain(strings.ToLower(d), h); err != nil {
				return err
			}
		}
	}
	return nil
}

func (t *RouteTable) addDomain(d string, h *VirtualHost) error {
	var old *VirtualHost
	switch {
	case d == "":
		return fmt.Errorf("virtual host %q: empty domain", h.Name)
	case d == "*":
		old, t.Any = t.Any, h
	case d[0] == '*':
		old = addGroup(&t.Suffix, d[1:], h)
	case d[len(d)-1] == '*':
		old = addGroup(&t.Prefix, d[:len(d)-1], h)
	default:
		old, t.Exact[d] = t.Exact[d], h
	}
	if old != nil {
		return fmt.Errorf("virtual host %q: domain %q is already that of virtual host %q", h.Name, d, old.Name)
	}
	return nil
}

func addGroup(groups *[]DomainGroup, key string, h *VirtualHost) *VirtualHost {
	i, ok := slices.BinarySearchFunc(*groups, len(key), func(g DomainGroup, n int) int { return n - g.Len })
	if !ok {
		*groups = slices.Insert(*groups, i, DomainGroup{Len: len(key), Hosts: map[string]*VirtualHost{}})
	}
	m := (*groups)[i].Hosts
	old := m[key]
	m[key] = h
	return old
}

// ReplaceHost gives a copy of the table in which Hosts[i] is
// replaced by next, which must have the same domains. It shares nothing that changes.
func (t *RouteTable) ReplaceHost(i int, next *VirtualHost) *RouteTable {
	n := *t
	n.Hosts = slices.Clone(t.Hosts)
	n.Hosts[i] = next
	n.Exact = nil
	for _, d := range next.Domains {
		switch d = strings.ToLower(d); {
		case d == "*":
			n.Any = next
		case d[0] == '*':
			n.Suffix = replaceIn(n.Suffix, d[1:], next)
		case d[len(d)-1] == '*':
			n.Prefix = replaceIn(n.Prefix, d[:len(d)-1], next)
		default:
			if n.Exact == nil {
				n.Exact = maps.Clone(t.Exact)
			}
			n.Exact[d] = next
		}
	}
	if n.Exact == nil {
		n.Exact = t.Exact
	}
	return &n
}

// replaceIn gives a copy of the groups with one entry set.
func replaceIn(cur []DomainGroup, key string, h *VirtualHost) []DomainGroup {
	cur = slices.Clone(cur)
	for i := range cur {
		if cur[i].Len == len(key) {
			cur[i].Hosts = maps.Clone(cur[i].Hosts)
			cur[i].Hosts[key] = h
		}
	}
	return cur
}
