// Package node is the machine that a cluster runs on, cut out of the one it is
// started on: a network namespace joined to the host by a veth pair, a mount
// namespace with folders of its own where a node's programs keep their things, and
// a branch of every cgroup hierarchy. All that runs in it, containers and what
// looks after them included, is in its cgroup: that is how it ends completely,
// whoever died before.
package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Node is given by its name and the number of its link. It has no state of its
// own besides what the kernel and the folder have.
type Node struct {
	Name   string // of the namespace and the cgroups; at most 12 characters
	Folder string // for everything on disk; removed at the end
	Link   int    // which subnet joins it to the host
	IPv6   bool   // the link has IPv6 as well
}

// Address is the node's on its link, HostAddress the other end's.
func (n Node) Address() netip.Addr { return netip.AddrFrom4([4]byte{10, 201, byte(n.Link), 2}) }

// HostAddress is the host's end of the link.
func (n Node) HostAddress() netip.Addr { return netip.AddrFrom4([4]byte{10, 201, byte(n.Link), 1}) }

// LoadBalancers are the addresses that the host reaches through the node.
func (n Node) LoadBalancers() netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 202, byte(n.Link), 0}), 24)
}

// Address6 is the node's IPv6 address on its link.
func (n Node) Address6() netip.Addr { return local6(201, byte(n.Link), 2) }

// HostAddress6 is the IPv6 address of the host's end.
func (n Node) HostAddress6() netip.Addr { return local6(201, byte(n.Link), 1) }

// LoadBalancers6 is LoadBalancers for IPv6.
func (n Node) LoadBalancers6() netip.Prefix {
	return netip.PrefixFrom(local6(202, byte(n.Link), 0), 112)
}

// local6 is a unique local address (RFC 4193) whose last bytes read as the IPv4
// address 10.a.b.c would: fd01::a:b:c.
func local6(a, b, c byte) netip.Addr {
	hex := func(n byte) string { return strconv.Itoa(int(n)) }
	return netip.MustParseAddr("fd01::" + hex(a) + ":" + hex(b) + ":" + hex(c))
}

// FreeLink finds a subnet that no interface of this machine has.
func FreeLink(ctx context.Context) (int, error) {
	out, err := exec.CommandContext(ctx, "ip", "-o", "-4", "addr").Output()
	if err != nil {
		return 0, fmt.Errorf("listing addresses: %w", err)
	}
	for i := 1; i < 255; i++ {
		if !strings.Contains(string(out), fmt.Sprintf(" 10.201.%d.", i)) {
			return i, nil
		}
	}
	return 0, errors.New("all of 10.201.0.0/16 is taken")
}

// Make creates namespaces, link and cgroups. The folder is the caller's.
func (n Node) Make(ctx context.Context) error {
	host, inside := "veth-"+n.Name, "eth0"
	commands := []string{
		"ip netns add " + n.Name,
		"ip link add " + host + " type veth peer name " + inside + " netns " + n.Name,
		"ip addr add " + n.HostAddress().String() + "/30 dev " + host,
		"ip link set " + host + " up",
		"ip route add " + n.LoadBalancers().String() + " via " + n.Address().String(),
		"ip -n " + n.Name + " addr add " + n.Address().String() + "/30 dev " + inside,
		"ip -n " + n.Name + " link set " + inside + " up",
		"ip -n " + n.Name + " link set lo up",
		"ip -n " + n.Name + " route add default via " + n.HostAddress().String(),
	}
	if n.IPv6 {
		// Nobody else is on the link, so there is no duplicate to look for.
		commands = append(commands,
			"ip addr add "+n.HostAddress6().String()+"/112 dev "+host+" nodad",
			"ip -n "+n.Name+" addr add "+n.Address6().String()+"/112 dev "+inside+" nodad",
			"ip route add "+n.LoadBalancers6().String()+" via "+n.Address6().String(),
			"ip -n "+n.Name+" route add default via "+n.HostAddress6().String())
	}
	for _, c := range commands {
		if err := run(ctx, strings.Fields(c)...); err != nil {
			return err
		}
	}
	if err := n.makeMounts(ctx); err != nil {
		return err
	}
	forward := []string{"sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding || true"}
	if err := run(ctx, n.inside(forward)...); err != nil {
		return err
	}
	return n.makeCgroups()
}

// Connect joins two nodes by a link of their own, over which each reaches the other,
// the addresses of its load balancers, and its pods, unless both have theirs in one range:
// then they are networks apart.
func (n Node) Connect(ctx context.Context, other Node, pods, otherPods string) error {
	here := netip.AddrFrom4([4]byte{10, 203, byte(n.Link), byte(other.Link)})
	there := netip.AddrFrom4([4]byte{10, 203, byte(other.Link), byte(n.Link)})
	ends := [2]string{fmt.Sprintf("peer%d", other.Link), fmt.Sprintf("peer%d", n.Link)}
	commands := []string{"ip -n " + n.Name + " link add " + ends[0] + " type veth peer name " + ends[1] + " netns " + other.Name}
	for _, side := range []struct {
		from, to Node
		dev      string
		own, via netip.Addr
		pods     string
	}{{n, other, ends[0], here, there, otherPods}, {other, n, ends[1], there, here, pods}} {
		ip := "ip -n " + side.from.Name + " "
		commands = append(commands,
			ip+"addr add "+side.own.String()+" peer "+side.via.String()+" dev "+side.dev,
			ip+"link set "+side.dev+" up")
		reached := []string{side.to.Address().String(), side.to.LoadBalancers().String()}
		if pods != otherPods {
			reached = append(reached, side.pods)
		}
		for _, to := range reached {
			commands = append(commands, ip+"route add "+to+" via "+side.via.String())
		}
	}
	for _, c := range commands {
		if err := run(ctx, strings.Fields(c)...); err != nil {
			return err
		}
	}
	return nil
}

// inside is the command that runs args in the namespaces. It is not `ip netns
// exec`, which mounts another /sys, in which kubelet finds no cgroups.
func (n Node) inside(args []string) []string {
	return append([]string{"nsenter", "--net=/run/netns/" + n.Name, "--mount=" + n.mountNamespace(), "--"}, args...)
}

// Start runs a program in the node that outlives this one; what it prints goes to
// log/NAME.log in the folder.
func (n Node) Start(name string, args ...string) error {
	log, err := os.OpenFile(filepath.Join(n.Folder, "log", name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	const enter = `echo $$ >"$0" && exec "$@"`
	procs := filepath.Join(n.daemons(), "cgroup.procs")
	cmd := exec.Command("sh", append([]string{"-c", enter, procs}, n.inside(args)...)...) //nolint:noctx // it is to go on after this program
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Dir = n.Folder
	cmd.SysProcAttr = ownSession()
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting %s: %w", name, err)
	}
	pid := fmt.Sprintln(cmd.Process.Pid)
	if err := os.WriteFile(filepath.Join(n.Folder, "log", name+".pid"), []byte(pid), 0o600); err != nil {
		return err
	}
	return cmd.Process.Release()
}

// Run runs a program in the node and waits for it.
func (n Node) Run(ctx context.Context, stdin io.Reader, args ...string) error {
	return runWith(ctx, stdin, n.inside(args)...)
}

// End kills everything that runs in the node and takes away what Make made. It is
// the same after a crash, and does nothing the second time. The folder stays.
func (n Node) End(ctx context.Context) error {
	err := n.killAll(ctx)
	err = errors.Join(err, unmountBelow(n.Folder))
	err = errors.Join(err, n.removeCgroups())
	if _, statErr := os.Stat("/run/netns/" + n.Name); statErr == nil {
		// The link is gone with the last process of the namespace, or now.
		err = errors.Join(err, run(ctx, "ip", "netns", "delete", n.Name))
	}
	if _, statErr := os.Stat("/sys/class/net/veth-" + n.Name); statErr == nil {
		if linkErr := run(ctx, "ip", "link", "delete", "veth-"+n.Name); linkErr != nil && exists("/sys/class/net/veth-"+n.Name) {
			err = errors.Join(err, linkErr)
		}
	}
	return err
}

func exists(path string) bool { _, err := os.Stat(path); return err == nil }

func run(ctx context.Context, args ...string) error { return runWith(ctx, nil, args...) }

func runWith(ctx context.Context, stdin io.Reader, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Stdin = stdin
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
