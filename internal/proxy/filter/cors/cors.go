// Package cors is the cross-origin filter (envoy.filters.http.cors, the Fetch
// standard's CORS protocol). Policies come from routes.
package cors

import (
	"github.com/meshctl/meshctl/internal/proxy/filter"
	"github.com/meshctl/meshctl/internal/proxy/header"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

type cors struct {
	filter.Pass
	name     string
	cfg      *snapshot.CORS
	disabled bool
}

// New makes the filter.
func New(name string, cfg *snapshot.CORS, disabled bool) filter.Filter {
	return &cors{name: name, cfg: cfg, disabled: disabled}
}

// Request answers preflights of allowed origins and remembers the policy for the response.
func (f *cors) Request(x *filter.Exchange) filter.Verdict {
	cfg, off := filter.Config(x, f.name, f.cfg, f.disabled)
	if off || cfg == nil || cfg.Empty || cfg.Fraction == 0 {
		return filter.Continue
	}
	origin := x.Req.Get(header.Origin)
	if len(origin) == 0 {
		return filter.Continue
	}
	preflight := string(x.Req.Get(header.Method)) == "OPTIONS" && len(x.Req.Get(header.AccessControlRequestMethod)) > 0
	if !allowed(cfg, origin) {
		if preflight && !cfg.ForwardUnmatched {
			x.Control.Reply(filter.Reply{Status: 200, GRPCStatus: -1, Details: "cors_response"})
			return filter.Replied
		}
		return filter.Continue
	}
	x.CORSOrigin = cfg
	if !preflight {
		return filter.Continue
	}
	x.Control.Reply(filter.Reply{Status: 200, GRPCStatus: -1, Details: "cors_response"})
	return filter.Replied
}

func allowed(cfg *snapshot.CORS, origin []byte) bool {
	for i := range cfg.Origins {
		if cfg.Origins[i].Match(origin) {
			return true
		}
	}
	return false
}

// Response adds the access-control fields.
func (f *cors) Response(x *filter.Exchange) {
	cfg := x.CORSOrigin
	if cfg == nil {
		return
	}
	x.Resp.Set(header.AccessControlAllowOrigin, x.Req.Get(header.Origin))
	if cfg.AllowCredentials {
		x.Resp.SetString(header.AccessControlAllowCredentials, "true")
	}
	set := func(id header.ID, v string) {
		if v != "" {
			x.Resp.SetString(id, v)
		}
	}
	if x.LocalReply && x.Details == "cors_response" {
		set(header.AccessControlAllowMethods, granted(cfg, cfg.AllowMethods, x.Req.Get(header.AccessControlRequestMethod)))
		set(header.AccessControlAllowHeaders, granted(cfg, cfg.AllowHeaders, x.Req.Get(header.AccessControlRequestHeaders)))
		set(header.AccessControlMaxAge, cfg.MaxAge)
	}
	set(header.AccessControlExposeHeaders, cfg.ExposeHeaders)
}

// granted is a list of methods or fields as a preflight is told of it. For requests
// with credentials a browser takes "*" for a name like others, so that what it asked
// for is said instead.
func granted(cfg *snapshot.CORS, list string, asked []byte) string {
	if list == "*" && cfg.AllowCredentials && len(asked) > 0 {
		return string(asked)
	}
	return list
}
