package capture

import "net/netip"

// Chains, under the names Istio gives them: people look for these.
const (
	chainInbound     = "ISTIO_INBOUND"
	chainInRedirect  = "ISTIO_IN_REDIRECT"
	chainOutput      = "ISTIO_OUTPUT"
	chainOutRedirect = "ISTIO_REDIRECT"
	chainDNS         = "ISTIO_OUTPUT_DNS"
)

const dnsPort = 53

// Connection tracking zones that keep the sidecar's DNS questions apart from
// the workload's, which may use the same ports at both ends.
const (
	zoneProxy = 1
	zoneApp   = 2
)

// Tables returns the rules for c: for IPv4 and, if asked for, IPv6. Mode None
// has none.
func Tables(c Config) ([]Table, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if c.Mode == None {
		return nil, nil
	}
	families := []Family{IPv4}
	if c.IPv6 {
		families = append(families, IPv6)
	}
	var tables []Table
	for _, f := range families {
		b := builder{Config: c, family: f}
		tables = append(tables, b.nat())
		if c.DNSCapture {
			tables = append(tables, b.raw())
		}
	}
	return tables, nil
}

type builder struct {
	Config
	family Family
}

func (b builder) loopback() netip.Prefix {
	if b.family == IPv6 {
		return netip.MustParsePrefix("::1/128")
	}
	return netip.MustParsePrefix("127.0.0.1/32")
}

// passthrough is the source address of connections the sidecar makes to its
// own workload for ports nobody declared.
func (b builder) passthrough() netip.Prefix {
	if b.family == IPv6 {
		return netip.MustParsePrefix("::6/128")
	}
	return netip.MustParsePrefix("127.0.0.6/32")
}

func (b builder) owners() []Owner {
	var all []Owner
	for _, id := range b.ProxyUIDs {
		all = append(all, Owner{ByUID, id})
	}
	for _, id := range b.ProxyGIDs {
		all = append(all, Owner{ByGID, id})
	}
	if b.ProxyMark != 0 {
		all = append(all, Owner{ByMark, b.ProxyMark})
	}
	return all
}

// ofFamily keeps the ranges of the table's IP version.
func (b builder) ofFamily(ranges []netip.Prefix) []netip.Prefix {
	var kept []netip.Prefix
	for _, r := range ranges {
		if r.Addr().Is4() == (b.family == IPv4) {
			kept = append(kept, r.Masked())
		}
	}
	return kept
}

func (b builder) nat() Table {
	t := Table{Family: b.family, Kind: NAT}
	pre := Chain{Name: string(Prerouting), Hook: Prerouting}
	out := Chain{Name: string(Output), Hook: Output}
	for _, name := range b.ExcludeInterfaces {
		pre.Rules = append(pre.Rules, returns(Match{In: name}))
		out.Rules = append(out.Rules, returns(Match{Out: name}))
	}
	inbound := b.inbound()
	if len(inbound.Rules) > 0 {
		pre.Rules = append(pre.Rules, jump(Match{Protocol: TCP}, chainInbound))
	}
	if b.DNSCapture {
		out.Rules = append(out.Rules, jump(Match{}, chainDNS))
	}
	out.Rules = append(out.Rules, jump(Match{}, chainOutput))
	t.Chains = []Chain{
		{Name: chainOutRedirect, Rules: []Rule{redirect(Match{Protocol: TCP}, b.OutboundPort)}},
		{Name: chainInRedirect, Rules: []Rule{redirect(Match{Protocol: TCP}, b.InboundPort)}},
	}
	if len(inbound.Rules) > 0 {
		t.Chains = append(t.Chains, inbound)
	}
	if b.DNSCapture {
		t.Chains = append(t.Chains, b.dns())
	}
	t.Chains = append(t.Chains, b.outbound(), pre, out)
	return t
}

func (b builder) inbound() Chain {
	c := Chain{Name: chainInbound}
	if !b.IncludeInboundPorts.All && len(b.IncludeInboundPorts.List) == 0 {
		return c
	}
	c.Rules = append(c.Rules, returns(Match{Protocol: TCP, DstPort: tunnelPort}))
	for _, p := range b.ExcludeInboundPorts {
		c.Rules = append(c.Rules, returns(Match{Protocol: TCP, DstPort: p}))
	}
	if b.IncludeInboundPorts.All {
		c.Rules = append(c.Rules, jump(Match{Protocol: TCP}, chainInRedirect))
		return c
	}
	for _, p := range b.IncludeInboundPorts.List {
		c.Rules = append(c.Rules, jump(Match{Protocol: TCP, DstPort: p}, chainInRedirect))
	}
	return c
}

func (b builder) outbound() Chain {
	c := Chain{Name: chainOutput}
	add := func(rules ...Rule) { c.Rules = append(c.Rules, rules...) }
	add(returns(Match{Out: "lo", Src: b.passthrough()}))
	for _, o := range b.owners() {
		add(jump(Match{Out: "lo", Protocol: TCP, NotDst: b.loopback(), NotDstPort: tunnelPort, Owner: &o}, chainInRedirect))
	}
	for _, o := range b.owners() {
		add(returns(Match{Owner: &o}))
	}
	add(returns(Match{Out: "lo"}), returns(Match{Dst: b.loopback()}))
	for _, p := range b.ExcludeOutboundPorts {
		add(returns(Match{Protocol: TCP, DstPort: p}))
	}
	for _, r := range b.ofFamily(b.ExcludeOutboundRanges) {
		add(returns(Match{Dst: r}))
	}
	for _, p := range b.IncludeOutboundPorts {
		add(jump(Match{Protocol: TCP, DstPort: p}, chainOutRedirect))
	}
	if b.IncludeOutboundRanges.All {
		add(jump(Match{Protocol: TCP}, chainOutRedirect))
	}
	for _, r := range b.ofFamily(b.IncludeOutboundRanges.List) {
		add(jump(Match{Protocol: TCP, Dst: r}, chainOutRedirect))
	}
	return c
}

// questions are the packets of DNS questions, and answers their reverse.
func (b builder) questions(p Protocol) []Match {
	if len(b.Nameservers) == 0 {
		return []Match{{Protocol: p, DstPort: dnsPort}}
	}
	var all []Match
	for _, r := range b.nameserverRanges() {
		all = append(all, Match{Protocol: p, DstPort: dnsPort, Dst: r})
	}
	return all
}

func (b builder) nameserverRanges() []netip.Prefix {
	var all []netip.Prefix
	for _, a := range b.Nameservers {
		all = append(all, netip.PrefixFrom(a, a.BitLen()))
	}
	return b.ofFamily(all)
}

func (b builder) dns() Chain {
	c := Chain{Name: chainDNS}
	for _, o := range b.owners() {
		c.Rules = append(c.Rules, returns(Match{Owner: &o}))
	}
	for _, p := range []Protocol{UDP, TCP} {
		for _, m := range b.questions(p) {
			c.Rules = append(c.Rules, redirect(m, b.DNSPort))
		}
	}
	return c
}

func (b builder) raw() Table {
	out := Chain{Name: string(Output), Hook: Output}
	for _, o := range b.owners() {
		out.Rules = append(out.Rules,
			zone(Match{Protocol: UDP, DstPort: dnsPort, Owner: &o}, zoneProxy),
			returns(Match{Protocol: UDP, DstPort: dnsPort, Owner: &o}))
	}
	// Only the sidecar has this port, so its answers need no owner; a mark, which
	// is set per socket, could be forgotten on a listening one.
	out.Rules = append(out.Rules, zone(Match{Protocol: UDP, SrcPort: b.DNSPort}, zoneApp))
	for _, m := range b.questions(UDP) {
		out.Rules = append(out.Rules, zone(m, zoneApp))
	}
	// Answers from outside belong to the sidecar's questions.
	pre := Chain{Name: string(Prerouting), Hook: Prerouting}
	if len(b.Nameservers) == 0 {
		pre.Rules = append(pre.Rules, zone(Match{Protocol: UDP, SrcPort: dnsPort}, zoneProxy))
	}
	for _, r := range b.nameserverRanges() {
		pre.Rules = append(pre.Rules, zone(Match{Protocol: UDP, SrcPort: dnsPort, Src: r}, zoneProxy))
	}
	return Table{Family: b.family, Kind: Raw, Chains: []Chain{pre, out}}
}
