package httpconn

import (
	"bytes"
	"net/netip"
	"strconv"

	"github.com/meshctl/meshctl/internal/proxy/header"
	"github.com/meshctl/meshctl/internal/proxy/route"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// internalHeaders are orders to the proxy that only the mesh itself may give;
// they are taken from requests of clients outside (Envoy: edge requests).
var internalHeaders = [...]string{
	"x-envoy-decorator-operation", "x-envoy-downstream-service-cluster", "x-envoy-downstream-service-node",
	"x-envoy-expected-rq-timeout-ms", "x-envoy-force-trace", "x-envoy-hedge-on-per-try-timeout",
	"x-envoy-internal", "x-envoy-ip-tags", "x-envoy-max-retries", "x-envoy-original-path",
	"x-envoy-retriable-header-names", "x-envoy-retriable-status-codes", "x-envoy-retry-grpc-on",
	"x-envoy-retry-on", "x-envoy-upstream-alt-stat-name", "x-envoy-upstream-rq-per-try-timeout-ms",
	"x-envoy-upstream-rq-timeout-alt-response", "x-envoy-upstream-rq-timeout-ms",
}

// sanitize brings the head of a request into the one form that policy, router
// and application all see. reason is empty if the request may pass.
func (x *exchange) sanitize() (reason string) {
	m := x.Manager
	if reason := x.sanitizePath(); reason != "" {
		return reason
	}
	x.sanitizeHost()
	remote := x.clientAddress()
	x.Facts.Remote = remote
	external := m.UseRemoteAddress && !isInternal(remote.Addr(), m.InternalAddrs)
	if external {
		for _, n := range internalHeaders {
			x.Req.RemoveName(n)
		}
	}
	if m.UseRemoteAddress {
		if !m.SkipXFFAppend {
			x.appendXFF(x.conn.info.Remote.Addr())
		}
		x.Req.SetString(header.XForwardedProto, x.conn.scheme())
		if external {
			var buf [46]byte
			x.Req.Set(header.XEnvoyExternalAddress, remote.Addr().Unmap().AppendTo(buf[:0]))
		} else {
			x.Req.SetString(header.XEnvoyInternal, "true")
		}
	} else if !x.Req.Has(header.XForwardedProto) {
		x.Req.SetString(header.XForwardedProto, x.conn.scheme())
	}
	if m.SchemeOverwrite != "" {
		x.Req.SetString(header.Scheme, m.SchemeOverwrite)
	}
	x.clientCert()
	if m.GenerateRequestID {
		if !x.Req.Has(header.XRequestID) || external && !m.PreserveExternalRequestID {
			var id [36]byte
			x.Req.Set(header.XRequestID, x.conn.s.appendUUID(id[:0]))
		}
	}
	if m.Via != "" {
		x.Req.AddIDString(header.Via, m.Via)
	}
	return ""
}

func (x *exchange) sanitizePath() (reason string) {
	m := x.Manager
	path := x.Req.Get(header.Path)
	if len(path) == 0 || path[0] == '*' {
		return ""
	}
	if bytes.IndexByte(path, '#') >= 0 {
		return "path_normalization_failed"
	}
	clean, ok := route.NormalizePath(path, m.NormalizePath, m.MergeSlashes, m.EscapedSlashes)
	if !ok {
		return "path_normalization_failed"
	}
	if clean != nil {
		x.Req.Set(header.Path, clean)
	}
	return ""
}

func (x *exchange) sanitizeHost() {
	m := x.Manager
	if !m.StripAnyHostPort && !m.StripMatchingHostPort && !m.StripTrailingHostDot {
		return
	}
	host := x.Req.Get(header.Authority)
	name, port := splitHost(host)
	if port != nil && (m.StripAnyHostPort || string(port) == strconv.Itoa(int(x.conn.info.Local.Port()))) {
		host = name
	}
	if m.StripTrailingHostDot {
		host = bytes.TrimSuffix(host, []byte("."))
	}
	x.Req.Set(header.Authority, host)
}

// splitHost cuts host:port; port is nil without one. Brackets of IPv6 stay.
func splitHost(h []byte) (name, port []byte) {
	i := bytes.LastIndexByte(h, ':')
	if i < 0 || bytes.IndexByte(h[i:], ']') >= 0 || i+1 == len(h) {
		return h, nil
	}
	for _, c := range h[i+1:] {
		if c < '0' || c > '9' {
			return h, nil
		}
	}
	return h[:i], h[i+1:]
}

// clientAddress is the client as far as it can be trusted: the socket's peer, or
// the entry of x-forwarded-for that the trusted hops in front of us have written.
func (x *exchange) clientAddress() netip.AddrPort {
	m := x.Manager
	peer := x.conn.info.Remote
	hops := int(m.XFFTrustedHops)
	if m.UseRemoteAddress {
		if hops == 0 {
			return peer
		}
		hops-- // our own peer is the last of them
	}
	xff := x.Req.Get(header.XForwardedFor)
	if len(xff) == 0 {
		return peer
	}
	for {
		i := bytes.LastIndexByte(xff, ',')
		last := bytes.TrimSpace(xff[i+1:])
		if hops == 0 {
			if a, err := netip.ParseAddr(string(last)); err == nil {
				return netip.AddrPortFrom(a, 0)
			}
			return peer
		}
		if i < 0 {
			return peer
		}
		xff, hops = xff[:i], hops-1
	}
}

// isInternal reports whether a client is one of the ranges given. Without any it
// is not, as in Envoy 1.40: a private address proves nothing, and the headers
// that internal clients may send are orders to the proxy.
func isInternal(a netip.Addr, in *snapshot.InternalAddrs) bool {
	if in == nil {
		return false
	}
	a = a.Unmap()
	for i := range in.Prefixes {
		if in.Prefixes[i].Contains(a) {
			return true
		}
	}
	return false
}

func (x *exchange) appendXFF(a netip.Addr) {
	var buf [512]byte
	dst := buf[:0]
	if old := x.Req.Get(header.XForwardedFor); len(old) > 0 {
		dst = append(append(dst, old...), ',')
	}
	x.Req.Set(header.XForwardedFor, a.Unmap().AppendTo(dst))
}

// clientCert keeps x-forwarded-client-cert honest: nobody may claim an identity
// that a handshake did not prove.
func (x *exchange) clientCert() {
	m := x.Manager
	mutual := x.conn.info.Mutual()
	switch m.ForwardClientCert {
	case snapshot.XFCCAlwaysForwardOnly:
		return
	case snapshot.XFCCForwardOnly:
		if !mutual {
			x.Req.Remove(header.XForwardedClientCert)
		}
		return
	case snapshot.XFCCSanitize:
		x.Req.Remove(header.XForwardedClientCert)
		return
	case snapshot.XFCCAppendForward, snapshot.XFCCSanitizeSet:
	}
	if !mutual {
		x.Req.Remove(header.XForwardedClientCert)
		return
	}
	var buf [1024]byte
	dst := buf[:0]
	if old := x.Req.Get(header.XForwardedClientCert); m.ForwardClientCert == snapshot.XFCCAppendForward && len(old) > 0 {
		dst = append(append(dst, old...), ',')
	}
	x.Req.Set(header.XForwardedClientCert, x.appendXFCC(dst))
}

func (x *exchange) appendXFCC(dst []byte) []byte {
	info, peer := x.conn.info.TLS, x.Facts.Peer
	if x.conn.s.o.LocalURI != nil {
		if uri := x.conn.s.o.LocalURI(); uri != "" {
			dst = append(append(append(dst, "By="...), uri...), ';')
		}
	}
	dst = append(append(dst, "Hash="...), info.SHA256...)
	d := x.Manager.ClientCertDetails
	if d.Subject {
		dst = append(append(append(dst, `;Subject="`...), peer.Subject...), '"')
	}
	if d.URI {
		for _, u := range peer.URISANs {
			dst = append(append(dst, ";URI="...), u...)
		}
	}
	if d.DNS {
		for _, n := range peer.DNSSANs {
			dst = append(append(dst, ";DNS="...), n...)
		}
	}
	return dst
}

const hexDigits = "0123456789abcdef"

// appendUUID writes a random UUID (RFC 9562 version 4).
func (s *Server) appendUUID(dst []byte) []byte {
	a, b := s.w.Rand().Uint64(), s.w.Rand().Uint64()
	a = a&^(0xf<<12) | 4<<12
	b = b&^(3<<62) | 2<<62
	for i := 60; i >= 0; i -= 4 {
		dst = append(dst, hexDigits[a>>uint(i)&15])
		if i == 32 || i == 16 {
			dst = append(dst, '-')
		}
	}
	dst = append(dst, '-')
	for i := 60; i >= 0; i -= 4 {
		dst = append(dst, hexDigits[b>>uint(i)&15])
		if i == 48 {
			dst = append(dst, '-')
		}
	}
	return dst
}
