package dump

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Listener is a port of a proxy and the chains behind it.
type Listener struct {
	Name      string
	Addresses []string
	Port      int
	Type      string // HTTP, TCP, HTTP+TCP or UNKNOWN
	Chains    []Chain
	State     string
	Raw       json.RawMessage
}

// Chain is what happens to connections that match.
type Chain struct {
	Match       string // ALL when everything does
	Destination string
	Name        string
}

// ListenerFilter chooses listeners; zero fields choose all.
type ListenerFilter struct {
	Address string
	Port    int
	Type    string
}

// listener is the part of one that is shown.
type listener struct {
	Name       string  `json:"name"`
	Address    address `json:"address"`
	Additional []struct {
		Address address `json:"address"`
	} `json:"additional_addresses"`
	Chains  []chain `json:"filter_chains"`
	Default *chain  `json:"default_filter_chain"`
}

type chain struct {
	Name    string     `json:"name"`
	Match   chainMatch `json:"filter_chain_match"`
	Filters []filter   `json:"filters"`
}

type chainMatch struct {
	Port      int      `json:"destination_port"`
	Prefixes  []prefix `json:"prefix_ranges"`
	Names     []string `json:"server_names"`
	Transport string   `json:"transport_protocol"`
	App       []string `json:"application_protocols"`
	Source    []prefix `json:"source_prefix_ranges"`
}

type prefix struct {
	Address string `json:"address_prefix"`
	Len     int    `json:"prefix_len"`
}

type filter struct {
	Name  string `json:"name"`
	Typed struct {
		Type   string       `json:"@type"`
		RDS    *rds         `json:"rds"`
		Inline *routeConfig `json:"route_config"`
		// of the TCP proxy
		Cluster  string `json:"cluster"`
		Weighted *struct {
			Clusters []struct {
				Name   string `json:"name"`
				Weight int    `json:"weight"`
			} `json:"clusters"`
		} `json:"weighted_clusters"`
	} `json:"typed_config"`
}

type rds struct {
	Name string `json:"route_config_name"`
}

// Listeners lists ports by address and number.
func (d *Dump) Listeners(f ListenerFilter) []Listener {
	var out []Listener
	for _, r := range d.listeners {
		var l listener
		if json.Unmarshal(r.Raw, &l) != nil {
			continue
		}
		host, port := l.Address.split()
		row := Listener{Name: l.Name, Addresses: []string{host}, Port: port, State: r.State, Raw: r.Raw}
		for _, a := range l.Additional {
			h, _ := a.Address.split()
			row.Addresses = append(row.Addresses, h)
		}
		chains := l.Chains
		if l.Default != nil {
			chains = append(slices.Clone(chains), *l.Default)
		}
		row.Type = typeOf(chains)
		for _, c := range chains {
			row.Chains = append(row.Chains, Chain{Match: c.Match.String(), Destination: c.destination(), Name: c.Name})
		}
		if f.match(row) {
			out = append(out, row)
		}
	}
	slices.SortStableFunc(out, func(a, b Listener) int {
		return cmp.Or(cmp.Compare(a.Addresses[0], b.Addresses[0]), cmp.Compare(a.Port, b.Port))
	})
	return out
}

func (f ListenerFilter) match(l Listener) bool {
	return (f.Address == "" || slices.Contains(l.Addresses, f.Address)) && (f.Port == 0 || l.Port == f.Port) &&
		(f.Type == "" || strings.EqualFold(l.Type, f.Type))
}

const (
	managerType = "HttpConnectionManager"
	tcpType     = "TcpProxy"
)

func (f filter) is(kind string) bool { return strings.HasSuffix(f.Typed.Type, "."+kind) }

func typeOf(chains []chain) string {
	http, tcp := false, false
	for _, c := range chains {
		for _, f := range c.Filters {
			http = http || f.is(managerType)
			tcp = tcp || f.is(tcpType)
		}
	}
	switch {
	case http && tcp:
		return "HTTP+TCP"
	case http:
		return "HTTP"
	case tcp:
		return "TCP"
	default:
		return "UNKNOWN"
	}
}

// String prints a match as istioctl does, ALL for one that takes everything.
func (m chainMatch) String() string {
	var parts []string
	add := func(name, value string) {
		if value != "" {
			parts = append(parts, name+": "+value)
		}
	}
	add("SNI", strings.Join(m.Names, ","))
	add("Trans", m.Transport)
	add("App", strings.Join(m.App, ","))
	add("Src", ranges(m.Source))
	addr := ranges(m.Prefixes)
	if m.Port != 0 {
		addr = fmt.Sprintf("%s:%d", cmp.Or(addr, "*"), m.Port)
	}
	add("Addr", addr)
	if len(parts) == 0 {
		return "ALL"
	}
	return strings.Join(parts, "; ")
}

func ranges(all []prefix) string {
	var out []string
	for _, p := range all {
		switch {
		case p.Len == 32 && !strings.Contains(p.Address, ":"), p.Len == 128:
			out = append(out, p.Address)
		default:
			out = append(out, fmt.Sprintf("%s/%d", p.Address, p.Len))
		}
	}
	return strings.Join(out, ",")
}

// destination is where connections of a chain go.
func (c chain) destination() string {
	for _, f := range c.Filters {
		switch {
		case f.is(managerType) && f.Typed.RDS != nil:
			return "Route: " + f.Typed.RDS.Name
		case f.is(managerType) && f.Typed.Inline != nil:
			return "Inline Route: " + f.Typed.Inline.paths()
		case f.is(tcpType) && f.Typed.Weighted != nil:
			var names []string
			for _, w := range f.Typed.Weighted.Clusters {
				names = append(names, fmt.Sprintf("%s (%d)", w.Name, w.Weight))
			}
			return "Clusters: " + strings.Join(names, ", ")
		case f.is(tcpType):
			return clusterText(f.Typed.Cluster)
		}
	}
	return "Non-HTTP/Non-TCP"
}

// clusterText leaves the word out where a name says by itself what it is.
func clusterText(name string) string {
	if strings.Contains(name, "|") {
		return "Cluster: " + name
	}
	return cmp.Or(name, "-")
}

// paths are the distinct matches of an inline route configuration.
func (c *routeConfig) paths() string {
	var out []string
	for _, vh := range c.VirtualHosts {
		for _, r := range vh.Routes {
			if text := r.Match.String(); !slices.Contains(out, text) {
				out = append(out, text)
			}
		}
	}
	return cmp.Or(strings.Join(out, ", "), "-")
}
