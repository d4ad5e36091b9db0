package route

import (
	"bytes"
	"slices"
	"strconv"

	"github.com/meshctl/meshctl/internal/proxy/header"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// Choose gives the target of a split for a random value, nil when f has none.
// A weight header, if configured and a number, is used instead of random.
func Choose(f *snapshot.Forward, r *Request) *snapshot.WeightedCluster {
	if len(f.Weighted) == 0 {
		return nil
	}
	n := r.Random
	if f.WeightHeader != "" {
		if v, err := strconv.ParseUint(string(r.Headers.GetName(f.WeightHeader)), 10, 64); err == nil {
			n = v
		}
	}
	n %= uint64(f.TotalWeight)
	for i := range f.Weighted {
		w := &f.Weighted[i]
		if n < uint64(w.Weight) {
			return w
		}
		n -= uint64(w.Weight)
	}
	return nil // not reached: the weights sum up to TotalWeight
}

// Cluster gives the name of the cluster to send to; w is what Choose gave. ""
// when the header that should name it is missing.
func Cluster(f *snapshot.Forward, w *snapshot.WeightedCluster, r *Request) string {
	switch {
	case w != nil:
		return w.Cluster
	case f.ClusterHeader != "":
		return string(r.Headers.GetName(f.ClusterHeader))
	default:
		return f.Cluster
	}
}

// matched is the length of the path that a prefix rewrite replaces.
func matched(p *snapshot.PathMatch, path []byte) int {
	switch p.Kind {
	case snapshot.PathExact:
		return len(path)
	case snapshot.PathPrefix, snapshot.PathSeparatedPrefix:
		return min(len(p.Value), len(path))
	default:
		return 0
	}
}

// RewritePath appends the path (with query) that goes upstream. changed is
// false when nothing is rewritten; dst is returned as it was then. A rewrite by
// format (Rewrite.Path) is made by src.
func RewritePath(dst []byte, rt *snapshot.Route, r *Request, src snapshot.FormatSource) (out []byte, changed bool) {
	if rt.Forward == nil || rt.Forward.Rewrite == nil {
		return dst, false
	}
	rw := rt.Forward.Rewrite
	rest := r.full[len(r.path):]
	switch {
	case rw.HasPrefix:
		dst = append(dst, rw.Prefix...)
		return append(dst, r.full[matched(&rt.Match.Path, r.path):]...), true
	case rw.Regex != nil:
		dst = append(dst, rw.Regex.ReplaceAll(r.path, []byte(rw.Substitution))...)
		return append(dst, rest...), true
	case rw.Path != nil && src != nil:
		dst = rw.Path.Append(dst, src)
		return append(dst, rest...), true
	default:
		return dst, false
	}
}

// RewriteHost appends the host that goes upstream. changed is false when it
// stays (also with AutoHost, which only the router can do, knowing the endpoint).
func RewriteHost(dst []byte, rt *snapshot.Route, w *snapshot.WeightedCluster, r *Request) (out []byte, changed bool) {
	if w != nil && w.HostRewrite != "" {
		return append(dst, w.HostRewrite...), true
	}
	if rt.Forward == nil || rt.Forward.Rewrite == nil {
		return dst, false
	}
	switch rw := rt.Forward.Rewrite; {
	case rw.Host != "":
		return append(dst, rw.Host...), true
	case rw.HostHeader != "":
		v := r.Headers.GetName(rw.HostHeader)
		return append(dst, v...), len(v) > 0
	case rw.HostRegex != nil:
		return append(dst, rw.HostRegex.ReplaceAll(r.path, []byte(rw.HostSubstitution))...), true
	default:
		return dst, false
	}
}

// Location appends the Location of a redirect. secure tells whether the client
// came by TLS, for requests without :scheme.
func Location(dst []byte, rt *snapshot.Route, r *Request, secure bool) []byte {
	d := rt.Redirect
	was := "http"
	if s := r.Headers.Get(header.Scheme); len(s) > 0 {
		was = string(s)
	} else if secure {
		was = "https"
	}
	scheme := was
	switch {
	case d.HTTPS:
		scheme = "https"
	case d.Scheme != "":
		scheme = d.Scheme
	}
	dst = append(append(dst, scheme...), "://"...)
	dst = appendRedirectHost(dst, d, r.host, was, scheme)
	return appendRedirectPath(dst, rt, r)
}

func appendRedirectHost(dst []byte, d *snapshot.Redirect, host []byte, was, scheme string) []byte {
	if d.Port != 0 {
		if d.Host != "" {
			host = []byte(d.Host)
		}
		dst = append(append(dst, stripPort(host)...), ':')
		return strconv.AppendUint(dst, uint64(d.Port), 10)
	}
	if d.Host != "" {
		return append(dst, d.Host...)
	}
	// A default port of the old scheme would be wrong for the new one.
	if was != scheme {
		if was == "http" && bytes.HasSuffix(host, []byte(":80")) || was == "https" && bytes.HasSuffix(host, []byte(":443")) {
			host = stripPort(host)
		}
	}
	return append(dst, host...)
}

func appendRedirectPath(dst []byte, rt *snapshot.Route, r *Request) []byte {
	d := rt.Redirect
	rest := r.full[len(r.path):]
	if d.StripQuery {
		rest = nil
	}
	switch {
	case d.Path != "":
		dst = append(dst, d.Path...)
		if bytes.IndexByte([]byte(d.Path), '?') >= 0 {
			return dst // its own query wins, and is never stripped
		}
	case d.HasPrefix:
		dst = append(append(dst, d.Prefix...), r.path[matched(&rt.Match.Path, r.path):]...)
	case d.Regex != nil:
		dst = append(dst, d.Regex.ReplaceAll(r.path, []byte(d.Substitution))...)
	default:
		dst = append(dst, r.path...)
	}
	return append(dst, rest...)
}

// RequiresTLS reports whether a plain request must be redirected to https.
func RequiresTLS(v *snapshot.VirtualHost, secure, internal bool) bool {
	return !secure && (v.RequireTLS == snapshot.TLSAll || v.RequireTLS == snapshot.TLSExternalOnly && !internal)
}

// Upgrade finds the setting for an upgrade type: the route's, else the
// manager's; nil when there is none (refused).
func Upgrade(m *snapshot.HTTPManager, f *snapshot.Forward, kind string) *snapshot.Upgrade {
	var own []snapshot.Upgrade
	if f != nil {
		own = f.Upgrades
	}
	for _, l := range [2][]snapshot.Upgrade{own, m.Upgrades} {
		if i := slices.IndexFunc(l, func(u snapshot.Upgrade) bool { return u.Type == kind }); i >= 0 {
			return &l[i]
		}
	}
	return nil
}
