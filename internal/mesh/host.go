package mesh

import (
	"net/netip"
	"strings"
)

// QualifyHost makes a host of a VirtualService, DestinationRule or destination
// fully qualified, as Istio does: a name without a dot belongs to a Kubernetes
// service in the object's namespace; anything else is taken as it is. The result
// is in lower case, because host names do not differ by case.
func QualifyHost(host, namespace, clusterDomain string) string {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if host == "" || host == "*" || strings.Contains(host, ".") || isIP(host) {
		return host
	}
	return host + "." + namespace + ".svc." + clusterDomain
}

func isIP(host string) bool {
	_, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil
}

// IsWildcard reports whether a host is "*" or begins with "*".
func IsWildcard(host string) bool { return strings.HasPrefix(host, "*") }

// HostMatches reports whether pattern covers host, which may be a wildcard
// itself: "*.com" covers "a.com" and "*.a.com". "*" covers everything. A
// wildcard covers at least one more label.
func HostMatches(pattern, host string) bool {
	if !IsWildcard(pattern) {
		return pattern == host
	}
	return strings.HasSuffix(strings.TrimPrefix(host, "*"), pattern[1:]) && (pattern == "*" || len(host) >= len(pattern))
}

// HostsOverlap reports whether any name is covered by both hosts.
func HostsOverlap(a, b string) bool { return HostMatches(a, b) || HostMatches(b, a) }

// MoreSpecificHost is the order in which host patterns are tried: names before
// wildcards, longer wildcards before shorter ones, then by alphabet.
func MoreSpecificHost(a, b string) int {
	wa, wb := IsWildcard(a), IsWildcard(b)
	switch {
	case wa != wb && wb:
		return -1
	case wa != wb:
		return 1
	case wa && len(a) != len(b):
		return len(b) - len(a)
	}
	return strings.Compare(a, b)
}

// MostSpecific returns the first of the patterns, in the order of
// MoreSpecificHost, that covers host.
func MostSpecific(patterns []string, host string) (string, bool) {
	best, found := "", false
	for _, p := range patterns {
		if HostMatches(p, host) && (!found || MoreSpecificHost(p, best) < 0) {
			best, found = p, true
		}
	}
	return best, found
}

// HostPatterns are the keys under which an index of patterns finds those that
// may cover host, most specific first: a.b.c -> a.b.c, *.b.c, *.c, *.
// Patterns such as "*-x.b.c", which end inside a label, are indexed by IndexHost.
func HostPatterns(host string) []string {
	keys := []string{host}
	rest := strings.TrimPrefix(strings.TrimPrefix(host, "*"), ".")
	if !IsWildcard(host) {
		_, rest, _ = strings.Cut(host, ".")
	} else if rest != "" {
		_, rest, _ = strings.Cut(rest, ".")
	}
	for rest != "" {
		keys = append(keys, "*."+rest)
		_, rest, _ = strings.Cut(rest, ".")
	}
	if host != "*" {
		keys = append(keys, "*")
	}
	return keys
}
