package meshd

import (
	"flag"
	"log/slog"

	"github.com/meshctl/meshctl/internal/resource/source/consul"
)

// consulOptions lead to a Consul agent whose services are in the mesh; without an
// address there is none.
type consulOptions struct{ address, tokenFile string }

func (o *consulOptions) flags(fs *flag.FlagSet) {
	fs.StringVar(&o.address, "consul", "", "`address` of a Consul agent, as http://127.0.0.1:8500, whose services are in the mesh as NAME.service.consul")
	fs.StringVar(&o.tokenFile, "consul-token-file", "", "`file` with the ACL token for it, which may read services and nodes")
}

// source is nil without an address.
func (o *consulOptions) source(log *slog.Logger) (*consul.Source, error) {
	if o.address == "" {
		return nil, nil //nolint:nilnil // there need be none
	}
	return consul.New(consul.Options{Address: o.address, TokenFile: o.tokenFile, Logger: log.With("component", "consul")})
}
