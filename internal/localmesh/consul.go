package localmesh

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/netip"
	"net/url"

	"github.com/meshctl/meshctl/internal/local"
	"github.com/meshctl/meshctl/internal/resource/source"
	"github.com/meshctl/meshctl/internal/resource/source/consul"
)

// consulSource follows the Consul agent of the settings, over the host's network:
// the node has none of its own. nil without one.
func consulSource(env *local.NodeEnv, extra Extra) (source.Source, error) {
	if extra.Consul == "" {
		return nil, nil //nolint:nilnil // there need be none
	}
	o := consul.Options{Address: extra.Consul, TokenFile: extra.ConsulToken, Logger: env.Log.With("component", "consul")}
	if !env.Shared {
		o.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			a, err := ConsulAddress(extra.Consul)
			if err != nil {
				return nil, err
			}
			return env.DialOutside(ctx, a)
		}
	}
	return consul.New(o)
}

// ConsulAddress is where an agent is reached; it is named by its IP address, or as
// localhost, since the node looks up no names of the host's.
func ConsulAddress(text string) (netip.AddrPort, error) {
	u, err := url.Parse(text)
	if err != nil {
		return netip.AddrPort{}, err
	}
	host, port := u.Hostname(), u.Port()
	if host == "localhost" {
		host = "127.0.0.1"
	}
	a, err := netip.ParseAddrPort(net.JoinHostPort(host, cmp.Or(port, "80")))
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("%q is not http://ADDRESS:PORT with an IP address or localhost", text)
	}
	return a, nil
}
