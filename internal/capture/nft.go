package capture

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// tableName is ours alone; other rules in the namespace are left as they are.
const tableName = "mesh-capture"

// Apply makes the rules of c the only ones of ours in the calling thread's
// network namespace, in one transaction. Applying twice is the same as once.
// It needs CAP_NET_ADMIN over the namespace.
func Apply(c Config) error {
	tables, err := Tables(c)
	if err != nil {
		return err
	}
	conn, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	byFamily := map[Family]*nftables.Table{}
	for _, f := range []Family{IPv4, IPv6} {
		// Both are replaced, so that turning IPv6 off takes its rules away.
		byFamily[f] = replaceTable(conn, f, f == IPv4 || c.IPv6)
	}
	for _, t := range tables {
		addChains(conn, byFamily[t.Family], t)
	}
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("apply capture rules: %w", err)
	}
	return nil
}

// Delete takes all our rules away from the calling thread's network namespace.
// It is no error when there are none.
func Delete() error {
	conn, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	for _, f := range []Family{IPv4, IPv6} {
		replaceTable(conn, f, false)
	}
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("delete capture rules: %w", err)
	}
	return nil
}

// replaceTable leaves an empty table, or none. Adding first makes the deletion
// valid when it was not there.
func replaceTable(conn *nftables.Conn, f Family, keep bool) *nftables.Table {
	t := &nftables.Table{Name: tableName, Family: nftables.TableFamilyIPv4}
	if f == IPv6 {
		t.Family = nftables.TableFamilyIPv6
	}
	conn.AddTable(t)
	conn.DelTable(t)
	if !keep {
		return nil
	}
	return conn.AddTable(t)
}

func addChains(conn *nftables.Conn, table *nftables.Table, t Table) {
	chains := make([]*nftables.Chain, len(t.Chains))
	for i, c := range t.Chains {
		chains[i] = conn.AddChain(nftChain(table, t.Kind, c))
	}
	for i, c := range t.Chains {
		for _, r := range c.Rules {
			conn.AddRule(&nftables.Rule{Table: table, Chain: chains[i], Exprs: expressions(t.Family, r)})
		}
	}
}

func nftChain(table *nftables.Table, kind TableKind, c Chain) *nftables.Chain {
	if c.Hook == "" {
		return &nftables.Chain{Name: c.Name, Table: table}
	}
	chain := &nftables.Chain{Name: string(kind) + "-" + c.Name, Table: table, Type: nftables.ChainTypeNAT}
	switch c.Hook {
	case Prerouting:
		chain.Hooknum, chain.Priority = nftables.ChainHookPrerouting, nftables.ChainPriorityNATDest
	case Output:
		chain.Hooknum, chain.Priority = nftables.ChainHookOutput, nftables.ChainPriorityNATDest
	}
	if kind == Raw {
		chain.Type, chain.Priority = nftables.ChainTypeFilter, nftables.ChainPriorityRaw
	}
	return chain
}

const reg = 1 // the register all comparisons use

// expressions compiles a rule: each condition loads a register and compares it.
func expressions(f Family, r Rule) []expr.Any {
	var e []expr.Any
	load := func(key expr.MetaKey) { e = append(e, &expr.Meta{Key: key, Register: reg}) }
	compare := func(op expr.CmpOp, data []byte) { e = append(e, &expr.Cmp{Op: op, Register: reg, Data: data}) }
	port := func(offset uint32, op expr.CmpOp, p uint16) {
		e = append(e, &expr.Payload{DestRegister: reg, Base: expr.PayloadBaseTransportHeader, Offset: offset, Len: 2})
		compare(op, binaryutil.BigEndian.PutUint16(p))
	}
	m := r.Match
	if m.In != "" {
		load(expr.MetaKeyIIFNAME)
		compare(expr.CmpOpEq, interfaceName(m.In))
	}
	if m.Out != "" {
		load(expr.MetaKeyOIFNAME)
		compare(expr.CmpOpEq, interfaceName(m.Out))
	}
	if m.Protocol != "" {
		load(expr.MetaKeyL4PROTO)
		compare(expr.CmpOpEq, []byte{protocolNumber(m.Protocol)})
	}
	if m.Src.IsValid() {
		e = append(e, address(f, false, expr.CmpOpEq, m.Src)...)
	}
	if m.Dst.IsValid() {
		e = append(e, address(f, true, expr.CmpOpEq, m.Dst)...)
	}
	if m.NotDst.IsValid() {
		e = append(e, address(f, true, expr.CmpOpNeq, m.NotDst)...)
	}
	if m.SrcPort != 0 {
		port(0, expr.CmpOpEq, m.SrcPort)
	}
	if m.DstPort != 0 {
		port(2, expr.CmpOpEq, m.DstPort)
	}
	if m.NotDstPort != 0 {
		port(2, expr.CmpOpNeq, m.NotDstPort)
	}
	if m.Owner != nil {
		keys := map[OwnerKind]expr.MetaKey{ByUID: expr.MetaKeySKUID, ByGID: expr.MetaKeySKGID, ByMark: expr.MetaKeyMARK}
		load(keys[m.Owner.Kind])
		compare(expr.CmpOpEq, binary.NativeEndian.AppendUint32(nil, m.Owner.ID))
	}
	return append(e, action(r.Action)...)
}

func action(a Action) []expr.Any {
	switch {
	case a.Jump != "":
		return []expr.Any{&expr.Verdict{Kind: expr.VerdictJump, Chain: a.Jump}}
	case a.RedirectTo != 0:
		return []expr.Any{
			&expr.Immediate{Register: reg, Data: binaryutil.BigEndian.PutUint16(a.RedirectTo)},
			&expr.Redir{RegisterProtoMin: reg},
		}
	case a.Zone != 0:
		return []expr.Any{
			&expr.Immediate{Register: reg, Data: binary.NativeEndian.AppendUint16(nil, a.Zone)},
			&expr.Ct{Key: expr.CtKeyZONE, Register: reg, SourceRegister: true},
		}
	default:
		return []expr.Any{&expr.Verdict{Kind: expr.VerdictReturn}}
	}
}

// address compares the source or destination address with a range.
func address(f Family, dst bool, op expr.CmpOp, p netip.Prefix) []expr.Any {
	size, offset := uint32(4), uint32(12) // RFC 791 section 3.1
	if f == IPv6 {
		size, offset = 16, 8 // RFC 8200 section 3
	}
	if dst {
		offset += size
	}
	e := []expr.Any{&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: size}}
	if p.Bits() < int(size)*8 {
		e = append(e, &expr.Bitwise{
			SourceRegister: reg, DestRegister: reg, Len: size,
			Mask: mask(p.Bits(), int(size)), Xor: make([]byte, size),
		})
	}
	return append(e, &expr.Cmp{Op: op, Register: reg, Data: p.Masked().Addr().AsSlice()})
}

func mask(bits, size int) []byte {
	m := make([]byte, size)
	for i := range bits {
		m[i/8] |= 0x80 >> (i % 8)
	}
	return m
}

// interfaceName is a name as the kernel compares it: IFNAMSIZ bytes.
func interfaceName(name string) []byte {
	b := make([]byte, unix.IFNAMSIZ)
	copy(b, name)
	return b
}

func protocolNumber(p Protocol) byte {
	if p == UDP {
		return unix.IPPROTO_UDP
	}
	return unix.IPPROTO_TCP
}

// Applied reports whether rules of ours are in the calling thread's network namespace.
func Applied() (bool, error) {
	conn, err := nftables.New()
	if err != nil {
		return false, fmt.Errorf("open nftables: %w", err)
	}
	tables, err := conn.ListTablesOfFamily(nftables.TableFamilyIPv4)
	if err != nil {
		return false, fmt.Errorf("list tables: %w", err)
	}
	for _, t := range tables {
		if t.Name == tableName {
			return true, nil
		}
	}
	return false, nil
}
