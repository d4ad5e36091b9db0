// Package rbac is the HTTP access control filter (envoy.filters.http.rbac).
package rbac

import (
	"slices"
	"strings"

	"github.com/meshctl/meshctl/internal/proxy/filter"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

type rbac struct {
	filter.Pass
	name     string
	cfg      *snapshot.RBAC
	disabled bool
	none     map[*snapshot.RBAC]string // see unmatched; this worker's own
}

// New makes the filter.
func New(name string, cfg *snapshot.RBAC, disabled bool) filter.Filter {
	return &rbac{name: name, cfg: cfg, disabled: disabled, none: map[*snapshot.RBAC]string{}}
}

var denied = []byte("RBAC: access denied")

// unmatched names what refused a request that no ALLOW policy admits: "none", as
// Envoy says, with the policies that were asked, each once.
func (f *rbac) unmatched(cfg *snapshot.RBAC) string {
	if s, ok := f.none[cfg]; ok {
		return s
	}
	var names []string
	for i := range cfg.Rules.Policies {
		n, _, _ := strings.Cut(cfg.Rules.Policies[i].Name, "-rule[")
		if n != "" && !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	s := "none"
	if len(names) > 0 {
		if len(names) > maxNamed {
			names = append(names[:maxNamed], "...")
		}
		s = "none_of:" + strings.Join(names, ",")
	}
	f.none[cfg] = s
	return s
}

// maxNamed bounds the policies named in a log line.
const maxNamed = 5

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
	name := d.Policy
	if !d.Matched {
		name = f.unmatched(cfg)
	}
	x.Control.Reply(filter.Reply{
		Status: 403, Body: denied, GRPCStatus: 7,
		Details: "rbac_access_denied_matched_policy[" + name + "]",
	})
	return filter.Replied
}
