package mesh

import (
	"fmt"
	"net/netip"
	"strings"
)

// Bound is how a proxy that nothing is redirected to (InterceptNone) listens
// itself: on a loopback network that no other proxy has. The zero value has none.
//
// Own's first address is the workload's. On it the proxy listens for what calls
// the workload, at BoundPort of the workload's port; the workload has the port
// itself. For a service with a virtual address in Services, the proxy listens on
// the address of Own with the same last bits, at BoundPort of the service's port.
type Bound struct {
	Own      netip.Prefix
	Services netip.Prefix // may be invalid: no listeners for services
}

// ParseBound reads the node metadata MESHCTL_BOUND: "127.9.3.0/24" or
// "127.9.0.0/16,10.96.0.0/16", the proxy's own network and that of services.
func ParseBound(s string) (Bound, error) {
	own, services, both := strings.Cut(s, ",")
	var b Bound
	var err error
	if b.Own, err = loopback(own); err != nil {
		return Bound{}, err
	}
	if both {
		if b.Services, err = netip.ParsePrefix(services); err != nil {
			return Bound{}, err
		}
		if !b.Services.Addr().Is4() || b.Services != b.Services.Masked() || b.Services.Bits() != b.Own.Bits() {
			return Bound{}, fmt.Errorf("%s is not an IPv4 network of the size of %s", services, b.Own)
		}
	}
	return b, nil
}

// loopback reads a network of this machine alone: a proxy may not be told to
// open ports to others by its own metadata.
func loopback(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, err
	}
	if !p.Addr().Is4() || !p.Addr().IsLoopback() || p.Bits() < 8 || p.Bits() > 30 || p != p.Masked() {
		return netip.Prefix{}, fmt.Errorf("%s is not a network within 127.0.0.0/8", s)
	}
	return p, nil
}

// String is what ParseBound reads; "" for the zero value.
func (b Bound) String() string {
	switch {
	case !b.Own.IsValid():
		return ""
	case !b.Services.IsValid():
		return b.Own.String()
	default:
		return b.Own.String() + "," + b.Services.String()
	}
}

// IsValid reports whether there is such a network.
func (b Bound) IsValid() bool { return b.Own.IsValid() }

// Workload is the workload's own address.
func (b Bound) Workload() netip.Addr { return b.Own.Addr().Next() }

// Service is where the proxy listens for a virtual address; false when it does not.
func (b Bound) Service(virtual string) (netip.Addr, bool) {
	v, err := netip.ParseAddr(virtual)
	if err != nil || !b.Services.IsValid() || !b.Services.Contains(v) {
		return netip.Addr{}, false
	}
	at, bits := b.Own.Addr().As4(), v.As4()
	network := b.Services.Addr().As4()
	for i := range at {
		at[i] |= bits[i] &^ network[i]
	}
	a := netip.AddrFrom4(at)
	return a, a != b.Workload() && a != b.Own.Addr()
}

// Proxies' own ports (15000 to 15099) keep their number.
const proxyPorts = 15000

// BoundPort is where a proxy listens for a port. It is another one, so that a
// workload that takes its port on every address does not meet its own proxy; it
// is not privileged, not ephemeral, and easy to read: 80 is 20080, 9080 is 29080.
func BoundPort(port uint32) uint32 {
	switch {
	case port >= proxyPorts && port < proxyPorts+100:
		return port
	case port >= 20000 && port < 30000:
		return port - 10000
	default:
		return 20000 + port%10000
	}
}
