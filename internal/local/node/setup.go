package node

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Network is the address plan of a node. It lives in a namespace of its own, so
// it clashes with nothing on the host.
type Network struct {
	Bridge   string       // name of the bridge, at most 15 bytes
	Gateway  netip.Prefix // the node's own address and the range of all pods
	Services netip.Prefix // virtual addresses of services
}

// DefaultNetwork is the usual plan of a Kubernetes cluster.
func DefaultNetwork() Network {
	return Network{
		Bridge:   "mesh0",
		Gateway:  netip.MustParsePrefix("10.244.0.1/16"),
		Services: netip.MustParsePrefix("10.96.0.0/16"),
	}
}

// Setup makes the namespaces this process was started in (see Attributes) a
// node: private mounts, its own /proc, host name, loopback, bridge, forwarding.
// Call it once, first, in process 1 of the PID namespace.
func Setup(n Network, hostname string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	if err := unix.Sethostname([]byte(hostname)); err != nil {
		return fmt.Errorf("set host name %q: %w", hostname, err)
	}
	if err := setUp("lo"); err != nil {
		return err
	}
	// Without an address of its own a bridge takes the lowest of its ports', and so
	// another one as pods come and go: those who know the old one send into the void.
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: n.Bridge, HardwareAddr: hardwareAddress(n.Gateway.Addr())}}
	if err := netlink.LinkAdd(bridge); err != nil {
		return fmt.Errorf("make bridge %s: %w", n.Bridge, err)
	}
	if err := netlink.AddrAdd(bridge, &netlink.Addr{IPNet: ipNet(n.Gateway)}); err != nil {
		return fmt.Errorf("give bridge %s the address %s: %w", n.Bridge, n.Gateway, err)
	}
	if err := setUp(n.Bridge); err != nil {
		return err
	}
	return sysctls(map[string]string{
		// Pods reach one another through the node, which translates service
		// addresses on the way; a redirect message would short-cut it.
		"net/ipv4/ip_forward":                           "1",
		"net/ipv4/conf/all/send_redirects":              "0",
		"net/ipv4/conf/" + n.Bridge + "/send_redirects": "0",
		"net/ipv4/conf/default/send_redirects":          "0",
		"net/ipv4/conf/all/rp_filter":                   "0",
		// Where the kernel has this, it would translate already inside the
		// bridge, which then cannot send a packet back to where it came from.
		"net/bridge/bridge-nf-call-iptables":  "0",
		"net/bridge/bridge-nf-call-ip6tables": "0",
		"net/bridge/bridge-nf-call-arptables": "0",
	})
}

func setUp(name string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find interface %s: %w", name, err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("bring up %s: %w", name, err)
	}
	return nil
}

// sysctls writes kernel settings of the calling thread's network namespace.
func sysctls(values map[string]string) error {
	for name, value := range values {
		err := os.WriteFile("/proc/sys/"+name, []byte(value), 0)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("set %s=%s: %w", name, value, err)
		}
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
