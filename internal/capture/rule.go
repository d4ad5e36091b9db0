package capture

import "net/netip"

// Family is the IP version a table is for.
type Family int

// Families.
const (
	IPv4 Family = 4
	IPv6 Family = 6
)

// Protocol is what a rule looks at; empty matches all.
type Protocol string

// Protocols.
const (
	TCP Protocol = "tcp"
	UDP Protocol = "udp"
)

// Owner says who sent a packet.
type Owner struct {
	Kind OwnerKind
	ID   uint32
}

// OwnerKind is what an Owner is recognised by.
type OwnerKind string

// Kinds of owner.
const (
	ByUID  OwnerKind = "uid"
	ByGID  OwnerKind = "gid"
	ByMark OwnerKind = "mark"
)

// Match is a condition; all fields that are set must hold.
type Match struct {
	In, Out    string // interface names
	Protocol   Protocol
	Src, Dst   netip.Prefix
	NotDst     netip.Prefix
	SrcPort    uint16
	DstPort    uint16
	NotDstPort uint16
	Owner      *Owner
}

// Action is what happens to a packet that matches; exactly one is set.
type Action struct {
	Return     bool
	Jump       string // chain
	RedirectTo uint16 // local port
	Zone       uint16 // connection tracking zone
}

// Rule is one line of a chain.
type Rule struct {
	Match  Match
	Action Action
}

// Hook is where a chain is called by the kernel.
type Hook string

// Hooks, under iptables' names.
const (
	Prerouting Hook = "PREROUTING"
	Output     Hook = "OUTPUT"
)

// Chain is a list of rules, tried in order. One with a Hook is called by the
// kernel; its Name is then the hook's.
type Chain struct {
	Name  string
	Hook  Hook
	Rules []Rule
}

// TableKind is what a table may do.
type TableKind string

// Kinds of table.
const (
	NAT TableKind = "nat"
	Raw TableKind = "raw"
)

// Table is the chains of one kind for one IP version.
type Table struct {
	Family Family
	Kind   TableKind
	Chains []Chain
}

func returns(m Match) Rule               { return Rule{m, Action{Return: true}} }
func jump(m Match, chain string) Rule    { return Rule{m, Action{Jump: chain}} }
func redirect(m Match, port uint16) Rule { return Rule{m, Action{RedirectTo: port}} }
func zone(m Match, z uint16) Rule        { return Rule{m, Action{Zone: z}} }
