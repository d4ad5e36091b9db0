package capture

import (
	"errors"
	"fmt"
	"net/netip"
)

// Mode is how traffic reaches the sidecar.
type Mode string

// Modes, as MeshConfig and annotations write them.
const (
	Redirect Mode = "REDIRECT"
	None     Mode = "NONE"
)

// Ports that Istio fixes.
const (
	DefaultOutboundPort uint16 = 15001
	DefaultInboundPort  uint16 = 15006
	DefaultDNSPort      uint16 = 15053
	DefaultProxyID      uint32 = 1337 // user, group and mark of the sidecar
	tunnelPort          uint16 = 15008
)

// Ports selects TCP ports: all of them, or a list.
type Ports struct {
	All  bool     `json:"all,omitempty"`
	List []uint16 `json:"list,omitempty"`
}

// Ranges selects addresses: all of them, or a list.
type Ranges struct {
	All  bool           `json:"all,omitempty"`
	List []netip.Prefix `json:"list,omitempty"`
}

// Config says what to redirect. Start from Default.
type Config struct {
	Mode         Mode   `json:"mode,omitempty"`
	OutboundPort uint16 `json:"outboundPort,omitempty"` // where outgoing connections go
	InboundPort  uint16 `json:"inboundPort,omitempty"`  // where incoming connections go
	DNSPort      uint16 `json:"dnsPort,omitempty"`      // where DNS questions go

	// Who the sidecar is; at least one must be set.
	ProxyUIDs []uint32 `json:"proxyUIDs,omitempty"`
	ProxyGIDs []uint32 `json:"proxyGIDs,omitempty"`
	ProxyMark uint32   `json:"proxyMark,omitempty"` // socket mark; 0: none

	IncludeOutboundRanges Ranges         `json:"includeOutboundRanges,omitzero"`
	ExcludeOutboundRanges []netip.Prefix `json:"excludeOutboundRanges,omitempty"`
	IncludeOutboundPorts  []uint16       `json:"includeOutboundPorts,omitempty"` // redirected whatever the range says
	ExcludeOutboundPorts  []uint16       `json:"excludeOutboundPorts,omitempty"`
	IncludeInboundPorts   Ports          `json:"includeInboundPorts,omitzero"`
	ExcludeInboundPorts   []uint16       `json:"excludeInboundPorts,omitempty"`
	ExcludeInterfaces     []string       `json:"excludeInterfaces,omitempty"`

	DNSCapture  bool         `json:"dnsCapture,omitempty"`
	Nameservers []netip.Addr `json:"nameservers,omitempty"` // whose questions are taken; empty: all

	IPv6 bool `json:"ipv6,omitempty"` // also redirect IPv6
}

// Default redirects everything, for a sidecar with Istio's user and group id.
func Default() Config {
	return Config{
		Mode:                  Redirect,
		OutboundPort:          DefaultOutboundPort,
		InboundPort:           DefaultInboundPort,
		DNSPort:               DefaultDNSPort,
		ProxyUIDs:             []uint32{DefaultProxyID},
		ProxyGIDs:             []uint32{DefaultProxyID},
		IncludeOutboundRanges: Ranges{All: true},
		IncludeInboundPorts:   Ports{All: true},
		ExcludeInboundPorts:   []uint16{15020, 15021, 15090},
	}
}

// Validate reports the first thing that makes the rules wrong.
func (c Config) Validate() error {
	switch {
	case c.Mode == None:
		return nil
	case c.Mode != Redirect:
		return fmt.Errorf("capture mode %q: supported are %s and %s", c.Mode, Redirect, None)
	case c.OutboundPort == 0 || c.InboundPort == 0:
		return errors.New("capture: the inbound and outbound ports must be set")
	case c.DNSCapture && c.DNSPort == 0:
		return errors.New("capture: DNS capture needs a DNS port")
	case len(c.ProxyUIDs) == 0 && len(c.ProxyGIDs) == 0 && c.ProxyMark == 0:
		// Without this the sidecar's own connections would come back to it for ever.
		return errors.New("capture: nothing tells the sidecar's own traffic; set a user, group or mark")
	}
	for _, name := range c.ExcludeInterfaces {
		if name == "" || len(name) > 15 {
			return fmt.Errorf("capture: %q is not the name of a network interface", name)
		}
	}
	for _, p := range append(append([]netip.Prefix(nil), c.IncludeOutboundRanges.List...), c.ExcludeOutboundRanges...) {
		if !p.IsValid() {
			return fmt.Errorf("capture: invalid address range %v", p)
		}
	}
	return nil
}
