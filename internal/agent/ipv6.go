package agent

import (
	"encoding/hex"
	"net/netip"
	"slices"
	"strings"
)

// interfaces6 is where the kernel lists the IPv6 addresses of a network namespace; it is
// not there where the kernel has no IPv6.
const interfaces6 = "/proc/net/if_inet6"

// ipv6 settles whether this proxy has IPv6: what is captured then reaches it by that,
// too. The interfaces say so, and not only what the pod was told: IPv6 may be switched
// off in it, and a machine is told nothing.
func (l *loader) ipv6() {
	s := l.s
	if b, err := l.readFile(interfaces6); err == nil && s.Bound == "" {
		own := globalAddresses(string(b))
		if len(own) == 0 {
			s.InstanceIPs = slices.DeleteFunc(s.InstanceIPs, isIPv6)
		} else if len(s.InstanceIPs) > 0 && !slices.ContainsFunc(s.InstanceIPs, isIPv6) {
			s.InstanceIPs = append(s.InstanceIPs, own...)
		}
	}
	if s.IPv6() {
		for _, a := range []*netip.AddrPort{&s.StatusAddr, &s.HealthAddr, &s.PrometheusAddr} {
			if a.Addr() == netip.IPv4Unspecified() {
				*a = netip.AddrPortFrom(netip.IPv6Unspecified(), a.Port()) // which takes IPv4 as well
			}
		}
	}
}

// IPv6 tells whether the proxy's pod or machine has addresses of it.
func (s Settings) IPv6() bool { return slices.ContainsFunc(s.InstanceIPs, isIPv6) }

func isIPv6(a netip.Addr) bool { return a.Is6() && !a.Is4In6() }

// globalAddresses are those in the text of if_inet6 by which others reach this host: a
// line is the address in hex, and the interface's number, the prefix's length, scope
// (00 is global) and flags in hex, and the interface's name.
func globalAddresses(text string) []netip.Addr {
	var out []netip.Addr
	for line := range strings.SplitSeq(text, "\n") {
		f := strings.Fields(line)
		if len(f) != 6 || f[3] != "00" || f[5] == "lo" {
			continue
		}
		if b, err := hex.DecodeString(f[0]); err == nil {
			if a, ok := netip.AddrFromSlice(b); ok {
				out = append(out, a)
			}
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return out
}
