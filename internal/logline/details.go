package logline

import "strings"

// Detail finds what response code details, connection termination details or a
// transport failure say. argument is what stands in its brackets or braces.
func Detail(s string) (m Meaning, argument string, ok bool) {
	name, argument := s, ""
	if i := strings.IndexAny(s, "[{:"); i > 0 {
		name, argument = s[:i], strings.TrimRight(s[i+1:], "]}")
		if s[i] == '[' {
			argument = s[i+1:]
			argument = strings.TrimSuffix(argument, "]")
		}
	}
	for _, m := range detailTable {
		if m.Name == s {
			return m, "", true
		}
	}
	for _, m := range detailTable {
		if m.Name == name {
			return m, argument, true
		}
	}
	return Meaning{}, "", false
}

var detailTable = []Meaning{
	{Name: "via_upstream", What: "the program answered, and the proxy passed it on", Causes: []string{"the status is the program's own: look there"}, Next: []string{askLogs}},
	{Name: "route_not_found", What: "no route takes the request", Causes: []string{"no host or match of a VirtualService fits, and it has no rule for the rest", "the gateway does not serve the host"}, Next: []string{askRoute, askRoutes}},
	{Name: "direct_response", What: "a route answered by itself", Causes: []string{"directResponse or redirect of a rule", "the host is none of the mesh, and only those may be called (REGISTRY_ONLY)"}, Next: []string{askRoute}},
	{Name: "cluster_not_found", What: "the route leads to a service or subset that the proxy does not know", Causes: []string{"a subset that no DestinationRule has", "the service was removed, or is hidden from this proxy"}, Next: []string{askAnalyze, askClusters}},
	{Name: "no_healthy_upstream", What: "no endpoint could be used", Causes: []string{"no pod is ready", "a subset that selects no pod", "outlier detection has taken all endpoints out"}, Next: []string{askEndpoints, askAnalyze}},
	{Name: "rbac_access_denied_matched_policy", What: "an authorization policy refused it", Causes: []string{"the policy in the brackets matches (DENY)", "none of the ALLOW policies matches, and there is one"}, Next: []string{"meshctl authz can CLIENT SERVER", "meshctl authz check SERVER"}},
	{Name: "rbac_access_denied", What: "an authorization policy refused it", Next: []string{"meshctl authz check SERVER"}},
	{Name: "jwt_authn_access_denied", What: "the token was refused", Causes: []string{"it is missing, expired, of another issuer or audience, or its signature does not fit", "the issuer's keys could not be fetched"}, Next: []string{"meshctl get requestauthentication -A"}},
	{Name: "ext_authz_denied", What: "the authorization service refused it", Causes: []string{"the service behind a CUSTOM AuthorizationPolicy said no"}, Next: []string{"meshctl authz check SERVER"}},
	{Name: "ext_authz_error", What: "the authorization service could not be asked", Causes: []string{"it is not reachable"}, Next: []string{askClusters}},
	{Name: "fault_filter_abort", What: "the request was ended on purpose", Causes: []string{"fault.abort of a VirtualService's rule"}, Next: []string{askRoute}},
	{Name: "response_timeout", What: "the answer did not come within the timeout", Causes: []string{"the service is slower than the rule's timeout", "a delay is injected", "with {per_try}: one attempt took longer than perTryTimeout"}, Next: []string{askRoute, askLogs}},
	{Name: "upstream_per_try_timeout", What: "one attempt took longer than it may", Causes: []string{"perTryTimeout of the rule"}, Next: []string{askRoute}},
	{Name: "upstream_per_try_idle_timeout", What: "one attempt was quiet for longer than it may", Causes: []string{"the program says nothing"}, Next: []string{askLogs}},
	{Name: "upstream_reset_before_response_started", What: "the endpoint failed before it answered", Causes: []string{"see the reason in the braces"}, Next: []string{askLogs, askRoute}},
	{Name: "upstream_reset_after_response_started", What: "the endpoint failed in the middle of its answer", Causes: []string{"the program crashed or was stopped", "see the reason in the braces"}, Next: []string{askLogs}},
	{Name: "upstream_overflow", What: "a limit on connections or requests was reached", Causes: []string{"connectionPool of the DestinationRule"}, Next: []string{askClusters}},
	{Name: "upstream_max_stream_duration_reached", What: "the request lasted longer than it may", Causes: []string{"maxStreamDuration"}, Next: []string{askRoutes}},
	{Name: "max_duration_timeout", What: "the request lasted longer than it may", Causes: []string{"maxStreamDuration"}, Next: []string{askRoutes}},
	{Name: "stream_idle_timeout", What: "nothing was sent in either direction for too long", Causes: []string{"the program or the client holds the request"}, Next: []string{askLogs}},
	{Name: "request_overall_timeout", What: "the request did not arrive whole in time", Causes: []string{"the client is slow to send"}},
	{Name: "request_header_timeout", What: "the request's head did not arrive in time", Causes: []string{"the client is slow to send"}},
	{Name: "downstream_remote_disconnect", What: "the client closed its connection", Causes: []string{"its timeout is shorter than the answer took", "the user went away"}, Next: []string{"compare the duration with the client's timeout"}},
	{Name: "downstream_remote_reset", What: "the client reset the stream", Causes: []string{"its deadline passed, or it cancelled"}, Next: []string{"compare the duration with the client's timeout"}},
	{Name: "downstream_local_disconnect", What: "this proxy closed the client's connection", Causes: []string{"it was told to stop, or the listener changed"}, Next: []string{"meshctl logs PROXY -c istio-proxy"}},
	{Name: "downstream_protocol_error", What: "what the client sent is not correct HTTP", Causes: []string{"it speaks another protocol on this port"}, Next: []string{askAnalyze}},
	{Name: "upstream_protocol_error", What: "what the endpoint sent is not correct HTTP", Causes: []string{"it speaks another protocol on this port"}, Next: []string{askAnalyze}},
	{Name: "path_normalization_failed", What: "the path has no canonical form, so it was refused", Causes: []string{"it holds a fragment (#), an encoded slash where that is not allowed, or dots that lead out"}, Next: []string{"send the path as it is meant"}},
	{Name: "upgrade_failed", What: "the upgrade that the client asked for is not allowed here", Causes: []string{"a protocol other than WebSocket"}},
	{Name: "filter_chain_not_available", What: "the proxy has a filter that it cannot run", Causes: []string{"a configuration for another proxy, by an EnvoyFilter for example"}, Next: []string{"meshctl logs PROXY -c istio-proxy"}},
	{Name: "cors_response", What: "the proxy answered the browser's CORS preflight", Causes: []string{"corsPolicy of a rule"}, Next: []string{askRoute}},
	{Name: "missing_host_header", What: "the request names no host", Causes: []string{"HTTP/1.0, or a client that is not correct"}},
	{Name: "missing_path_rejected", What: "the request has no path", Causes: []string{"a client that is not correct"}},
	{Name: "absolute_path_rejected", What: "the request's target is an absolute URL that cannot be read"},
	{Name: "low_version", What: "the client speaks HTTP/1.0 or older, which is not served here", Causes: []string{"set the annotation or meta data that allows HTTP/1.0, if the client cannot do better"}},
	{Name: "internal_redirect", What: "the proxy followed a redirect itself"},
	{Name: "maintenance_mode", What: "the service is in maintenance: a share of its requests is refused"},
	{Name: "overload", What: "the proxy is overloaded", Next: []string{"meshctl proxy-config bootstrap PROXY"}},
	{Name: "request_rate_limited", What: "a rate limit refused it", Next: []string{"meshctl proxy-config listeners PROXY -o json"}},
	{Name: "local_rate_limited", What: "a rate limit of this proxy refused it", Next: []string{"meshctl proxy-config listeners PROXY -o json"}},
	{Name: "local_ratelimit", What: "a rate limit of this proxy refused the connection", Next: []string{"meshctl proxy-config listeners PROXY -o json"}},
	{Name: "connection_limit", What: "there were as many connections as the listener may have", Causes: []string{"a connection limit filter, by an EnvoyFilter for example"}, Next: []string{"meshctl proxy-config listeners PROXY -o json"}},
	{Name: "filter_chain_not_found", What: "no filter chain takes the connection", Causes: []string{"mutual TLS is demanded (STRICT) and plain text came", "no server of the gateway has the name that TLS asks for"}, Next: []string{"meshctl proxy-config listeners PROXY", "meshctl authz can CLIENT SERVER"}},
	{Name: "filter_chain_without_filters", What: "the chain that takes the connection closes every one", Next: []string{"meshctl proxy-config listeners PROXY -o json"}},
	{Name: "original_destination_is_listener", What: "the connection was made to the proxy's own port, not redirected there", Causes: []string{"something calls port 15001 or 15006 directly"}},
	{Name: "listener_filter_timeout", What: "the client said nothing, and the proxy had to know what it speaks", Causes: []string{"a protocol in which the server speaks first: name the Service's port tcp- or mysql-"}, Next: []string{askAnalyze}},
	{Name: "proxy_protocol_error", What: "the PROXY protocol's header is missing or wrong", Causes: []string{"the load balancer before the gateway does not send it"}},
	{Name: "network_filter_not_supported", What: "the connection's filter is one that the proxy does not have", Causes: []string{"an EnvoyFilter for another proxy"}, Next: []string{"meshctl logs PROXY -c istio-proxy"}},
	{Name: "tcp_proxy_tunneling_config_not_supported", What: "tunnelling of TCP over HTTP is asked for, which this proxy does not do"},
	{Name: "tcp_session_idle_timeout", What: "nothing was sent over the connection for too long", Causes: []string{"idleTimeout of the DestinationRule's tcp settings is shorter than the pause"}, Next: []string{askClusters}},
	{Name: "max_connection_duration_reached", What: "the connection lasted longer than it may", Causes: []string{"maxConnectionDuration of the DestinationRule"}, Next: []string{askClusters}},
	{Name: "listener_drained", What: "the configuration of the listener changed, and the connection was ended after its time to finish"},
	{Name: "metadata_exchange_error", What: "what the other sidecar said of itself cannot be read", Next: []string{"meshctl logs PROXY -c istio-proxy"}},
	{Name: "TLS_error", What: "the TLS handshake failed", Causes: []string{"one side does not trust the other's root, or a certificate has expired", "plain text came where TLS is expected"}, Next: []string{"meshctl proxy-config secret PROXY"}},
	{Name: "server_name_missing", What: "the client's TLS names no host (SNI), and the server needs it to choose a certificate"},
}

// reasons are what stands in the braces of upstream_reset_… : why the endpoint failed.
var reasons = map[string]string{
	"connection_failure":          "no connection could be made: nothing listens there, or the way is blocked",
	"connection_timeout":          "no connection could be made within the connect timeout: packets are dropped, or the other side is overloaded",
	"connection_termination":      "the connection ended: the pod was stopped, or it closed an idle connection just as it was used again",
	"local_reset":                 "this proxy gave it up",
	"local_connection_failure":    "no connection could be made, for a reason on this side",
	"remote_reset":                "the other side reset the stream",
	"remote_refused_stream_reset": "the other side refused the stream before it looked at it",
	"remote_connection_failure":   "the other side refused the connection: nothing listens on the port",
	"connect_error":               "the other side answered CONNECT with a failure",
	"overflow":                    "a limit on connections or requests was reached",
	"protocol_error":              "the other side broke the protocol",
	"drain":                       "the other side is going away",
	"per_try":                     "one attempt took longer than perTryTimeout",
}
