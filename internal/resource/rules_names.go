package resource

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Rules of syntax. Each returns what is wrong, "" when nothing is.

// labelProblem checks a DNS label (RFC 1123): what names of namespaces,
// services, subsets and ports are made of.
func labelProblem(s string) string {
	switch {
	case s == "":
		return "must not be empty"
	case len(s) > 63:
		return fmt.Sprintf("%s has %d characters, at most 63 are allowed", quoted(s), len(s))
	}
	for i := range len(s) {
		b := s[i]
		inner := i > 0 && i < len(s)-1
		if !isLower(b) && (!inner || b != '-') {
			return fmt.Sprintf("%s must consist of lower-case letters, digits and '-', with a letter or digit at both ends", quoted(s))
		}
	}
	return ""
}

func isLower(b byte) bool { return b >= 'a' && b <= 'z' || b >= '0' && b <= '9' }

func isAlnum(b byte) bool { return isLower(b) || b >= 'A' && b <= 'Z' }

// subdomainProblem checks a DNS subdomain: labels joined by dots.
func subdomainProblem(s string) string {
	if len(s) > 253 {
		return fmt.Sprintf("%s has %d characters, at most 253 are allowed", quoted(s), len(s))
	}
	for part := range strings.SplitSeq(s, ".") {
		if p := labelProblem(part); p != "" {
			return fmt.Sprintf("%s is not a DNS name: each part between dots must consist of lower-case letters, digits and '-'", quoted(s))
		}
	}
	return ""
}

// hostProblem checks a host name as users write it in routes: a short or full
// DNS name. Upper case and underscores are accepted, as resolvers do.
func hostProblem(s string) string {
	switch {
	case s == "":
		return "must not be empty"
	case len(s) > 255:
		return fmt.Sprintf("%s has %d characters, at most 255 are allowed", quoted(s), len(s))
	case strings.Contains(s, "*"):
		return fmt.Sprintf("%s: a wildcard is not allowed here", quoted(s))
	case strings.Contains(s, "/"):
		return fmt.Sprintf("%s is not a host name", quoted(s))
	}
	for part := range strings.SplitSeq(strings.TrimSuffix(s, "."), ".") {
		if !isHostPart(part) {
			return fmt.Sprintf("%s is not a host name: each part between dots must consist of letters, digits and '-', with a letter or digit at both ends", quoted(s))
		}
	}
	return ""
}

func isHostPart(part string) bool {
	if part == "" || len(part) > 63 || !isAlnum(part[0]) && part[0] != '_' || !isAlnum(part[len(part)-1]) {
		return false
	}
	for i := range len(part) {
		if b := part[i]; !isAlnum(b) && b != '-' && b != '_' {
			return false
		}
	}
	return true
}

// wildcardHostProblem checks a host name that may be "*" or begin with "*.".
func wildcardHostProblem(s string) string {
	if s == "*" {
		return ""
	}
	rest, wildcard := strings.CutPrefix(s, "*.")
	if !wildcard && strings.HasPrefix(s, "*") {
		rest, wildcard = s[1:], true // "*-suffix.example.com", as Istio accepts
		rest = strings.TrimPrefix(rest, "-")
	}
	if p := hostProblem(rest); p != "" {
		if wildcard && strings.Contains(rest, "*") || !wildcard && strings.Contains(s, "*") {
			return fmt.Sprintf("%s: a wildcard is only allowed as the first part, as in *.example.com", quoted(s))
		}
		return p
	}
	return ""
}

// ipProblem checks an address without a prefix length.
func ipProblem(s string) string {
	if _, err := netip.ParseAddr(s); err != nil {
		return fmt.Sprintf("%s is not an IP address", quoted(s))
	}
	return ""
}

// cidrProblem checks an address or an address with a prefix length.
func cidrProblem(s string) string {
	if strings.Contains(s, "/") {
		if _, err := netip.ParsePrefix(s); err != nil {
			return fmt.Sprintf("%s is not an IP range such as 10.0.0.0/8", quoted(s))
		}
		return ""
	}
	if _, err := netip.ParseAddr(s); err != nil {
		return fmt.Sprintf("%s is neither an IP address nor a range such as 10.0.0.0/8", quoted(s))
	}
	return ""
}

func isIP(s string) bool { _, err := netip.ParseAddr(s); return err == nil }

func portProblem(n uint32) string {
	if n < 1 || n > 65535 {
		return fmt.Sprintf("port %d is out of range: 1 to 65535", n)
	}
	return ""
}

// labelKeyProblem checks a label or annotation key: an optional DNS subdomain
// and a slash, then a name of at most 63 characters.
func labelKeyProblem(key string) string {
	name := key
	if prefix, rest, ok := strings.Cut(key, "/"); ok {
		if p := subdomainProblem(prefix); p != "" {
			return fmt.Sprintf("the prefix of %s is not a DNS name", quoted(key))
		}
		name = rest
	}
	if name == "" || len(name) > 63 || !isQualified(name) {
		return fmt.Sprintf("%s is not a label key: letters, digits, '-', '_' and '.', at most 63, with a letter or digit at both ends", quoted(key))
	}
	return ""
}

func labelValueProblem(v string) string {
	if len(v) > 63 || v != "" && !isQualified(v) {
		return fmt.Sprintf("%s is not a label value: letters, digits, '-', '_' and '.', at most 63, with a letter or digit at both ends", quoted(v))
	}
	return ""
}

func isQualified(s string) bool {
	for i := range len(s) {
		b := s[i]
		inner := i > 0 && i < len(s)-1
		if !isAlnum(b) && (!inner || b != '-' && b != '_' && b != '.') {
			return false
		}
	}
	return true
}

// labels checks a map of labels, or a selector of them.
func (c *check) labels(path string, labels map[string]string) {
	for k, v := range labels {
		if strings.Contains(k, "*") || strings.Contains(v, "*") {
			c.errorf(entry(path, k), "write labels out in full", "a wildcard is not supported in labels")
			continue
		}
		c.problem(entry(path, k), labelKeyProblem(k), "")
		c.problem(entry(path, k), labelValueProblem(v), "")
	}
}

// exportTo checks the namespaces an object is visible in.
func (c *check) exportTo(path string, values []string) {
	seen := map[string]bool{}
	for i, v := range values {
		switch {
		case seen[v]:
			c.errorf(item(path, i), "remove one of them", "%s is listed twice", quoted(v))
		case v == "*" || v == "." || v == "~":
		default:
			c.problem(item(path, i), labelProblem(v), `write ".", "*", "~" or the name of a namespace`)
		}
		seen[v] = true
	}
	if len(values) > 1 {
		for _, special := range []string{"*", "~"} {
			if seen[special] {
				c.errorf(path, "keep only "+special+", or only names", "%q cannot be combined with other values", special)
			}
		}
	}
}

func itoa(n int32) string { return strconv.Itoa(int(n)) }
