package tcp

import (
	"slices"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/meshctl/meshctl/internal/proxy/flow"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
	"github.com/meshctl/meshctl/internal/proxy/upstream"
)

// maxAttempts bounds what configuration may ask for: attempts run one after the
// other while a client waits.
const maxAttempts = 100

// choose fills the request for an endpoint from configuration and connection.
func (r *relay) choose() {
	name, match := r.cfg.Cluster, r.cfg.MetadataMatch
	if ws := r.cfg.Weighted; len(ws) > 0 {
		w := pickWeighted(ws, r.p.w.Rand().Uint64())
		name = w.Cluster
		if len(w.MetadataMatch) > 0 {
			match = slices.Concat(match, w.MetadataMatch)
		}
	}
	if v, ok := r.state(snapshot.KeyTCPCluster); ok && len(v) > 0 {
		name = string(v)
	}
	r.rec.ClusterName = name
	q := &r.req
	q.MetadataMatch = match
	q.OriginalDst = r.info.Local
	if v, ok := r.state(snapshot.KeyUpstreamALPN); ok && len(v) > 0 {
		q.ALPN = strings.Split(string(v), ",")
	}
	if r.cfg.HashSourceIP {
		// The text, as Envoy hashes it.
		q.Hash, q.HasHash = xxhash.Sum64String(r.info.Remote.Addr().Unmap().String()), true
	}
	if k := r.cfg.HashFilterState; k != "" && !q.HasHash {
		if v, ok := r.state(k); ok {
			q.Hash, q.HasHash = xxhash.Sum64(v), true
		}
	}
}

// pickWeighted chooses in proportion to weight.
func pickWeighted(ws []snapshot.TCPTarget, random uint64) *snapshot.TCPTarget {
	var total uint64
	for i := range ws {
		total += uint64(ws[i].Weight)
	}
	if total == 0 {
		return &ws[0]
	}
	n := random % total
	for i := range ws {
		if n < uint64(ws[i].Weight) {
			return &ws[i]
		}
		n -= uint64(ws[i].Weight)
	}
	return &ws[len(ws)-1]
}

func (r *relay) state(key string) ([]byte, bool) {
	if r.info.Facts.Dynamic == nil {
		return nil, false
	}
	return r.info.Facts.Dynamic.FilterState(key)
}

// connect tries one endpoint.
func (r *relay) connect() {
	if r.over || r.downClosed {
		return
	}
	q := &r.req
	q.Snap = r.p.o.Snapshot()
	if q.Cluster = q.Snap.Clusters[r.rec.ClusterName]; q.Cluster == nil {
		r.refuse(flow.FlagNoCluster, "cluster_not_found", "")
		return
	}
	r.rec.Cluster = q.Cluster
	r.rec.Attempts++
	t, fail := r.p.o.Upstreams.DialTCP(q, &r.server)
	if fail != nil {
		// No endpoint, a limit, or settings that cannot work: trying again at once
		// would meet the same.
		r.setHost(fail.Host)
		r.refuse(fail.Flag, fail.Detail, fail.Transport)
		return
	}
	r.setHost(t.Host)
	r.host, r.up = t.Host, t.Conn
}

func (r *relay) setHost(h *upstream.Host) {
	if h == nil {
		return
	}
	r.rec.Upstream, r.rec.Endpoint = h.Address(), h.Endpoint()
}

// attemptFailed goes on after an endpoint that could not be connected.
func (r *relay) attemptFailed(err error) {
	r.up = nil
	if r.over || r.downClosed {
		r.finish()
		return
	}
	f := upstream.TCPFailure(err, r.host)
	most := min(max(r.cfg.MaxConnectAttempts, 1), maxAttempts)
	if r.rec.Attempts >= int(most) {
		r.refuse(f.Flag|flow.FlagUpstreamRetryLimit, f.Detail, f.Transport)
		return
	}
	if h := r.host; h != nil && len(r.req.Avoid) < maxAvoid {
		r.req.Avoid = append(r.req.Avoid, h)
		r.req.HostAttempts = 5
	}
	d := r.backoff()
	if d == 0 {
		r.connect()
		return
	}
	r.idle.Fn = r.connect
	r.p.w.StartTimer(&r.idle, d)
}

const maxAvoid = 8

// backoff is exponential with full jitter; without settings there is none.
func (r *relay) backoff() time.Duration {
	b := r.cfg.Backoff
	if b == nil || b.Base <= 0 {
		return 0
	}
	most := b.Base << min(r.rec.Attempts-1, 20)
	if most <= 0 || b.Max > 0 && most > b.Max {
		most = max(b.Max, b.Base)
	}
	return time.Duration(r.p.w.Rand().Int64N(int64(most)) + 1)
}
