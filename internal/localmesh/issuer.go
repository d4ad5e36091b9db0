package localmesh

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/meshctl/meshctl/internal/controlplane/jwks"
	"github.com/meshctl/meshctl/internal/mesh"
)

// keyRefresh is how often the keys of issuers of tokens are fetched: on one machine
// somebody is trying things out, and there are few to be asked.
const keyRefresh = 10 * time.Second

// dialIssuer connects to where keys of tokens are: a service or pod of the mesh, or an
// address or name of this machine's network, as programs in the mesh reach them.
func (d *daemon) dialIssuer(ctx context.Context, network, address string) (net.Conn, error) {
	host, p, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(p, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("port %q: %w", p, err)
	}
	if a, ok := d.endpoint(host, uint32(port)); ok {
		return (&net.Dialer{}).DialContext(ctx, network, a)
	}
	if d.env.Shared {
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
	if host == "localhost" {
		host = "127.0.0.1" // which is refused in words that say why
	}
	var ips []netip.Addr
	if ip, err := netip.ParseAddr(host); err == nil {
		if len(d.cp.Mesh().WorkloadsByAddress.Lookup(host)) > 0 {
			return (&net.Dialer{}).DialContext(ctx, network, address)
		}
		ips = append(ips, ip)
	} else if ips, err = d.resolver().LookupNetIP(ctx, "ip4", host); err != nil {
		return nil, fmt.Errorf("look up %s: %w", host, err)
	}
	var last error
	for _, ip := range ips {
		for _, p := range jwks.LinkLocal() {
			if p.Contains(ip.Unmap()) {
				return nil, fmt.Errorf("%s is a link-local address, which is not asked", ip)
			}
		}
		c, err := d.env.DialOutside(ctx, netip.AddrPortFrom(ip.Unmap(), uint16(port)))
		if err == nil {
			return c, nil
		}
		last = err
	}
	return nil, last
}

// endpoint is a ready endpoint of a service of the mesh, by one of its names.
func (d *daemon) endpoint(host string, port uint32) (string, bool) {
	m := d.cp.Mesh()
	for _, s := range m.Services.List() {
		if s.Host != host && s.Host != host+".svc."+d.env.Settings.Domain && s.Host != host+"."+d.env.Settings.Domain || s.Registry != mesh.RegistryKubernetes {
			continue
		}
		set, ok := m.Endpoints.Get(s.CollectionKey())
		if !ok {
			continue
		}
		for _, e := range set.Port(port) {
			if e.Health == mesh.Healthy {
				return net.JoinHostPort(e.Address, strconv.FormatUint(uint64(e.Port), 10)), true
			}
		}
	}
	return "", false
}

// resolver asks the host's name servers.
func (d *daemon) resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go func() {
			defer theirs.Close() //nolint:errcheck // nothing is in it any more
			for {
				// As over TCP: each message follows its length (RFC 1035 §4.2.2).
				var size [2]byte
				if _, err := io.ReadFull(theirs, size[:]); err != nil {
					return
				}
				question := make([]byte, binary.BigEndian.Uint16(size[:]))
				if _, err := io.ReadFull(theirs, question); err != nil {
					return
				}
				answer, err := d.env.ExchangeDNS(ctx, question)
				if err != nil {
					return
				}
				if _, err := theirs.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...)); err != nil {
					return
				}
			}
		}()
		return ours, nil
	}}
}
