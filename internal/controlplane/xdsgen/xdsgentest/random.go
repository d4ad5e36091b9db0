package xdsgentest

import (
	"fmt"
	"net/netip"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	networking "istio.io/api/networking/v1alpha3"
	"pgregory.net/rapid"

	"github.com/meshctl/meshctl/internal/mesh"
)

// services of the properties: reviews with all kinds of ports, ratings with one.
const services = `
kind: Workload
spec: {namespace: default, labels: {app: a}, ports: [{number: 9080, protocol: HTTP}, {number: 9081, protocol: Auto}]}
---
kind: Service
metadata: {name: reviews}
spec:
  host: reviews.default.svc.cluster.local
  addresses: [10.0.0.1]
  ports: [{name: http, number: 9080, protocol: HTTP}, {name: auto, number: 9082, protocol: Auto}, {name: tcp, number: 9083, protocol: TCP}, {name: grpc, number: 9084, protocol: GRPC}]
  endpoints:
  - {address: 10.1.0.1, port: 9080, serviceport: 9080, labels: {version: v1}, tlsmode: istio, locality: {region: r1, zone: z1}}
  - {address: 10.1.0.2, port: 9080, serviceport: 9080, labels: {version: v2}, locality: {region: r1, zone: z2}}
  - {address: 10.1.0.3, port: 9080, serviceport: 9080, labels: {version: v1}, locality: {region: r2}, weight: 7}
---
kind: Service
metadata: {name: ratings}
spec:
  host: ratings.default.svc.cluster.local
  addresses: [10.0.0.2]
  ports: [{name: http, number: 9080, protocol: HTTP}]
  endpoints: [{address: 10.1.0.9, port: 9080, serviceport: 9080}]
---
kind: Service
metadata: {name: outside}
spec:
  host: outside.example.com
  resolution: dns
  external: true
  ports: [{name: http, number: 9080, protocol: HTTP}, {name: tls, number: 443, protocol: TLS}, {name: tcp, number: 9083, protocol: TCP}]
---
kind: Gateway
metadata: {name: gw}
spec: {servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}, {port: {number: 443, name: tls, protocol: TLS}, hosts: ["*"], tls: {mode: PASSTHROUGH}}]}
`

// words are what users write, wrong ones among them.
func words() *rapid.Generator[string] {
	return rapid.SampledFrom([]string{"", "a", "x-user", "/", "/a/b", "(", "[a-z]+", "%", "%REQ(:path)%", "100%", "a b", "\\1", ":authority", "host", "v1", "*", "é", "a\nb"})
}

func hosts() *rapid.Generator[string] {
	return rapid.SampledFrom([]string{"reviews.default.svc.cluster.local", "ratings.default.svc.cluster.local", "outside.example.com", "nowhere.example.com"})
}

func small() *rapid.Generator[int32] { return rapid.Int32Range(-1, 120) }

func optional[T any](t *rapid.T, name string, g *rapid.Generator[T]) (v T) {
	if rapid.Bool().Draw(t, name+"?") {
		return g.Draw(t, name)
	}
	return v
}

func durations() *rapid.Generator[*durationpb.Duration] {
	return rapid.Custom(func(t *rapid.T) *durationpb.Duration {
		return durationpb.New(rapid.SampledFrom([]time.Duration{-time.Second, 0, time.Microsecond, time.Millisecond, time.Second, 400 * time.Second}).Draw(t, "d"))
	})
}

func matches() *rapid.Generator[*networking.StringMatch] {
	return rapid.Custom(func(t *rapid.T) *networking.StringMatch {
		w := words().Draw(t, "match")
		switch rapid.IntRange(0, 3).Draw(t, "form") {
		case 0:
			return &networking.StringMatch{MatchType: &networking.StringMatch_Exact{Exact: w}}
		case 1:
			return &networking.StringMatch{MatchType: &networking.StringMatch_Prefix{Prefix: w}}
		case 2:
			return &networking.StringMatch{MatchType: &networking.StringMatch_Regex{Regex: w}}
		default:
			return &networking.StringMatch{}
		}
	})
}

func destinations() *rapid.Generator[*networking.Destination] {
	return rapid.Custom(func(t *rapid.T) *networking.Destination {
		d := &networking.Destination{Host: hosts().Draw(t, "host"), Subset: rapid.SampledFrom([]string{"", "v1", "none"}).Draw(t, "subset")}
		if p := rapid.SampledFrom([]uint32{0, 9080, 9083, 1}).Draw(t, "port"); p != 0 {
			d.Port = &networking.PortSelector{Number: p}
		}
		return d
	})
}

func headers() *rapid.Generator[*networking.Headers] {
	return rapid.Custom(func(t *rapid.T) *networking.Headers {
		op := func(name string) *networking.Headers_HeaderOperations {
			return &networking.Headers_HeaderOperations{
				Add: map[string]string{words().Draw(t, name): words().Draw(t, name)}, Set: map[string]string{words().Draw(t, name): words().Draw(t, name)},
				Remove: []string{words().Draw(t, name)},
			}
		}
		return &networking.Headers{Request: op("request"), Response: op("response")}
	})
}

func httpRoutes() *rapid.Generator[*networking.HTTPRoute] {
	return rapid.Custom(func(t *rapid.T) *networking.HTTPRoute {
		h := &networking.HTTPRoute{Name: words().Draw(t, "name"), Timeout: optional(t, "timeout", durations()), Headers: optional(t, "headers", headers())}
		if rapid.Bool().Draw(t, "match?") {
			h.Match = []*networking.HTTPMatchRequest{{
				Uri: optional(t, "uri", matches()), Method: optional(t, "method", matches()), Authority: optional(t, "authority", matches()),
				IgnoreUriCase: rapid.Bool().Draw(t, "case"), Headers: map[string]*networking.StringMatch{words().Draw(t, "header"): matches().Draw(t, "value")},
				WithoutHeaders: map[string]*networking.StringMatch{"x-no": matches().Draw(t, "value")},
				QueryParams:    map[string]*networking.StringMatch{"q": matches().Draw(t, "value")},
			}}
		}
		switch rapid.IntRange(0, 3).Draw(t, "action") {
		case 0:
			h.Redirect = &networking.HTTPRedirect{Uri: words().Draw(t, "uri"), RedirectCode: rapid.SampledFrom([]uint32{0, 302, 999}).Draw(t, "code")}
		case 1:
			h.DirectResponse = &networking.HTTPDirectResponse{Status: rapid.Uint32Range(0, 700).Draw(t, "status")}
		default:
			for range rapid.IntRange(0, 3).Draw(t, "routes") {
				h.Route = append(h.Route, &networking.HTTPRouteDestination{Destination: destinations().Draw(t, "to"), Weight: small().Draw(t, "weight"), Headers: optional(t, "headers", headers())})
			}
			h.Rewrite = optional(t, "rewrite", rapid.Custom(func(t *rapid.T) *networking.HTTPRewrite {
				return &networking.HTTPRewrite{Uri: words().Draw(t, "uri"), UriRegexRewrite: optional(t, "regex", rapid.Custom(func(t *rapid.T) *networking.RegexRewrite {
					return &networking.RegexRewrite{Match: words().Draw(t, "m"), Rewrite: words().Draw(t, "r")}
				}))}
			}))
			h.Retries = optional(t, "retries", rapid.Custom(func(t *rapid.T) *networking.HTTPRetry {
				return &networking.HTTPRetry{Attempts: small().Draw(t, "n"), PerTryTimeout: optional(t, "per try", durations()), RetryOn: rapid.SampledFrom([]string{"", "5xx", "503", " 5xx, 404 "}).Draw(t, "on"), Backoff: optional(t, "backoff", durations())}
			}))
			h.Fault = optional(t, "fault", rapid.Custom(func(t *rapid.T) *networking.HTTPFaultInjection {
				return &networking.HTTPFaultInjection{
					Delay: &networking.HTTPFaultInjection_Delay{HttpDelayType: &networking.HTTPFaultInjection_Delay_FixedDelay{FixedDelay: durations().Draw(t, "delay")}},
					Abort: &networking.HTTPFaultInjection_Abort{ErrorType: &networking.HTTPFaultInjection_Abort_HttpStatus{HttpStatus: small().Draw(t, "status") * 6}, Percentage: &networking.Percent{Value: rapid.Float64Range(-1, 200).Draw(t, "percent")}},
				}
			}))
			h.Mirror = optional(t, "mirror", destinations())
			h.CorsPolicy = optional(t, "cors", rapid.Custom(func(t *rapid.T) *networking.CorsPolicy {
				return &networking.CorsPolicy{AllowOrigins: []*networking.StringMatch{matches().Draw(t, "origin")}, MaxAge: optional(t, "age", durations())}
			}))
		}
		return h
	})
}

func trafficPolicies() *rapid.Generator[*networking.TrafficPolicy] {
	return rapid.Custom(func(t *rapid.T) *networking.TrafficPolicy {
		p := &networking.TrafficPolicy{}
		p.ConnectionPool = &networking.ConnectionPoolSettings{
			Tcp: &networking.ConnectionPoolSettings_TCPSettings{MaxConnections: small().Draw(t, "connections"), ConnectTimeout: optional(t, "connect", durations())},
			Http: &networking.ConnectionPoolSettings_HTTPSettings{
				Http1MaxPendingRequests: small().Draw(t, "pending"), MaxConcurrentStreams: small().Draw(t, "streams"),
				MaxRequestsPerConnection: small().Draw(t, "requests"), UseClientProtocol: rapid.Bool().Draw(t, "client protocol"),
			},
		}
		if rapid.Bool().Draw(t, "outlier?") {
			p.OutlierDetection = &networking.OutlierDetection{
				Consecutive_5XxErrors: optional(t, "5xx", rapid.Custom(func(t *rapid.T) *wrapperspb.UInt32Value {
					return wrapperspb.UInt32(rapid.Uint32Range(0, 9).Draw(t, "n"))
				})),
				Interval: optional(t, "interval", durations()), BaseEjectionTime: optional(t, "base", durations()), MaxEjectionPercent: small().Draw(t, "max") % 101, MinHealthPercent: small().Draw(t, "min"),
			}
		}
		p.LoadBalancer = optional(t, "lb", rapid.Custom(func(t *rapid.T) *networking.LoadBalancerSettings {
			l := &networking.LoadBalancerSettings{Warmup: optional(t, "warmup", rapid.Custom(func(t *rapid.T) *networking.WarmupConfiguration {
				return &networking.WarmupConfiguration{Duration: durations().Draw(t, "d"), Aggression: wrapperspb.Double(rapid.Float64Range(-1, 5).Draw(t, "a")), MinimumPercent: wrapperspb.Double(rapid.Float64Range(0, 200).Draw(t, "p"))}
			}))}
			if rapid.Bool().Draw(t, "hash?") {
				l.LbPolicy = &networking.LoadBalancerSettings_ConsistentHash{ConsistentHash: &networking.LoadBalancerSettings_ConsistentHashLB{
					HashKey:       &networking.LoadBalancerSettings_ConsistentHashLB_HttpHeaderName{HttpHeaderName: words().Draw(t, "header")},
					HashAlgorithm: &networking.LoadBalancerSettings_ConsistentHashLB_Maglev{Maglev: &networking.LoadBalancerSettings_ConsistentHashLB_MagLev{TableSize: rapid.Uint64Range(0, 20).Draw(t, "table")}},
				}}
			} else {
				l.LbPolicy = &networking.LoadBalancerSettings_Simple{Simple: networking.LoadBalancerSettings_SimpleLB(rapid.IntRange(0, 5).Draw(t, "simple"))}
			}
			if rapid.Bool().Draw(t, "locality?") {
				l.LocalityLbSetting = &networking.LocalityLoadBalancerSetting{Distribute: []*networking.LocalityLoadBalancerSetting_Distribute{{From: "r1/*", To: map[string]uint32{"r1/z1/*": rapid.Uint32Range(0, 100).Draw(t, "share"), "r2/*": 30}}}}
			}
			return l
		}))
		if rapid.Bool().Draw(t, "tls?") {
			p.Tls = &networking.ClientTLSSettings{Mode: networking.ClientTLSSettings_TLSmode(rapid.IntRange(0, 3).Draw(t, "mode")), Sni: rapid.SampledFrom([]string{"", "x.example.com"}).Draw(t, "sni"), CredentialName: rapid.SampledFrom([]string{"", "c"}).Draw(t, "credential")}
		}
		return p
	})
}

// Draw gives three services and a gateway random routes and rules, with values as
// users write them, wrong ones among them.
func Draw(t *rapid.T) *Scenario {
	s, err := Parse(services)
	if err != nil {
		t.Fatal(err)
	}
	switch s.Workload.HTTPProxy = rapid.SampledFrom([]uint32{0, 15007}).Draw(t, "HTTP proxy"); rapid.IntRange(0, 3).Draw(t, "capture") {
	case 0:
		s.Workload.Interception = mesh.InterceptNone
	case 1:
		s.Workload.Interception, s.Workload.Bound = mesh.InterceptNone, "127.9.3.0/24,10.0.0.0/24"
	}
	if s.Workload.IPv6 = rapid.Bool().Draw(t, "IPv6"); s.Workload.IPv6 {
		for i := range s.Services {
			for j, e := range s.Services[i].Endpoints {
				if a, err := netip.ParseAddr(e.Address); err == nil && a.Is4() && rapid.Bool().Draw(t, "dual stack") {
					e.Additional = []string{fmt.Sprintf("fd00::%d:%d", i+1, j+1)}
				}
			}
		}
	}
	for i := range rapid.IntRange(0, 3).Draw(t, "virtual services") {
		spec := &networking.VirtualService{Http: rapid.SliceOfN(httpRoutes(), 0, 3).Draw(t, "http")}
		for range rapid.IntRange(0, 2).Draw(t, "tls") {
			spec.Tls = append(spec.Tls, &networking.TLSRoute{
				Match: []*networking.TLSMatchAttributes{{SniHosts: []string{hosts().Draw(t, "sni")}, Port: 443}},
				Route: []*networking.RouteDestination{{Destination: destinations().Draw(t, "to"), Weight: small().Draw(t, "weight")}, {Destination: destinations().Draw(t, "to"), Weight: small().Draw(t, "weight")}},
			})
		}
		o := mesh.Origin{Group: "networking.istio.io", Kind: "VirtualService", Namespace: "default", Name: fmt.Sprint("vs", i)}
		s.VirtualServices = append(s.VirtualServices, &mesh.VirtualService{
			Origin: o, Hosts: []string{hosts().Draw(t, "of")}, Gateways: []string{"default/gw", "mesh"}, Spec: spec,
		})
	}
	for i := range rapid.IntRange(0, 2).Draw(t, "rules") {
		spec := &networking.DestinationRule{Host: hosts().Draw(t, "of"), TrafficPolicy: optional(t, "policy", trafficPolicies())}
		spec.Subsets = []*networking.Subset{{Name: "v1", Labels: map[string]string{"version": "v1"}, TrafficPolicy: optional(t, "policy", trafficPolicies())}}
		s.DestinationRules = append(s.DestinationRules, &mesh.DestinationRule{
			Origin: mesh.Origin{Group: "networking.istio.io", Kind: "DestinationRule", Namespace: "default", Name: fmt.Sprint("dr", i)}, Host: spec.Host, Spec: spec,
		})
	}
	return s
}
