// Package namespaced connects pods by network namespaces: each has an address, a
// file tree and a name server of its own, and its traffic is redirected to its
// sidecar, whatever its program does.
package namespaced

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"sync"

	corev1 "k8s.io/api/core/v1"

	"github.com/meshctl/meshctl/internal/capture"
	"github.com/meshctl/meshctl/internal/local/network"
	"github.com/meshctl/meshctl/internal/local/node"
	"github.com/meshctl/meshctl/internal/local/vip"
)

// Network implements network.Network in a node that is set up (node.Setup).
type Network struct {
	plan node.Network
	// egress takes connections to addresses outside of the mesh, until ctx ends; nil
	// when there are none.
	egress func(ctx context.Context, ln net.Listener)

	mu     sync.Mutex
	port   uint16 // of egress
	routes string // applied last, as text
}

// New makes the network of a plan. egress takes connections to outside
// addresses; nil: they are not reached.
func New(plan node.Network, egress func(context.Context, net.Listener)) *Network {
	return &Network{plan: plan, egress: egress, routes: "none yet"}
}

// Mode implements network.Network.
func (n *Network) Mode() network.Mode { return network.Namespaces }

// Gateway implements network.Network.
func (n *Network) Gateway() netip.Addr { return n.plan.Gateway.Addr() }

// Services implements network.Network.
func (n *Network) Services() netip.Prefix { return n.plan.Services }

// ownAddresses are the first of the pods' range: the node's.
const ownAddresses = 256

// PodAddress implements network.Network. Addresses that end in 0 or 255 are left
// out: many take them for a network's.
func (n *Network) PodAddress(i int) (netip.Addr, bool) {
	base := n.plan.Gateway.Masked().Addr().As4()
	at := uint64(ownAddresses) + uint64(i)/254*256 + uint64(i)%254 + 1
	if i < 0 || at >= 1<<(32-n.plan.Gateway.Bits()) {
		return netip.Addr{}, false
	}
	binary.BigEndian.PutUint32(base[:], binary.BigEndian.Uint32(base[:])+uint32(at))
	return netip.AddrFrom4(base), true
}

// Serve implements network.Network.
func (n *Network) Serve(ctx context.Context) (net.PacketConn, net.Listener, error) {
	var lc net.ListenConfig
	address := net.JoinHostPort(n.Gateway().String(), "53")
	udp, err := lc.ListenPacket(ctx, "udp4", address)
	if err != nil {
		return nil, nil, fmt.Errorf("start name server: %w", err)
	}
	tcp, err := lc.Listen(ctx, "tcp4", address)
	if err != nil {
		udp.Close()
		return nil, nil, fmt.Errorf("start name server: %w", err)
	}
	if n.egress != nil {
		ln, err := lc.Listen(ctx, "tcp4", net.JoinHostPort(n.Gateway().String(), "0"))
		if err != nil {
			udp.Close()
			tcp.Close()
			return nil, nil, fmt.Errorf("start egress listener: %w", err)
		}
		n.mu.Lock()
		n.port = uint16(ln.Addr().(*net.TCPAddr).Port)
		n.mu.Unlock()
		go n.egress(ctx, ln)
	}
	return udp, tcp, n.Route(nil)
}

// Route implements network.Network.
func (n *Network) Route(ports []vip.Port) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	text := fmt.Sprint(ports)
	if n.routes == text {
		return nil
	}
	err := vip.Apply(vip.Config{
		Bridge: n.plan.Bridge, Pods: n.plan.Gateway.Masked(), Services: n.plan.Services, Ports: ports, Egress: n.port,
	})
	if err == nil {
		n.routes = text
	}
	return err
}

// PodPort implements network.Network.
func (n *Network) PodPort(port int32, _ bool) int32 { return port }

// Variables implements network.Network: nothing has to be said to programs.
func (n *Network) Variables(netip.Addr, bool, []*corev1.Service) []string { return nil }

// ProxyVariables implements network.Network.
func (n *Network) ProxyVariables(netip.Addr) map[string]string { return nil }

// sandbox is a pod's namespaces.
type sandbox struct{ *node.Sandbox }

// NewSandbox implements network.Network.
func (n *Network) NewSandbox(c network.SandboxConfig) (network.Sandbox, error) {
	box, err := node.NewSandbox(node.SandboxConfig{
		Name: c.Name, Hostname: c.Hostname, IP: c.IP, Network: n.plan, Dir: c.Dir, HideDir: c.HideDir,
		Mounts: c.Mounts, Programs: c.Programs, HostEntries: c.HostEntries, Nameservers: []netip.Addr{n.Gateway()}, Search: c.Search,
	})
	if err != nil {
		return nil, err
	}
	if c.Capture != nil {
		// Before anything runs in the pod: a rule that comes late lets traffic by.
		if err := box.InNet(func() error { return capture.Apply(*c.Capture) }); err != nil {
			box.Close()
			return nil, err
		}
	}
	return sandbox{box}, nil
}

// Explain implements network.Sandbox: in a namespace ports are a pod's own.
func (sandbox) Explain([]uint16) string { return "" }
