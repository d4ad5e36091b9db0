package mesh

import (
	"encoding/binary"
	"hash/fnv"
	"net/netip"
	"slices"
	"strings"
)

// autoSize is the number of addresses that are given out: not the first
// (network), not those that end in .0 or .255.
const autoSize = 256 * 254

// AllocateAddresses gives each host that has no address one in 240.240.0.0/16.
// Which one depends on the hash of the host and, on a collision, on the hosts
// that come before it in the alphabet: so an address is stable over restarts and
// replicas, and almost never moves when other hosts come and go. Wildcards get
// none. Hosts beyond the capacity get none.
func AllocateAddresses(hosts []string) map[string]string {
	sorted := slices.Compact(slices.Sorted(slices.Values(hosts)))
	taken := make(map[uint32]bool, len(sorted))
	out := make(map[string]string, len(sorted))
	for _, h := range sorted {
		if strings.HasPrefix(h, "*") || len(taken) == autoSize {
			continue
		}
		sum := fnv.New64a()
		sum.Write([]byte(h)) //nolint:errcheck // a hash does not fail
		slot := uint32(mix(sum.Sum64()) % autoSize)
		for taken[slot] {
			slot = (slot + 1) % autoSize
		}
		taken[slot] = true
		out[h] = autoAddress(slot)
	}
	return out
}

// mix spreads the bits: FNV alone is uneven in its low bits for similar names.
func mix(x uint64) uint64 {
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	return x
}

// AutoAddress6 is the IPv6 address of a host whose IPv4 address AllocateAddresses chose:
// the same in the last bytes, in 2001:2::/48, which is Istio's range for them.
func AutoAddress6(ip string) string {
	a := netip.MustParseAddr("2001:2::").As16()
	four := netip.MustParseAddr(ip).As4()
	copy(a[12:], four[:])
	return netip.AddrFrom16(a).String()
}

func autoAddress(slot uint32) string {
	var a [4]byte
	binary.BigEndian.PutUint32(a[:], 240<<24|240<<16|(slot/254)<<8|(slot%254+1))
	return netip.AddrFrom4(a).String()
}
