package upstream

import (
	"sync/atomic"
	"time"

	"github.com/meshctl/meshctl/internal/proxy/codec"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

var timeZero time.Time

// outlier is a host's record of failures in a row. Races between workers lose at
// most a count, never an ejection that is due.
type outlier struct {
	fives, gateways, locals atomic.Uint32
	ejections               atomic.Uint32
	until                   atomic.Int64 // Unix nanoseconds; 0: not ejected
}

func (o *outlier) clear(c *ClusterState) {
	if o.until.Swap(0) != 0 {
		c.ejected.Add(-1)
	}
}

// observe counts a result and ejects the host when it has failed too often in a
// row (Envoy's consecutive 5xx, gateway and local-origin detectors).
func (c *ClusterState) observe(cfg *snapshot.Outlier, h *Host, res Result, now time.Time) {
	if cfg == nil || h == nil {
		return
	}
	o := &h.outlier
	if u := o.until.Load(); u != 0 && u <= now.UnixNano() && o.until.CompareAndSwap(u, 0) {
		c.ejected.Add(-1)
		o.fives.Store(0)
		o.gateways.Store(0)
		o.locals.Store(0)
	}
	local := res.Status == 0 && (res.Reset != codec.ResetNone || res.Timeout)
	if res.Reset == codec.ResetLocal && !res.Timeout {
		return // given up by us or the client: says nothing about the host
	}
	status := res.Status
	if local && !cfg.SplitLocal {
		status = 503
		if res.Timeout {
			status = 504
		}
	}
	if local && cfg.SplitLocal {
		if over(o.locals.Add(1), cfg.ConsecutiveLocal, cfg.EnforceLocal) {
			c.eject(cfg, h, now)
		}
		return
	}
	o.locals.Store(0)
	if !isError(cfg, status) {
		o.fives.Store(0)
		o.gateways.Store(0)
		return
	}
	bad := over(o.fives.Add(1), cfg.Consecutive5xx, cfg.Enforce5xx)
	if status == 502 || status == 503 || status == 504 {
		bad = over(o.gateways.Add(1), cfg.ConsecutiveGateway, cfg.EnforceGateway) || bad
	} else {
		o.gateways.Store(0)
	}
	if bad {
		h.Stats.EjectionsConsecutive5xx.Add(1)
		c.eject(cfg, h, now)
	}
}

func over(n, limit, enforce uint32) bool { return limit > 0 && enforce > 0 && n >= limit }

func isError(cfg *snapshot.Outlier, status int) bool {
	if cfg.ErrorCodes == nil {
		return status >= 500
	}
	for _, r := range cfg.ErrorCodes {
		if int(r.From) <= status && status < int(r.To) {
			return true
		}
	}
	return false
}

func (c *ClusterState) eject(cfg *snapshot.Outlier, h *Host, now time.Time) {
	if h.outlier.until.Load() > now.UnixNano() {
		return
	}
	c.mu.Lock()
	total := len(c.hosts)
	c.mu.Unlock()
	percent := cfg.MaxEjectionPercent
	if percent == 0 {
		percent = 10
	}
	ejected := c.ejected.Load()
	if (ejected+1)*100 > int64(total)*int64(percent) && (!cfg.AlwaysEjectOne || ejected != 0) {
		return
	}
	n := h.outlier.ejections.Add(1)
	d := cfg.BaseEjection
	if d <= 0 {
		d = 30 * time.Second
	}
	most := cfg.MaxEjection
	if most <= 0 {
		most = max(300*time.Second, d)
	}
	d = min(time.Duration(n)*d, most)
	if h.outlier.until.Swap(now.Add(d).UnixNano()) == 0 {
		c.ejected.Add(1)
	}
	h.outlier.fives.Store(0)
	h.outlier.gateways.Store(0)
	h.outlier.locals.Store(0)
	h.Stats.EjectionsTotal.Add(1)
	c.Stats.OutlierEjections.Add(1)
}
