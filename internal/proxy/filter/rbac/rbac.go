// Package rbac is the HTTP access control filter (envoy.filters.http.rbac).
package rbac

import (
	"github.com/meshctl/meshctl/internal/proxy/filter"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

type rbac struct {
	filter.Pass
	name     string
	cfg      *snapshot.RBAC
	disabled bool
}

// New makes the filter.
func New(name string, cfg *snapshot.RBAC, disabled bool) filter.Filter {
	return &rbac{name: name, cfg: cfg, disabled: disabled}
}

var denied = []byte("RBAC: access denied")

// Request refuses what the policies do not let pass, 403. Details name the
// policy that decided, as Envoy's do: rbac_access_denied_matched_policy[name].
func (f *rbac) Request(x *filter.Exchange) filter.Verdict {
	cfg, off := filter.Config(x, f.name, f.cfg, f.disabled)
	if off || cfg == nil {
		return filter.Continue
	}
	d := cfg.Rules.Evaluate(&x.Facts)
	if d.Matched {
		x.Policy = d.Policy
	}
	if d.Allowed {
		return filter.Continue
	}
	name := "none"
	if d.Matched {
		name = d.Policy
	}
	x.Control.Reply(filter.Reply{
		Status: 403, Body: denied, GRPCStatus: 7,
		Details: "rbac_access_denied_matched_policy[" + name + "]",
	})
	return filter.Replied
}
