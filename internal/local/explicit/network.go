package explicit

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strconv"
	"syscall"

	"github.com/meshctl/meshctl/internal/local/network"
	"github.com/meshctl/meshctl/internal/local/vip"
	"github.com/meshctl/meshctl/internal/mesh"
)

// Ports of the node and of sidecars.
const (
	namesPort     = 15053
	httpProxyPort = 15007
)

// The second bytes that meshes may have: the lower ones are used by others, such
// as 127.0.0.53.
const (
	firstBlock = 16
	blocks     = 224
)

// Network implements network.Network.
type Network struct {
	block  byte
	udp    net.PacketConn
	tcp    net.Listener
	record *record
	dir    string
	relays *relays
}

// Open takes a network that no other mesh has, for the mesh whose files are in
// dir. Who is answered by name is the same the next time, if it is free then.
func Open(ctx context.Context, dir string, log *slog.Logger) (*Network, error) {
	h := fnv.New32a()
	fmt.Fprint(h, dir, os.Geteuid())
	start := h.Sum32()
	for i := range uint32(blocks) {
		n := &Network{block: byte(firstBlock + (start+i)%blocks), dir: dir, record: newRecord(dir), relays: newRelays(log)}
		err := n.claim(ctx)
		if err == nil {
			return n, nil
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			return nil, fmt.Errorf("take loopback network %s: %w", n.network(0), err)
		}
	}
	return nil, fmt.Errorf("port %d is in use on every loopback network: other meshes have them, or a program has the port on all addresses", namesPort)
}

// claim opens the name server's sockets; that they can be opened once only is
// what makes the network ours.
func (n *Network) claim(ctx context.Context) error {
	var lc net.ListenConfig
	address := netip.AddrPortFrom(n.Gateway(), namesPort).String()
	var err error
	if n.tcp, err = lc.Listen(ctx, "tcp4", address); err != nil {
		return err
	}
	if n.udp, err = lc.ListenPacket(ctx, "udp4", address); err != nil {
		n.tcp.Close()
		return err
	}
	return nil
}

// network is the n-th of the mesh's: 0 is the node's and services', others pods'.
func (n *Network) network(i byte) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{127, n.block, i, 0}), 24)
}

// bound is where the sidecar of a pod listens.
func (n *Network) bound(pod netip.Addr) mesh.Bound {
	return mesh.Bound{Own: n.network(pod.As4()[2]), Services: n.network(0)}
}

// Mode implements network.Network.
func (n *Network) Mode() network.Mode { return network.Explicit }

// Gateway implements network.Network.
func (n *Network) Gateway() netip.Addr { return netip.AddrFrom4([4]byte{127, n.block, 0, 1}) }

// Services implements network.Network.
func (n *Network) Services() netip.Prefix { return n.network(0) }

// maxPods bounds a mesh: each pod has a network of 256 addresses.
const maxPods = 254

// PodAddress implements network.Network.
func (n *Network) PodAddress(i int) (netip.Addr, bool) {
	if i < 0 || i >= maxPods {
		return netip.Addr{}, false
	}
	return n.network(byte(i + 1)).Addr().Next(), true
}

// Serve implements network.Network.
func (n *Network) Serve(ctx context.Context) (net.PacketConn, net.Listener, error) {
	n.relays.start(ctx)
	return n.udp, n.tcp, nil
}

// Route implements network.Network.
func (n *Network) Route(ports []vip.Port) error { return n.relays.set(ports) }

// PodPort implements network.Network: a sidecar listens beside the program.
func (n *Network) PodPort(port int32, proxied bool) int32 {
	if !proxied {
		return port
	}
	return int32(mesh.BoundPort(uint32(port)))
}

// ProxyVariables implements network.Network.
func (n *Network) ProxyVariables(ip netip.Addr) map[string]string {
	at := func(port uint16) string { return netip.AddrPortFrom(ip, port).String() }
	return map[string]string{
		"MESH_BOUND":                   n.bound(ip).String(),
		"ISTIO_META_INTERCEPTION_MODE": mesh.InterceptNone,
		"ISTIO_META_HTTP_PROXY_PORT":   strconv.Itoa(httpProxyPort),
		"ISTIO_META_DNS_CAPTURE":       "false",
		"MESH_SO_MARK":                 "0",
		"MESH_ADMIN_ADDR":              at(15000),
		"MESH_STATUS_ADDR":             at(15020),
		"MESH_HEALTH_ADDR":             at(15021),
		"MESH_PROMETHEUS_ADDR":         at(15090),
		"MESH_DNS_UPSTREAMS":           netip.AddrPortFrom(n.Gateway(), namesPort).String(),
	}
}
