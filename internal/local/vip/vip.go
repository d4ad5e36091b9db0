// Package vip makes the virtual addresses of services work in a node, and sends
// connections to addresses outside of the mesh to the egress listener. It is
// what kube-proxy and the cluster's router do, written as nftables by netlink.
//
// Workloads with a sidecar do not need it for TCP (their sidecar has the
// endpoints); workloads without one, and UDP, do.
package vip

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Port is one port of a service.
type Port struct {
	Address   netip.AddrPort
	UDP       bool
	Endpoints []netip.AddrPort // ready ones; none: connecting fails at once
}

// Config is all rules of a node.
type Config struct {
	Bridge   string
	Pods     netip.Prefix // never redirected to the egress listener
	Services netip.Prefix // likewise
	Ports    []Port
	Egress   uint16 // local port for TCP to outside addresses; 0: unreachable
}

const (
	tableName = "mesh-services"
	reg       = 1
	reg2      = 2
)

// Apply makes the rules of c the only ones of ours in the calling thread's
// network namespace, in one transaction. Connections in progress go on.
func Apply(c Config) error {
	conn, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	table := &nftables.Table{Name: tableName, Family: nftables.TableFamilyIPv4}
	// Adding first makes the deletion valid when it was not there.
	conn.AddTable(table)
	conn.DelTable(table)
	table = conn.AddTable(table)
	services := conn.AddChain(&nftables.Chain{Name: "services", Table: table})
	for i, p := range c.Ports {
		if len(p.Endpoints) > 0 {
			addService(conn, table, services, i, p)
		}
	}
	base := func(name string, hook *nftables.ChainHook, priority *nftables.ChainPriority) *nftables.Chain {
		return conn.AddChain(&nftables.Chain{Name: name, Table: table, Type: nftables.ChainTypeNAT, Hooknum: hook, Priority: priority})
	}
	pre := base("prerouting", nftables.ChainHookPrerouting, nftables.ChainPriorityNATDest)
	out := base("output", nftables.ChainHookOutput, nftables.ChainPriorityNATDest)
	post := base("postrouting", nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource)
	for _, chain := range []*nftables.Chain{pre, out} {
		rule(conn, table, chain, inRange(c.Services, expr.CmpOpEq), jump("services"))
	}
	if c.Egress != 0 {
		rule(conn, table, pre, fromInterface(c.Bridge), tcp(), inRange(c.Pods, expr.CmpOpNeq), inRange(c.Services, expr.CmpOpNeq), redirect(c.Egress))
	}
	for _, ip := range hairpins(c.Ports) {
		// A pod that reaches itself through a service would drop a packet that
		// comes from its own address.
		rule(conn, table, post, address(12, ip), address(16, ip), []expr.Any{&expr.Masq{}})
	}
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("apply service rules: %w", err)
	}
	return nil
}

func rule(conn *nftables.Conn, table *nftables.Table, chain *nftables.Chain, parts ...[]expr.Any) {
	var all []expr.Any
	for _, p := range parts {
		all = append(all, p...)
	}
	conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: all})
}

// addService spreads connections evenly: the first endpoint takes one in n, the
// next one in n-1 of the rest, and so on.
func addService(conn *nftables.Conn, table *nftables.Table, services *nftables.Chain, i int, p Port) {
	name := fmt.Sprintf("service-%d", i)
	chain := conn.AddChain(&nftables.Chain{Name: name, Table: table})
	protocol := tcp()
	if p.UDP {
		protocol = udp()
	}
	rule(conn, table, services, protocol, address(16, p.Address.Addr()), port(p.Address.Port()), jump(name))
	for n, e := range p.Endpoints {
		rest := len(p.Endpoints) - n
		var chance []expr.Any
		if rest > 1 {
			chance = []expr.Any{
				&expr.Numgen{Register: reg, Type: unix.NFT_NG_RANDOM, Modulus: uint32(rest)},
				&expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: binary.NativeEndian.AppendUint32(nil, 0)},
			}
		}
		rule(conn, table, chain, protocol, chance, []expr.Any{
			&expr.Immediate{Register: reg, Data: e.Addr().AsSlice()},
			&expr.Immediate{Register: reg2, Data: binaryutil.BigEndian.PutUint16(e.Port())},
			&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: reg, RegProtoMin: reg2},
		})
	}
}

func hairpins(ports []Port) []netip.Addr {
	seen := map[netip.Addr]bool{}
	var all []netip.Addr
	for _, p := range ports {
		for _, e := range p.Endpoints {
			if !seen[e.Addr()] {
				seen[e.Addr()] = true
				all = append(all, e.Addr())
			}
		}
	}
	return all
}

func protocol(n byte) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: []byte{n}},
	}
}

func tcp() []expr.Any { return protocol(unix.IPPROTO_TCP) }
func udp() []expr.Any { return protocol(unix.IPPROTO_UDP) }

func port(p uint16) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: binaryutil.BigEndian.PutUint16(p)},
	}
}

// address compares the address at an offset of the IPv4 header: 12 source, 16 destination.
func address(at uint32, ip netip.Addr) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseNetworkHeader, Offset: at, Len: 4},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: ip.AsSlice()},
	}
}

// inRange compares the destination with a range.
func inRange(p netip.Prefix, op expr.CmpOp) []expr.Any {
	mask := binary.BigEndian.AppendUint32(nil, ^uint32(0)<<(32-p.Bits()))
	return []expr.Any{
		&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseNetworkHeader, Offset: 16, Len: 4},
		&expr.Bitwise{SourceRegister: reg, DestRegister: reg, Len: 4, Mask: mask, Xor: make([]byte, 4)},
		&expr.Cmp{Op: op, Register: reg, Data: p.Masked().Addr().AsSlice()},
	}
}

func fromInterface(name string) []expr.Any {
	b := make([]byte, unix.IFNAMSIZ)
	copy(b, name)
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: reg},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: b},
	}
}

func jump(chain string) []expr.Any {
	return []expr.Any{&expr.Verdict{Kind: expr.VerdictJump, Chain: chain}}
}

func redirect(p uint16) []expr.Any {
	return []expr.Any{
		&expr.Immediate{Register: reg, Data: binaryutil.BigEndian.PutUint16(p)},
		&expr.Redir{RegisterProtoMin: reg},
	}
}
