// Package dump reads what a proxy's admin interface says (/config_dump and
// /clusters?format=json), of the native proxy or of a stock Envoy, and turns it
// into rows under Istio's columns.
//
//	d, err := dump.Parse(data)
//	rows := d.Clusters(dump.ClusterFilter{FQDN: "reviews"})
//
// It reads JSON by name and leaves alone what it does not know, so that a dump
// with foreign extensions is no problem.
package dump

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// Dump is a proxy's configuration, each resource as the proxy printed it.
type Dump struct {
	clusters  []Resource
	listeners []Resource
	routes    []Resource
	secrets   []Resource
	endpoints []Resource // from ?include_eds
	extends   []Resource // filters that come by themselves (ECDS)
	bootstrap json.RawMessage
	hosts     []clusterStatus // from /clusters?format=json

	// HasConfig and HasHosts say which of the two documents were read.
	HasConfig, HasHosts bool
}

// Resource is one resource and its state.
type Resource struct {
	State string // static, active, warming, draining, or error
	Raw   json.RawMessage
	Error string // why the last update was refused
}

// ErrForeign says that a text is neither document.
var ErrForeign = errors.New("neither a proxy's /config_dump nor its /clusters?format=json")

// Parse reads one of the two documents, or several after one another, as
// "proxy-config all -o json" prints them.
func Parse(data []byte) (*Dump, error) {
	d := &Dump{}
	in := json.NewDecoder(bytes.NewReader(data))
	for in.More() {
		var doc struct {
			Configs  []json.RawMessage `json:"configs"`
			Statuses []clusterStatus   `json:"cluster_statuses"`
			Dump     json.RawMessage   `json:"config_dump"` // ours
			Clusters json.RawMessage   `json:"clusters"`
		}
		var wrong *json.UnmarshalTypeError
		if err := in.Decode(&doc); errors.As(err, &wrong) {
			return nil, ErrForeign
		} else if err != nil {
			return nil, fmt.Errorf("read proxy dump: %w", err)
		}
		switch {
		case doc.Configs != nil:
			if err := d.addConfigs(doc.Configs); err != nil {
				return nil, err
			}
		case doc.Statuses != nil:
			d.hosts, d.HasHosts = append(d.hosts, doc.Statuses...), true
		case doc.Dump != nil:
			for _, part := range []json.RawMessage{doc.Dump, doc.Clusters} {
				if err := d.merge(part); err != nil {
					return nil, err
				}
			}
		default:
			return nil, ErrForeign
		}
	}
	if !d.HasConfig && !d.HasHosts {
		return nil, ErrForeign
	}
	return d, nil
}

func (d *Dump) merge(part json.RawMessage) error {
	if len(part) == 0 {
		return nil
	}
	p, err := Parse(part)
	if err != nil {
		return err
	}
	if p.HasConfig {
		hosts, has := d.hosts, d.HasHosts
		*d = *p
		d.hosts, d.HasHosts = hosts, has
	}
	if p.HasHosts {
		d.hosts, d.HasHosts = p.hosts, true
	}
	return nil
}

// AddHosts adds the answer of /clusters?format=json.
func (d *Dump) AddHosts(data []byte) error { return d.merge(data) }

// addConfigs sorts the elements of a config dump by their type.
func (d *Dump) addConfigs(configs []json.RawMessage) error {
	d.HasConfig = true
	for _, c := range configs {
		var head struct {
			Type string `json:"@type"`
		}
		if err := json.Unmarshal(c, &head); err != nil {
			return fmt.Errorf("read proxy dump: %w", plain(err))
		}
		c, err := snake(c)
		if err != nil {
			return fmt.Errorf("read proxy dump, %s: %w", head.Type, plain(err))
		}
		switch head.Type[strings.LastIndexByte(head.Type, '.')+1:] {
		case "ClustersConfigDump":
			d.clusters, err = resources(c, "cluster")
		case "ListenersConfigDump":
			d.listeners, err = resources(c, "listener")
		case "RoutesConfigDump":
			d.routes, err = resources(c, "route_config")
		case "SecretsConfigDump":
			d.secrets, err = resources(c, "secret")
		case "EndpointsConfigDump":
			d.endpoints, err = resources(c, "endpoint_config")
		case "EcdsConfigDump":
			d.extends, err = resources(c, "ecds_filter")
		case "BootstrapConfigDump":
			var b struct {
				Bootstrap json.RawMessage `json:"bootstrap"`
			}
			err = json.Unmarshal(c, &b)
			d.bootstrap = b.Bootstrap
		}
		if err != nil {
			return fmt.Errorf("read proxy dump, %s: %w", head.Type, plain(err))
		}
	}
	return nil
}

// plain says in JSON's words, not in Go's, what does not fit.
func plain(err error) error {
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		return fmt.Errorf("a %s where none belongs, at byte %d", wrong.Value, wrong.Offset)
	}
	return err
}

// states are the prefixes of a section's lists.
var states = []struct{ prefix, state string }{
	{"static_", "static"}, {"dynamic_active_", "active"}, {"dynamic_warming_", "warming"}, {"dynamic_", "active"}, {"", "active"},
}

// entry is one element of a list of a config dump; listeners nest it in states.
type entry struct {
	Active   json.RawMessage `json:"active_state"`
	Warming  json.RawMessage `json:"warming_state"`
	Draining json.RawMessage `json:"draining_state"`
	Error    *struct {
		Details string `json:"details"`
	} `json:"error_state"`
}

// resources reads every list of a section.
func resources(section json.RawMessage, field string) ([]Resource, error) {
	var lists map[string]json.RawMessage
	if err := json.Unmarshal(section, &lists); err != nil {
		return nil, err
	}
	var out []Resource
	for _, s := range states {
		key := s.prefix + field + "s"
		if lists[key] == nil {
			continue
		}
		var entries []json.RawMessage
		if err := json.Unmarshal(lists[key], &entries); err != nil {
			return nil, fmt.Errorf("%s: %w", key, plain(err))
		}
		for _, e := range entries {
			all, err := readEntry(e, field, s.state)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", key, plain(err))
			}
			out = append(out, all...)
		}
	}
	return out, nil
}

func readEntry(raw json.RawMessage, field, state string) ([]Resource, error) {
	var e entry
	if err := json.Unmarshal(raw, &e); err != nil {
		return nil, err
	}
	message := ""
	if e.Error != nil {
		message = e.Error.Details
	}
	inner := func(raw json.RawMessage) (json.RawMessage, error) {
		var m map[string]json.RawMessage
		err := json.Unmarshal(raw, &m)
		return m[field], err
	}
	var out []Resource
	for _, part := range []struct {
		raw   json.RawMessage
		state string
	}{{raw, state}, {e.Active, "active"}, {e.Warming, "warming"}, {e.Draining, "draining"}} {
		if part.raw == nil {
			continue
		}
		r, err := inner(part.raw)
		if err != nil {
			return nil, err
		}
		if r != nil {
			out = append(out, Resource{State: part.state, Raw: r, Error: message})
		}
	}
	return out, nil
}

// Bootstrap is the proxy's start configuration, nil when the dump has none.
func (d *Dump) Bootstrap() json.RawMessage { return d.bootstrap }

// Sent are the resources that a proxy has from its control plane, as it printed them:
// those of its start configuration are left out, and certificates, which its agent gives.
func (d *Dump) Sent() []json.RawMessage {
	var out []json.RawMessage
	for _, list := range [][]Resource{d.clusters, d.listeners, d.routes, d.endpoints} {
		for _, r := range list {
			if r.State == "active" || r.State == "warming" {
				out = append(out, r.Raw)
			}
		}
	}
	return out
}
