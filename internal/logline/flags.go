package logline

import "strings"

// Meaning is what a flag or a response code detail says.
type Meaning struct {
	Name string `json:"name"`           // UF, route_not_found
	Long string `json:"long,omitempty"` // UpstreamConnectionFailure
	What string `json:"what"`
	// Causes, the likeliest first.
	Causes []string `json:"causes,omitempty"`
	// Next are commands and steps, best first; HOST, POD and such stand for what the
	// line tells, and are put in when it does.
	Next []string `json:"next,omitempty"`
}

// Flag finds a response flag by its short or long name.
func Flag(name string) (Meaning, bool) {
	for _, m := range flagTable {
		if m.Name == name || strings.EqualFold(m.Long, name) {
			return m, true
		}
	}
	return Meaning{}, false
}

// Flags are all response flags that Envoy has.
func Flags() []Meaning { return flagTable }

const (
	askRoute     = "meshctl route test --from CLIENT URL"
	askEndpoints = "meshctl proxy-config endpoints CLIENT"
	askClusters  = "meshctl proxy-config clusters CLIENT"
	askRoutes    = "meshctl proxy-config routes CLIENT"
	askLogs      = "meshctl logs SERVER"
	askAnalyze   = "meshctl analyze"
)

var flagTable = []Meaning{
	{"UH", "NoHealthyUpstream", "no endpoint of the service could be used, so nothing was sent", []string{
		"no pod of the service, or of the subset, is ready", "the labels of a DestinationRule's subset select no pod", "outlier detection has taken all endpoints out",
	}, []string{askEndpoints, askRoute, askAnalyze}},
	{"UF", "UpstreamConnectionFailure", "no connection to the endpoint could be made", []string{
		"nothing listens on the port: the targetPort of the Service is wrong, or the program is still starting", "one side speaks mutual TLS and the other does not", "a network policy or firewall drops the packets", "the connect timeout is too short",
	}, []string{askLogs, askRoute, askEndpoints}},
	{"UO", "UpstreamOverflow", "a limit on connections or requests was reached, and the request was refused at once", []string{
		"connectionPool of the DestinationRule allows fewer than come at once", "the service answers more slowly than usual, and requests pile up",
	}, []string{askClusters, askRoute}},
	{"NR", "NoRouteFound", "no route, or for a connection no filter chain, takes it", []string{
		"no host or match of a VirtualService fits, and it has no rule for the rest", "the host is not served by this gateway", "for a connection: TLS was expected and plain text came, or the other way round",
	}, []string{askRoute, askRoutes, askAnalyze}},
	{"URX", "UpstreamRetryLimitExceeded", "all retries failed as well, or so many connection attempts of a TCP connection", []string{
		"the endpoints fail for the reason that the other flags and the details name", "retries are fewer than the failures that they should hide",
	}, []string{askLogs, askRoute}},
	{"NC", "NoClusterFound", "the route leads to a service or subset that the proxy does not know", []string{
		"a VirtualService names a subset that no DestinationRule has", "a Sidecar or exportTo hides the host from this proxy", "the service was removed",
	}, []string{askAnalyze, askClusters, askRoute}},
	{"DT", "DurationTimeout", "a request or connection lasted longer than it may", []string{"max_stream_duration or maxConnectionDuration is shorter than the exchange"}, []string{askRoutes, askClusters}},
	{"DC", "DownstreamConnectionTermination", "the client closed its connection before the answer was complete", []string{
		"the client's own timeout is shorter than the answer took", "the user went away", "the client was restarted",
	}, []string{"compare the duration of the line with the client's timeout", askRoute}},
	{"LH", "FailedLocalHealthCheck", "the proxy's own service failed its health check", []string{"the health check filter answers for a program that is not well"}, []string{askLogs}},
	{"UT", "UpstreamRequestTimeout", "the answer did not come within the timeout", []string{
		"the service is slower than the timeout of the VirtualService's rule", "a delay is injected on the way", "retries with perTryTimeout used the time up",
	}, []string{askRoute, askLogs}},
	{"LR", "LocalReset", "this proxy gave the connection or stream up", []string{
		"the other side of the request went away", "the proxy was told to stop, and drained", "the configuration is one that it cannot serve",
	}, []string{"meshctl logs PROXY -c istio-proxy"}},
	{"UR", "UpstreamRemoteReset", "the endpoint reset the request's stream or connection", []string{
		"the program crashed or refused the stream", "the program closes idle connections just as one is used again", "one side speaks HTTP/1.1 and the other HTTP/2",
	}, []string{askLogs, askRoute}},
	{"UC", "UpstreamConnectionTermination", "the connection to the endpoint ended in the middle", []string{
		"the pod was stopped", "the program keeps idle connections for a shorter time than the proxy, and closed one as it was used again", "mutual TLS was demanded (STRICT) and plain text came",
	}, []string{askLogs, "meshctl get pods -A", askRoute}},
	{"DI", "DelayInjected", "the request was delayed on purpose", []string{"fault.delay of a VirtualService's rule"}, []string{askRoute}},
	{"FI", "FaultInjected", "the request was ended on purpose", []string{"fault.abort of a VirtualService's rule"}, []string{askRoute}},
	{"RL", "RateLimited", "a rate limit refused it", []string{"local or global rate limiting is configured, by an EnvoyFilter for example, and more came than it lets through"}, []string{"meshctl proxy-config listeners PROXY -o json"}},
	{"UAEX", "UnauthorizedExternalService", "an authorization service or policy refused it", []string{"the service of a CUSTOM AuthorizationPolicy said no", "a policy refused the connection"}, []string{"meshctl authz check SERVER", "meshctl authz can CLIENT SERVER"}},
	{"RLSE", "RateLimitServiceError", "the rate limit service failed, and the filter refuses then", []string{"the rate limit service is not reachable"}, []string{askClusters}},
	{"IH", "InvalidEnvoyRequestHeaders", "a header that Envoy demands to be valid is not", []string{"the client sends x-envoy- headers with values that mean nothing"}, []string{"look at the request's x-envoy- headers"}},
	{"SI", "StreamIdleTimeout", "nothing was sent in either direction for too long", []string{"the program holds the request and says nothing", "the client never finished its request", "a stream that is quiet by nature needs a longer idle timeout"}, []string{askLogs, askRoutes}},
	{"DPE", "DownstreamProtocolError", "what the client sent is not correct HTTP", []string{"the client speaks another protocol on this port: name the Service's port accordingly (tcp-, https-)", "a malformed request, or a path without canonical form"}, []string{askAnalyze, "meshctl proxy-config listeners PROXY"}},
	{"UPE", "UpstreamProtocolError", "what the endpoint answered is not correct HTTP", []string{"the program speaks another protocol: HTTP/2 where HTTP/1.1 is expected, or none: see the name or appProtocol of the Service's port", "a header or status line is malformed"}, []string{askLogs, askAnalyze}},
	{"UMSDR", "UpstreamMaxStreamDurationReached", "the request lasted longer than a stream may", []string{"maxStreamDuration of the route or the service"}, []string{askRoutes}},
	{"RFCF", "ResponseFromCacheFilter", "a cache answered", []string{"a cache filter is configured, by an EnvoyFilter for example"}, []string{"meshctl proxy-config listeners PROXY -o json"}},
	{"NFCF", "NoFilterConfigFound", "the configuration of a filter had not come yet, and the request was refused", []string{"a WasmPlugin or other extension could not be fetched"}, []string{"meshctl proxy-status"}},
	{"OM", "OverloadManagerTerminated", "the proxy is overloaded, or has as many connections as it may", []string{"a connection limit is reached", "the proxy's memory or descriptors are used up"}, []string{"meshctl proxy-config bootstrap PROXY"}},
	{"DF", "DnsResolutionFailed", "the name of the endpoint could not be resolved", []string{"a ServiceEntry with resolution DNS names a host that DNS does not know", "the DNS server does not answer"}, []string{askClusters, askAnalyze}},
	{"DO", "DropOverLoad", "it was dropped to relieve the service", []string{"the load assignment asks for a share to be dropped"}, []string{askEndpoints}},
	{"DR", "DownstreamRemoteReset", "the client reset the request's stream", []string{"the client cancelled: its timeout or deadline passed, or the user went away"}, []string{"compare the duration of the line with the client's timeout"}},
	{"UDO", "UnconditionalDropOverload", "it was dropped: all of the service's load is to be dropped", []string{"the load assignment asks for everything to be dropped"}, []string{askEndpoints}},
}
