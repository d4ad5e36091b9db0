package listener

import (
	"errors"
	"time"

	"github.com/meshctl/meshctl/internal/proxy/flow"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

var errNoTLS = errors.New("this proxy has no certificates at its disposal")

// filter runs the chain's network filters in order. When ok is false, the
// connection must be closed as o says, after delay. Filters that are not known
// close it: a policy that cannot be kept is not skipped.
func (a *conn) filter() (o outcome, delay time.Duration, ok bool) {
	chain := a.info.Chain
	for i := range chain.Network {
		nf := &chain.Network[i]
		switch f := nf.Config.(type) {
		case *snapshot.RBAC:
			if o, ok := a.authorize(f); !ok {
				return o, time.Duration(f.DelayDeny) * time.Millisecond, false
			}
		case *snapshot.MetadataExchange:
			if chain.TCP == nil && a.info.TLS != nil && a.info.TLS.ALPN == f.Protocol {
				return a.unsupported(nf, "metadata exchange on a chain without TCP proxy"), 0, false
			}
		case *snapshot.IstioStats: // the recorder looks for it in the chain
		case *snapshot.SetFilterState:
			if err := a.setState(f); err != nil {
				return a.unsupported(nf, err.Error()), 0, false
			}
		case *snapshot.SNICluster:
			if a.info.ServerName != "" {
				a.state.set(snapshot.KeyTCPCluster, []byte(a.info.ServerName))
			}
		case *snapshot.ConnectionLimit:
			if !a.acquire(f) {
				return outcome{end: "connection_limit", flags: flow.FlagOverloadManager}, f.Delay, false
			}
		case *snapshot.LocalRateLimit:
			if !a.w.m.shared.take(f, a.w.w) {
				return outcome{end: "local_ratelimit", flags: flow.FlagRateLimited}, 0, false
			}
		default:
			return a.unsupported(nf, "unknown type"), 0, false
		}
	}
	if a.state.values != nil {
		a.info.Facts.Dynamic = &a.state
	}
	return outcome{}, 0, true
}

// authorize evaluates the policies of one filter.
func (a *conn) authorize(f *snapshot.RBAC) (outcome, bool) {
	if a.state.values != nil {
		a.info.Facts.Dynamic = &a.state
	}
	d := f.Rules.Evaluate(&a.info.Facts)
	if d.Allowed {
		return outcome{}, true
	}
	name := "none"
	if d.Matched {
		name = d.Policy
	}
	return outcome{end: "rbac_access_denied_matched_policy[" + name + "]", policy: d.Policy}, false
}

func (a *conn) unsupported(f *snapshot.NetworkFilter, why string) outcome {
	a.w.warn(f, "network filter is not supported; connections are refused",
		"listener", a.info.Listener.Name, "chain", a.info.Chain.Name, "filter", f.Name, "reason", why)
	return outcome{end: "network_filter_not_supported[" + f.Name + "]"}
}

// acquire counts the connection in, unless the chain has as many as it may.
func (a *conn) acquire(f *snapshot.ConnectionLimit) bool {
	if f.Max == 0 {
		return true
	}
	n := a.w.m.shared.limit(f)
	if uint64(n.Add(1)) > f.Max {
		n.Add(-1)
		return false
	}
	a.limit = n
	return true
}

// hold keeps a refused connection open for a while, unread, so that a client
// that comes back at once is slowed down.
func (a *conn) hold(o outcome, d time.Duration) {
	a.handed = true
	a.c.PauseRead()
	a.timer.Fn = func() { a.refuse(o) }
	a.w.w.StartTimer(&a.timer, d)
}
