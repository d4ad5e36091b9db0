package compile

import (
	"fmt"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

func (c *Compiler) redirect(m *routev3.RedirectAction) (*snapshot.Redirect, error) {
	out := &snapshot.Redirect{Host: m.HostRedirect, Port: m.PortRedirect, StripQuery: m.StripQuery}
	codes := map[routev3.RedirectAction_RedirectResponseCode]uint16{
		routev3.RedirectAction_MOVED_PERMANENTLY: 301, routev3.RedirectAction_FOUND: 302, routev3.RedirectAction_SEE_OTHER: 303,
		routev3.RedirectAction_TEMPORARY_REDIRECT: 307, routev3.RedirectAction_PERMANENT_REDIRECT: 308,
	}
	var ok bool
	if out.Code, ok = codes[m.ResponseCode]; !ok {
		return nil, in("response_code", unsupported("code %v", m.ResponseCode))
	}
	switch s := m.SchemeRewriteSpecifier.(type) {
	case *routev3.RedirectAction_HttpsRedirect:
		out.HTTPS = s.HttpsRedirect
	case *routev3.RedirectAction_SchemeRedirect:
		out.Scheme = s.SchemeRedirect
	}
	for _, v := range []string{out.Host, out.Scheme} {
		if err := headerValueOK(v); err != nil {
			return nil, err
		}
	}
	var err error
	switch p := m.PathRewriteSpecifier.(type) {
	case nil:
	case *routev3.RedirectAction_PathRedirect:
		out.Path, err = p.PathRedirect, in("path_redirect", headerValueOK(p.PathRedirect))
	case *routev3.RedirectAction_PrefixRewrite:
		out.Prefix, out.HasPrefix, err = p.PrefixRewrite, true, in("prefix_rewrite", headerValueOK(p.PrefixRewrite))
	case *routev3.RedirectAction_RegexRewrite:
		out.Regex, out.Substitution, err = c.regexRewrite(p.RegexRewrite)
		err = in("regex_rewrite", err)
	default:
		err = unsupported("path rewrite %T", p)
	}
	return out, err
}

func (c *Compiler) direct(m *routev3.DirectResponseAction) (*snapshot.Direct, error) {
	if m.Status < 200 || m.Status > 599 {
		return nil, in("status", fmt.Errorf("%d is not a status", m.Status))
	}
	out := &snapshot.Direct{Status: uint16(m.Status)}
	var err error
	if m.Body != nil {
		if out.Body, err = c.dataSource(m.Body, maxDirectBody); err != nil {
			return nil, in("body", err)
		}
	}
	out.Format, out.ContentType, err = c.bodyFormat(m.BodyFormat)
	return out, in("body_format", err)
}
