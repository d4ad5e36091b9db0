// Package jwt is the token filter (envoy.filters.http.jwt_authn): it refuses bad
// tokens, and says to those behind what good ones say.
package jwt

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/meshctl/meshctl/internal/proxy/filter"
	"github.com/meshctl/meshctl/internal/proxy/header"
	"github.com/meshctl/meshctl/internal/proxy/jwt"
	"github.com/meshctl/meshctl/internal/proxy/route"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

type tokens struct {
	filter.Pass
	name     string
	cfg      *snapshot.JWT
	disabled bool
	// check remembers the tokens that it has verified, as long as this filter lives:
	// other keys are another configuration, and so another filter.
	check *jwt.Checker
}

// New makes the filter.
func New(name string, cfg *snapshot.JWT, disabled bool) filter.Filter {
	return &tokens{name: name, cfg: cfg, disabled: disabled, check: jwt.New(cfg)}
}

// Accept says what of a configuration this filter does not do.
func Accept(cfg *snapshot.JWT) error {
	for i := range cfg.Providers {
		p := &cfg.Providers[i]
		switch {
		case p.RemoteURI != "" || p.RemoteCluster != "":
			return fmt.Errorf("provider %s: remote_jwks is not supported by the native proxy: keys come from the control plane", p.Name)
		case p.FailedStatusMeta != "":
			return fmt.Errorf("provider %s: failed_status_in_metadata is not supported by the native proxy", p.Name)
		}
	}
	return nil
}

// Request refuses what the requirement does not let pass. Signatures are verified on
// the worker: they cost about as much as a request, and those that were right once
// are remembered.
func (f *tokens) Request(x *filter.Exchange) filter.Verdict {
	require, off, wrong := f.requirement(x)
	if off {
		return filter.Continue
	}
	if wrong != "" {
		x.Control.Reply(filter.Reply{
			Status: 403, GRPCStatus: -1, Body: []byte("Failed JWT authentication: " + wrong),
			Details: "jwt_authn_access_denied{" + strings.ReplaceAll(wrong, " ", "_") + "}",
		})
		return filter.Replied
	}
	f.check.Sanitize(&x.Req)
	if require == nil || f.cfg.BypassPreflight && preflight(&x.Req) {
		return filter.Continue
	}
	r := f.check.Check(require, &x.Req, x.Worker.Now())
	if r.Status != jwt.OK {
		f.refuse(x, r.Status)
		return filter.Replied
	}
	if len(r.Metadata) > 0 {
		if x.Metadata == nil {
			x.Metadata = map[string]map[string]any{}
		}
		x.Metadata[jwt.Namespace] = r.Metadata
	}
	r.Apply(&x.Req)
	if r.Reroute {
		x.Control.Reroute()
	}
	return filter.Continue
}

// requirement is that of the route's override, or of the first rule that matches.
func (f *tokens) requirement(x *filter.Exchange) (r *snapshot.JWTRequirement, off bool, wrong string) {
	if o := x.Override(f.name); o != nil {
		if o.Disabled {
			return nil, true, ""
		}
		if n, ok := o.Config.(*snapshot.JWTRequirementName); ok {
			if r = f.cfg.Requirements[n.Name]; r == nil {
				wrong = "Wrong requirement_name: " + n.Name + ". It should be one of [" + strings.Join(requirementNames(f.cfg), ", ") + "]"
			}
			return r, false, wrong
		}
	} else if f.disabled {
		return nil, true, ""
	}
	rq := route.Request{Headers: &x.Req, Random: x.Worker.Rand().Uint64(), Peer: x.Facts.Peer, Dynamic: x}
	rq.Init()
	return f.check.Requirement(&rq, x.FilterState), false, ""
}

// preflight reports whether a request is one of CORS, which never has credentials.
func preflight(h *header.List) bool {
	return string(h.Get(header.Method)) == "OPTIONS" && len(h.Get(header.Origin)) > 0 && len(h.Get(header.AccessControlRequestMethod)) > 0
}

func (f *tokens) refuse(x *filter.Exchange, s jwt.Status) {
	r := filter.Reply{Status: s.Code(), GRPCStatus: -1, Details: s.Details()}
	if !f.cfg.StripFailure {
		r.Body = []byte(s.String())
		challenge := `Bearer realm="` + realm(&x.Req) + `"`
		if s != jwt.Missing {
			challenge += `, error="invalid_token"`
		}
		r.Headers = []snapshot.HeaderOp{{HeaderName: snapshot.HeaderName{Name: "www-authenticate"}, Value: challenge}}
	}
	x.Control.Reply(r)
}

// maxRealm bounds the path in a challenge.
const maxRealm = 256

// realm is the URL that was asked for, without its query (RFC 6750 §3), and without
// what would end a quoted string.
func realm(h *header.List) string {
	path, _ := route.SplitPath(h.Get(header.Path))
	path = path[:min(len(path), maxRealm)]
	var b strings.Builder
	b.Write(h.Get(header.Scheme))
	b.WriteString("://")
	for _, part := range [][]byte{h.Get(header.Authority), path} {
		b.Write(bytes.Map(func(c rune) rune {
			if c == '"' || c == '\\' {
				return -1
			}
			return c
		}, part))
	}
	return b.String()
}

func requirementNames(c *snapshot.JWT) []string { return slices.Sorted(maps.Keys(c.Requirements)) }
