package localmesh

import (
	"context"
	"fmt"
	"net"
	"net/netip"

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
	return consul.New(consul.Options{
		Address: extra.Consul, TokenFile: extra.ConsulToken, Logger: env.Log.With("component", "consul"),
		DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			host, port, err := net.SplitHostPort(address)
			if err != nil {
				return nil, err
			}
			if host == "localhost" {
				host = "127.0.0.1"
			}
			a, err := netip.ParseAddrPort(net.JoinHostPort(host, port))
			if err != nil {
				return nil, fmt.Errorf("reach Consul at %s: give its IP address: %w", address, err)
			}
			return env.DialOutside(ctx, a)
		},
	})
}
