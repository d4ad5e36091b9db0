package dump

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Route is one route of a virtual host, in the order that the proxy tries them.
type Route struct {
	Config         string // name of the route configuration
	VirtualHost    string
	Domains        []string
	Match          string
	VirtualService string // name.namespace
	Target         string // where it leads
}

// RouteConfig is a route configuration.
type RouteConfig struct {
	Name         string
	VirtualHosts int
	State        string
	Routes       []Route
	Raw          json.RawMessage
}

// routeConfig is the part of a RouteConfiguration that is shown.
type routeConfig struct {
	Name         string `json:"name"`
	VirtualHosts []struct {
		Name    string   `json:"name"`
		Domains []string `json:"domains"`
		Routes  []route  `json:"routes"`
	} `json:"virtual_hosts"`
}

type route struct {
	Match     routeMatch `json:"match"`
	Metadata  metadata   `json:"metadata"`
	Decorator struct {
		Operation string `json:"operation"`
	} `json:"decorator"`
	Route *struct {
		Cluster  string `json:"cluster"`
		Weighted *struct {
			Clusters []struct {
				Name   string `json:"name"`
				Weight int    `json:"weight"`
			} `json:"clusters"`
		} `json:"weighted_clusters"`
		ClusterHeader string `json:"cluster_header"`
	} `json:"route"`
	Redirect json.RawMessage `json:"redirect"`
	Direct   *struct {
		Status int `json:"status"`
	} `json:"direct_response"`
}

type routeMatch struct {
	Prefix     *string `json:"prefix"`
	Path       *string `json:"path"`
	Separated  *string `json:"path_separated_prefix"`
	Regex      *regex  `json:"safe_regex"`
	Connect    any     `json:"connect_matcher"`
	Headers    []named `json:"headers"`
	Parameters []named `json:"query_parameters"`
}

type regex struct {
	Regex string `json:"regex"`
}

type named struct {
	Name string `json:"name"`
}

// RouteConfigs lists route configurations by name, those with numbers first, as
// istioctl does. name chooses one.
func (d *Dump) RouteConfigs(name string) []RouteConfig {
	var out []RouteConfig
	for _, r := range d.routes {
		var c routeConfig
		if json.Unmarshal(r.Raw, &c) != nil || name != "" && c.Name != name {
			continue
		}
		rc := RouteConfig{Name: c.Name, VirtualHosts: len(c.VirtualHosts), State: r.State, Raw: r.Raw}
		for _, vh := range c.VirtualHosts {
			if len(vh.Routes) == 0 {
				rc.Routes = append(rc.Routes, Route{Config: c.Name, VirtualHost: vh.Name, Domains: vh.Domains, Match: "-", Target: "-"})
			}
			for _, rt := range vh.Routes {
				rc.Routes = append(rc.Routes, Route{
					Config: c.Name, VirtualHost: vh.Name, Domains: vh.Domains, Match: rt.Match.String(),
					VirtualService: rt.Metadata.config("virtual-service"), Target: rt.target(),
				})
			}
		}
		out = append(out, rc)
	}
	slices.SortStableFunc(out, func(a, b RouteConfig) int {
		return cmp.Or(cmp.Compare(number(a.Name), number(b.Name)), cmp.Compare(a.Name, b.Name))
	})
	return out
}

// number orders names that begin with a port before others.
func number(name string) int {
	n := 0
	for _, r := range name {
		if r < '0' || r > '9' {
			break
		}
		n = n*10 + int(r-'0')
		if n > 65535 {
			break
		}
	}
	if n == 0 {
		return 1 << 20
	}
	return n
}

// String prints a match as istioctl does: a path, a prefix with *, and what else
// must be so.
func (m routeMatch) String() string {
	text := ""
	switch {
	case m.Path != nil:
		text = *m.Path
	case m.Separated != nil:
		text = *m.Separated + "/*"
	case m.Prefix != nil:
		text = *m.Prefix + "*"
	case m.Regex != nil:
		text = "regex " + m.Regex.Regex
	case m.Connect != nil:
		text = "CONNECT"
	}
	var more []string
	for _, h := range m.Headers {
		more = append(more, h.Name)
	}
	for _, p := range m.Parameters {
		more = append(more, "?"+p.Name)
	}
	if len(more) > 0 {
		text += " (" + strings.Join(more, ", ") + ")"
	}
	return text
}

// target is where a route leads.
func (r route) target() string {
	switch {
	case r.Redirect != nil:
		return "redirect"
	case r.Direct != nil:
		return fmt.Sprintf("answer %d", r.Direct.Status)
	case r.Route == nil:
		return "-"
	case r.Route.Weighted != nil:
		var parts []string
		for _, c := range r.Route.Weighted.Clusters {
			parts = append(parts, fmt.Sprintf("%s (%d)", c.Name, c.Weight))
		}
		return strings.Join(parts, ", ")
	default:
		return cmp.Or(r.Route.Cluster, r.Route.ClusterHeader, "-")
	}
}
