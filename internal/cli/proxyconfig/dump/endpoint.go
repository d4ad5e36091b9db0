package dump

import (
	"cmp"
	"encoding/json"
	"net"
	"slices"
	"strconv"
	"strings"
)

// Endpoint is one host of an upstream and how the proxy sees it.
type Endpoint struct {
	Address string `json:"address"` // ip:port, or the path of a socket
	Port    int    `json:"port,omitempty"`
	Status  string `json:"status"`
	Outlier string `json:"outlierCheck"`
	Cluster string `json:"cluster"`
	Weight  int    `json:"weight,omitempty"`
	// Locality is region/zone/subzone.
	Locality string `json:"locality,omitempty"`
}

// EndpointFilter chooses endpoints; zero fields choose all.
type EndpointFilter struct {
	Address string
	Port    int
	Cluster string
	Status  string
}

// clusterStatus is an element of /clusters?format=json.
type clusterStatus struct {
	Name  string       `json:"name"`
	Hosts []hostStatus `json:"host_statuses"`
}

type hostStatus struct {
	Address  address  `json:"address"`
	Weight   int      `json:"weight"`
	Locality locality `json:"locality"`
	Health   struct {
		EDS     string `json:"eds_health_status"`
		Outlier bool   `json:"failed_outlier_check"`
		Active  bool   `json:"failed_active_health_check"`
	} `json:"health_status"`
}

type locality struct {
	Region  string `json:"region"`
	Zone    string `json:"zone"`
	SubZone string `json:"sub_zone"`
}

func (l locality) String() string {
	return strings.TrimRight(l.Region+"/"+l.Zone+"/"+l.SubZone, "/")
}

// address is envoy.config.core.v3.Address.
type address struct {
	Socket *struct {
		Address string `json:"address"`
		Port    int    `json:"port_value"`
	} `json:"socket_address"`
	Pipe *struct {
		Path string `json:"path"`
	} `json:"pipe"`
	Internal *struct {
		Name string `json:"server_listener_name"`
		ID   string `json:"endpoint_id"`
	} `json:"envoy_internal_address"`
}

func (a address) split() (host string, port int) {
	switch {
	case a.Socket != nil:
		return a.Socket.Address, a.Socket.Port
	case a.Pipe != nil:
		return "unix://" + a.Pipe.Path, 0
	case a.Internal != nil:
		return "envoy://" + a.Internal.Name + "/" + a.Internal.ID, 0
	default:
		return "-", 0
	}
}

// Endpoints lists hosts by address and upstream. What the proxy sees of them is
// only in /clusters; with a config dump alone, EDS's view is all there is.
func (d *Dump) Endpoints(f EndpointFilter) []Endpoint {
	var out []Endpoint
	add := func(cluster string, h hostStatus) {
		host, port := h.Address.split()
		e := Endpoint{Address: host, Port: port, Cluster: cluster, Weight: h.Weight, Locality: h.Locality.String(), Status: cmp.Or(h.Health.EDS, "HEALTHY"), Outlier: "OK"}
		if port != 0 {
			e.Address = net.JoinHostPort(host, strconv.Itoa(port))
		}
		if h.Health.Active {
			e.Status = "UNHEALTHY"
		}
		if h.Health.Outlier {
			e.Outlier = "FAILED"
		}
		if f.match(e, host) {
			out = append(out, e)
		}
	}
	for _, c := range d.hosts {
		for _, h := range c.Hosts {
			add(c.Name, h)
		}
	}
	if !d.HasHosts {
		d.eachEDS(add)
	}
	slices.SortFunc(out, func(a, b Endpoint) int {
		return cmp.Or(cmp.Compare(a.Address, b.Address), cmp.Compare(a.Cluster, b.Cluster))
	})
	return out
}

// eachEDS calls add for each endpoint of a dump with ?include_eds.
func (d *Dump) eachEDS(add func(string, hostStatus)) {
	for _, r := range d.endpoints {
		var c struct {
			Name      string `json:"cluster_name"`
			Endpoints []struct {
				Locality locality `json:"locality"`
				LB       []struct {
					Health   string `json:"health_status"`
					Weight   int    `json:"load_balancing_weight"`
					Endpoint struct {
						Address address `json:"address"`
					} `json:"endpoint"`
				} `json:"lb_endpoints"`
			} `json:"endpoints"`
		}
		if json.Unmarshal(r.Raw, &c) != nil {
			continue
		}
		for _, l := range c.Endpoints {
			for _, e := range l.LB {
				h := hostStatus{Address: e.Endpoint.Address, Weight: e.Weight, Locality: l.Locality}
				h.Health.EDS = e.Health
				add(c.Name, h)
			}
		}
	}
}

func (f EndpointFilter) match(e Endpoint, host string) bool {
	return (f.Address == "" || host == f.Address || e.Address == f.Address) && (f.Port == 0 || e.Port == f.Port) &&
		(f.Cluster == "" || e.Cluster == f.Cluster) && (f.Status == "" || strings.EqualFold(e.Status, f.Status))
}

// HasEDS reports whether the dump was made with ?include_eds.
func (d *Dump) HasEDS() bool { return len(d.endpoints) > 0 }
