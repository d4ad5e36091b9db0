package dump

import (
	"cmp"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
)

// Cluster is an upstream of a proxy, by Istio's way of naming it.
type Cluster struct {
	Name            string
	FQDN            string
	Port            int // 0: the name has none
	Subset          string
	Direction       string // inbound or outbound, "" otherwise
	Type            string
	DestinationRule string // name.namespace
	State           string
	Raw             json.RawMessage
}

// ClusterFilter chooses clusters; zero fields choose all.
type ClusterFilter struct {
	FQDN      string // part of the name
	Port      int
	Subset    string
	Direction string
}

// Clusters lists upstreams by name.
func (d *Dump) Clusters(f ClusterFilter) []Cluster {
	var out []Cluster
	for _, r := range d.clusters {
		var c struct {
			Name     string   `json:"name"`
			Type     string   `json:"type"`
			Metadata metadata `json:"metadata"`
			Custom   *struct {
				Name string `json:"name"`
			} `json:"cluster_type"`
		}
		if json.Unmarshal(r.Raw, &c) != nil {
			continue
		}
		row := Cluster{Name: c.Name, Type: cmp.Or(c.Type, "STATIC"), DestinationRule: c.Metadata.config("destination-rule"), State: r.State, Raw: r.Raw}
		if c.Custom != nil {
			row.Type = c.Custom.Name
		}
		row.split()
		if f.match(row) {
			out = append(out, row)
		}
	}
	slices.SortFunc(out, func(a, b Cluster) int {
		return cmp.Or(cmp.Compare(a.FQDN, b.FQDN), cmp.Compare(a.Port, b.Port), cmp.Compare(a.Direction, b.Direction), cmp.Compare(a.Subset, b.Subset), cmp.Compare(a.Name, b.Name))
	})
	return out
}

// split reads direction|port|subset|host, and its form with _. and _ for |.
func (c *Cluster) split() {
	c.FQDN = c.Name
	sep := "|"
	parts := strings.SplitN(c.Name, sep, 4)
	if strings.HasPrefix(c.Name, "outbound_.") {
		parts = strings.SplitN(c.Name, "_.", 4)
	}
	if len(parts) != 4 {
		return
	}
	port, err := strconv.Atoi(parts[1])
	if err != nil {
		return
	}
	c.Direction, c.Port, c.Subset, c.FQDN = parts[0], port, parts[2], parts[3]
}

func (f ClusterFilter) match(c Cluster) bool {
	return strings.Contains(c.FQDN, f.FQDN) && (f.Port == 0 || c.Port == f.Port) &&
		(f.Subset == "" || c.Subset == f.Subset) && (f.Direction == "" || strings.EqualFold(c.Direction, f.Direction))
}

// metadata is what Istio's control plane adds to resources.
type metadata struct {
	Filter map[string]struct {
		Config string `json:"config"`
	} `json:"filter_metadata"`
}

// config is the object of a kind that decided, as name.namespace; "" when there
// is none. The form is /apis/<group>/<version>/namespaces/<ns>/<kind>/<name>.
func (m metadata) config(kind string) string {
	p := strings.Split(m.Filter["istio"].Config, "/")
	if len(p) != 8 || p[6] != kind {
		return ""
	}
	return p[7] + "." + p[5]
}
