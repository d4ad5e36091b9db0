package node

import (
	"context"
	"fmt"
	"hash/fnv"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// SandboxConfig describes the namespaces of one pod.
type SandboxConfig struct {
	Name        string // "namespace/pod", for messages and the interface name
	Hostname    string
	IP          netip.Addr
	Network     Network
	Dir         string   // the pod's own directory, absolute; seen at the same path inside
	HideDir     string   // a directory that contains Dir and whose other content the pod must not see; may be ""
	Files       []File   // files laid over the tree
	Mounts      []Mount  // directories laid over the tree
	Programs    []string // files that are started, also where Mounts hide them
	Sysctls     map[string]string
	HostEntries map[string]netip.Addr // extra lines of /etc/hosts
	Nameservers []netip.Addr
	Search      []string
}

// File is a file of the pod's own at Path, with the given content.
type File struct {
	Path    string
	Content []byte
	Mode    os.FileMode
}

// Mount shows a directory or file at Path.
type Mount struct {
	Path     string
	Source   string // what to show, as the pod sees it; "" for an empty directory in memory
	ReadOnly bool
	SizeMB   int // limit for one in memory; 0: the kernel's default
}

// Sandbox is the namespaces of one pod. Close frees them.
type Sandbox struct {
	cfg   SandboxConfig
	ns    handles
	plain handles // ns, but with a tree without the pod's volumes
	// programs are where those are that volumes hide.
	programs map[string]string
	once     sync.Once
}

// NewSandbox makes namespaces, interface and file tree of a pod. The caller
// must be in the node (see Setup).
func NewSandbox(cfg SandboxConfig) (*Sandbox, error) {
	if err := os.MkdirAll(filepath.Join(cfg.Dir, "root"), 0o700); err != nil {
		return nil, fmt.Errorf("make directory of pod %s: %w", cfg.Name, err)
	}
	if err := writeEtc(cfg); err != nil {
		return nil, err
	}
	s := &Sandbox{cfg: cfg}
	err := OnThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC); err != nil {
			return fmt.Errorf("make namespaces: %w", err)
		}
		if err := unix.Sethostname([]byte(cfg.Hostname)); err != nil {
			return fmt.Errorf("set host name: %w", err)
		}
		t, err := buildTree(cfg)
		if err != nil {
			return err
		}
		if s.plain, err = openHandles(); err != nil {
			return err
		}
		if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("make mount namespace: %w", err)
		}
		if s.programs, err = t.keepPrograms(cfg); err != nil {
			return err
		}
		if err := t.addVolumes(cfg.Mounts); err != nil {
			return err
		}
		s.ns, err = openHandles()
		return err
	})
	if err != nil {
		s.plain.close()
		return nil, fmt.Errorf("make sandbox of pod %s: %w", cfg.Name, err)
	}
	if err := s.connect(); err != nil {
		s.Close()
		return nil, fmt.Errorf("connect pod %s: %w", cfg.Name, err)
	}
	return s, nil
}

// linkName is the node-side name of the pod's interface: "veth" and a hash, as
// names are limited to 15 bytes.
func linkName(pod string, ip netip.Addr) string {
	h := fnv.New32a()
	h.Write([]byte(pod))
	h.Write(ip.AsSlice())
	return "veth" + strconv.FormatUint(uint64(h.Sum32()), 16)
}

// connect gives the pod eth0. The pod has a single address without a network
// around it: all traffic passes the node, which translates service addresses
// in both directions.
func (s *Sandbox) connect() error {
	bridge, err := netlink.LinkByName(s.cfg.Network.Bridge)
	if err != nil {
		return fmt.Errorf("find bridge: %w", err)
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = linkName(s.cfg.Name, s.cfg.IP)
	attrs.MasterIndex = bridge.Attrs().Index
	veth := &netlink.Veth{
		LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsFd(s.ns.net.Fd()), PeerHardwareAddr: hardwareAddress(s.cfg.IP),
	}
	if err := netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("make interface pair: %w", err)
	}
	if err := setUp(attrs.Name); err != nil {
		return err
	}
	return s.InNet(s.configureInterfaces)
}

// hardwareAddress is the same for every pod that gets an address: the node goes on
// sending to the one that it knows for some ten seconds after the address went to
// another pod.
func hardwareAddress(ip netip.Addr) net.HardwareAddr {
	v4 := ip.As4()
	return append(net.HardwareAddr{0x0a, 0x58}, v4[:]...) // locally administered, as container network plugins have it
}

func (s *Sandbox) configureInterfaces() error {
	if err := setUp("lo"); err != nil {
		return err
	}
	eth, err := netlink.LinkByName("eth0")
	if err != nil {
		return fmt.Errorf("find eth0: %w", err)
	}
	if err := netlink.AddrAdd(eth, &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(s.cfg.IP, 32))}); err != nil {
		return fmt.Errorf("give eth0 the address %s: %w", s.cfg.IP, err)
	}
	if err := setUp("eth0"); err != nil {
		return err
	}
	gateway := s.cfg.Network.Gateway.Addr()
	onLink := &netlink.Route{LinkIndex: eth.Attrs().Index, Scope: netlink.SCOPE_LINK, Dst: ipNet(netip.PrefixFrom(gateway, 32))}
	if err := netlink.RouteAdd(onLink); err != nil {
		return fmt.Errorf("add route to the node: %w", err)
	}
	if err := netlink.RouteAdd(&netlink.Route{LinkIndex: eth.Attrs().Index, Gw: gateway.AsSlice()}); err != nil {
		return fmt.Errorf("add default route: %w", err)
	}
	settings := map[string]string{
		// Containers of a pod may use any port and ping without being root.
		"net/ipv4/ip_unprivileged_port_start": "0",
		"net/ipv4/ping_group_range":           "0 0",
	}
	maps.Copy(settings, s.cfg.Sysctls)
	return sysctls(settings)
}

// IP is the pod's address.
func (s *Sandbox) IP() netip.Addr { return s.cfg.IP }

// Do runs fn inside all namespaces of the pod. fn must not start goroutines
// that depend on them. Calls may run at the same time.
func (s *Sandbox) Do(fn func() error) error { return inside(s.ns, fn) }

func inside(ns handles, fn func() error) error {
	return OnThread(func() error {
		if err := ns.enter(); err != nil {
			return err
		}
		return fn()
	})
}

// InNet runs fn in the pod's network namespace only; the file tree is the node's.
func (s *Sandbox) InNet(fn func() error) error {
	return OnThread(func() error {
		if err := s.ns.enterNet(); err != nil {
			return err
		}
		return fn()
	})
}

// Dial opens a connection from inside the pod to a literal address.
func (s *Sandbox) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	if _, err := netip.ParseAddrPort(address); err != nil {
		return nil, fmt.Errorf("dial %s in pod %s: want a literal ip:port: %w", address, s.cfg.Name, err)
	}
	var conn net.Conn
	err := s.InNet(func() error {
		var err error
		d := net.Dialer{Timeout: 30 * time.Second}
		conn, err = d.DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// Close frees the namespaces once no process is left in them. End the processes first.
func (s *Sandbox) Close() {
	s.once.Do(func() {
		if link, err := netlink.LinkByName(linkName(s.cfg.Name, s.cfg.IP)); err == nil {
			// The kernel also removes it with the namespace, but some time later.
			_ = netlink.LinkDel(link)
		}
		s.ns.close()
		s.plain.close()
	})
}
