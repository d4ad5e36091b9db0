package dns

import (
	"net/netip"
	"strings"

	"github.com/meshctl/meshctl/internal/nametable"
)

// table is a compiled name table. Immutable; names are lower case without the final dot.
type table struct {
	hosts    map[string]*entry
	suffixes []string // search suffixes, longest first, each beginning with "."
}

type entry struct {
	host   string
	v4, v6 []netip.Addr
}

// compile adds the short forms a pod of namespace may use to each Kubernetes
// host: name, name.ns, name.ns.svc (name alone only in its own namespace).
// domain is the pod's DNS domain, e.g. default.svc.cluster.local.
func compile(tables map[string]nametable.Table, domain string) *table {
	domain = strings.ToLower(strings.Trim(domain, "."))
	t := &table{hosts: map[string]*entry{}}
	namespace, rest, _ := strings.Cut(domain, ".")
	for d := domain; d != ""; {
		t.suffixes = append(t.suffixes, "."+d)
		_, after, ok := strings.Cut(d, ".")
		if !ok || !strings.Contains(after, ".") {
			break
		}
		d = after
	}
	for _, tab := range tables {
		for host, info := range tab {
			host = strings.ToLower(strings.TrimSuffix(host, "."))
			e := newEntry(host, info)
			t.hosts[host] = e
			if info.Shortname == "" || info.Namespace == "" {
				continue
			}
			base := strings.ToLower(info.Shortname + "." + info.Namespace)
			t.add(base, e)
			if svc, _, ok := strings.Cut(rest, "."); ok {
				t.add(base+"."+svc, e)
			}
			if info.Namespace == namespace {
				t.add(strings.ToLower(info.Shortname), e)
			}
		}
	}
	return t
}

// add gives e another name unless a host really has that name.
func (t *table) add(name string, e *entry) {
	if _, taken := t.hosts[name]; !taken {
		t.hosts[name] = e
	}
}

func newEntry(host string, info nametable.Info) *entry {
	e := &entry{host: host}
	for _, s := range info.IPs {
		a, err := netip.ParseAddr(s)
		switch {
		case err != nil:
			continue
		case a.Unmap().Is4():
			e.v4 = append(e.v4, a.Unmap())
		default:
			e.v6 = append(e.v6, a)
		}
	}
	return e
}

// lookup finds the entry for a name. alias is the host to be given as CNAME
// when the name was made by appending a search domain.
func (t *table) lookup(name string) (e *entry, alias string) {
	if e := t.find(name); e != nil {
		return e, ""
	}
	for _, s := range t.suffixes {
		if head, ok := strings.CutSuffix(name, s); ok {
			if e := t.find(head); e != nil {
				return e, head
			}
		}
	}
	return nil, ""
}

// find looks for the exact host, then for wildcards, longest first.
func (t *table) find(name string) *entry {
	if e, ok := t.hosts[name]; ok {
		return e
	}
	for rest := name; ; {
		_, after, ok := strings.Cut(rest, ".")
		if !ok {
			return nil
		}
		if e, ok := t.hosts["*."+after]; ok {
			return e
		}
		rest = after
	}
}
