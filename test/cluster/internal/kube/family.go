package kube

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// Family says which IP versions pods and Services have.
type Family string

// Families. With Dual, IPv4 comes first: what has one address has that.
const (
	IPv4 Family = "ipv4"
	IPv6 Family = "ipv6"
	Dual Family = "dual"
)

// ParseFamily reads one.
func ParseFamily(s string) (Family, error) {
	switch f := Family(s); f {
	case IPv4, IPv6, Dual:
		return f, nil
	default:
		return "", fmt.Errorf("--ip-family %q: there are %s, %s and %s", s, IPv4, IPv6, Dual)
	}
}

// The networks of Services. They are the same for every cluster, since each has a
// network of its own.
var serviceRanges = [2]netip.Prefix{netip.MustParsePrefix("10.96.0.0/16"), netip.MustParsePrefix("fd00:10:96::/112")}

// of picks what a cluster of the family has: of the IPv4 one, the IPv6 one, or both.
func of[T any](f Family, four, six T) []T {
	switch f {
	case IPv6:
		return []T{six}
	case Dual:
		return []T{four, six}
	default:
		return []T{four}
	}
}

func (c *Cluster) serviceRanges() []netip.Prefix {
	return of(c.Family, serviceRanges[0], serviceRanges[1])
}

// serviceOfAPI and serviceOfDNS are the addresses that the first Services get.
func (c *Cluster) serviceOfAPI() netip.Addr { return c.serviceRanges()[0].Addr().Next() }

func (c *Cluster) serviceOfDNS() netip.Addr {
	if a := c.serviceRanges()[0].Addr(); a.Is6() {
		return netip.MustParseAddr(a.String() + "a")
	}
	return netip.MustParseAddr("10.96.0.10")
}

// podNetworks are those of the pods. The IPv6 one follows from the other, so that
// clusters that differ in one differ in both: 10.244.0.0/16 is fd00:10:244::/64.
func (c *Cluster) podNetworks() ([]string, error) {
	p, err := netip.ParsePrefix(c.Pods)
	if err != nil || !p.Addr().Is4() {
		return nil, fmt.Errorf("--pods %q is not an IPv4 network such as %s", c.Pods, DefaultPods)
	}
	b := p.Addr().As4()
	return of(c.Family, c.Pods, fmt.Sprintf("fd00:%d:%d:%d::/64", b[0], b[1], b[2])), nil
}

// addresses are the node's, the one that the cluster is known by first.
func (c *Cluster) addresses() []netip.Addr {
	return of(c.Family, c.node().Address(), c.node().Address6())
}

func (c *Cluster) address() netip.Addr { return c.addresses()[0] }

// server is the API server's URL.
func (c *Cluster) server() string { return "https://" + net.JoinHostPort(c.address().String(), "6443") }

// loadBalancers are where Services of type LoadBalancer get addresses from.
func (c *Cluster) loadBalancers() []netip.Prefix {
	return of(c.Family, c.node().LoadBalancers(), c.node().LoadBalancers6())
}

// join writes a list as programs of Kubernetes take it.
func join[T fmt.Stringer](all []T) string {
	texts := make([]string, len(all))
	for i, x := range all {
		texts[i] = x.String()
	}
	return strings.Join(texts, ",")
}
