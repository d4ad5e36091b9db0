package compile

import (
	"errors"
	"fmt"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// routeTable compiles a route configuration with all its virtual hosts.
func (c *Compiler) routeTable(m *routev3.RouteConfiguration) (*snapshot.RouteTable, error) {
	t, err := c.routeTableHead(m)
	if err != nil {
		return nil, err
	}
	hosts := make([]*snapshot.VirtualHost, len(m.VirtualHosts))
	for i, v := range m.VirtualHosts {
		if hosts[i], err = c.virtualHost(v); err != nil {
			return nil, at("virtual_hosts", i, err)
		}
	}
	return t, t.AddHosts(hosts)
}

// routeTableHead compiles all of a route configuration but its virtual hosts.
func (c *Compiler) routeTableHead(m *routev3.RouteConfiguration) (*snapshot.RouteTable, error) {
	t := &snapshot.RouteTable{
		Name: c.str(m.Name), IgnorePort: m.IgnorePortInHostMatching, VHDS: m.Vhds != nil,
		MostSpecificWins: m.MostSpecificHeaderMutationsWins, Config: c.istioConfig(m.Metadata),
	}
	if len(m.VirtualHosts) > maxHosts {
		return nil, in("virtual_hosts", fmt.Errorf("%d, at most %d", len(m.VirtualHosts), maxHosts))
	}
	for _, n := range m.InternalOnlyHeaders {
		t.InternalOnly = append(t.InternalOnly, lowerASCII(n))
	}
	var err error
	if t.Headers, err = c.headerOps(m); err != nil {
		return nil, err
	}
	if t.Mirrors, err = c.mirrors(m.RequestMirrorPolicies); err != nil {
		return nil, err
	}
	t.Overrides, err = c.overrides(m.TypedPerFilterConfig)
	return t, err
}

// virtualHost compiles a virtual host.
func (c *Compiler) virtualHost(m *routev3.VirtualHost) (*snapshot.VirtualHost, error) {
	out := &snapshot.VirtualHost{
		Name: c.str(m.Name), AttemptCount: m.IncludeRequestAttemptCount, AttemptCountResponse: m.IncludeAttemptCountInResponse,
		TimeoutRetryHeader: m.IncludeIsTimeoutRetryHeader, Config: c.istioConfig(m.Metadata),
	}
	switch {
	case m.Name == "":
		return nil, in("name", errors.New("empty"))
	case len(m.Domains) == 0 || len(m.Domains) > maxDomains:
		return nil, in("domains", fmt.Errorf("%d, want 1 to %d", len(m.Domains), maxDomains))
	case len(m.Routes) > maxRoutes:
		return nil, in("routes", fmt.Errorf("%d, at most %d", len(m.Routes), maxRoutes))
	}
	out.Domains = make([]string, len(m.Domains))
	for i, d := range m.Domains {
		if d == "" || strings.ContainsAny(d, " \t\r\n\x00/") {
			return nil, at("domains", i, fmt.Errorf("%q is not a domain", d))
		}
		out.Domains[i] = lowerASCII(d)
	}
	switch m.RequireTls {
	case routev3.VirtualHost_NONE:
	case routev3.VirtualHost_EXTERNAL_ONLY:
		out.RequireTLS = snapshot.TLSExternalOnly
	case routev3.VirtualHost_ALL:
		out.RequireTLS = snapshot.TLSAll
	default:
		return nil, in("require_tls", unsupported("value %v", m.RequireTls))
	}
	var err error
	if out.Headers, err = c.headerOps(m); err != nil {
		return nil, err
	}
	if out.Overrides, err = c.overrides(m.TypedPerFilterConfig); err != nil {
		return nil, err
	}
	if m.RetryPolicy != nil {
		if out.Retry, err = c.retry(m.RetryPolicy); err != nil {
			return nil, in("retry_policy", err)
		}
	}
	if out.Mirrors, err = c.mirrors(m.RequestMirrorPolicies); err != nil {
		return nil, err
	}
	out.Routes = make([]*snapshot.Route, len(m.Routes))
	for i, r := range m.Routes {
		if out.Routes[i], err = c.route(r); err != nil {
			return nil, at("routes", i, err)
		}
	}
	out.Index = snapshot.IndexPaths(out.Routes)
	return out, nil
}

func (c *Compiler) route(m *routev3.Route) (*snapshot.Route, error) {
	out := &snapshot.Route{
		Name: c.str(m.Name), StatPrefix: c.str(m.StatPrefix), Config: c.istioConfig(m.Metadata), Rule: c.istioRule(m.Metadata),
		Decorator: c.str(m.GetDecorator().GetOperation()), DecoratorPropagate: m.Decorator != nil && boolean(m.Decorator.Propagate, true),
		BufferLimit: uint64(u32(m.PerRequestBufferLimitBytes, 0)), //nolint:staticcheck // deprecated, still sent
	}
	if m.RequestBodyBufferLimit != nil {
		out.BufferLimit = m.RequestBodyBufferLimit.Value
	}
	if m.Match == nil {
		return nil, in("match", errors.New("missing"))
	}
	var err error
	if out.Metadata, err = c.metadata(m.Metadata); err != nil {
		return nil, in("metadata", err)
	}
	if out.Match, err = c.routeMatch(m.Match); err != nil {
		return nil, in("match", err)
	}
	switch a := m.Action.(type) {
	case *routev3.Route_Route:
		out.Forward, err = c.forward(a.Route, &out.Match)
		err = in("route", err)
	case *routev3.Route_Redirect:
		out.Redirect, err = c.redirect(a.Redirect)
		err = in("redirect", err)
	case *routev3.Route_DirectResponse:
		out.Direct, err = c.direct(a.DirectResponse)
		err = in("direct_response", err)
	case *routev3.Route_NonForwardingAction:
	default:
		err = unsupported("action %T", a)
	}
	if err != nil {
		return nil, err
	}
	if out.Headers, err = c.headerOps(m); err != nil {
		return nil, err
	}
	if out.Overrides, err = c.overrides(m.TypedPerFilterConfig); err != nil {
		return nil, err
	}
	if t := m.Tracing; t != nil {
		out.Tracing, err = c.routeTracing(t)
	}
	return out, in("tracing", err)
}

func (c *Compiler) routeTracing(m *routev3.Tracing) (*snapshot.RouteTracing, error) {
	out := &snapshot.RouteTracing{}
	for _, f := range []struct {
		name string
		dst  *uint32
		get  func() (int32, error)
	}{
		{"client_sampling", &out.ClientSampling, func() (int32, error) { return fraction(m.ClientSampling, million) }},
		{"random_sampling", &out.RandomSampling, func() (int32, error) { return fraction(m.RandomSampling, million) }},
		{"overall_sampling", &out.OverallSampling, func() (int32, error) { return fraction(m.OverallSampling, million) }},
	} {
		v, err := f.get()
		if err != nil {
			return nil, in(f.name, err)
		}
		*f.dst = uint32(v)
	}
	var err error
	out.Tags, err = c.traceTags(m.CustomTags)
	return out, err
}
