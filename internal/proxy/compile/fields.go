package compile

// fieldsText lists every field of every message that the compiler understands.
// "Message: a b" are read by the compiler; "~ field reason" has no effect here
// and why that does no harm. Whatever is not in the table is refused by name;
// a test holds the table against the descriptors.
const fieldsText = `
# --- listeners
envoy.config.listener.v3.Listener: name address additional_addresses stat_prefix filter_chains default_filter_chain
  use_original_dst per_connection_buffer_limit_bytes metadata deprecated_v1 listener_filters listener_filters_timeout
  continue_on_listener_filters_timeout transparent freebind socket_options traffic_direction connection_balance_config
  enable_reuse_port access_log tcp_backlog_size max_connections_to_accept_per_socket_event bind_to_port tcp_keepalive
~ drain_type the proxy always drains a listener that is removed or changed
~ reuse_port its successor enable_reuse_port is read
~ ignore_global_conn_limit there is no global connection limit to be exempt from
~ bypass_overload_manager there is no overload manager
~ tcp_fast_open_queue_length an optimisation of the handshake only
envoy.config.listener.v3.Listener.DeprecatedV1: bind_to_port
envoy.config.listener.v3.Listener.ConnectionBalanceConfig: exact_balance
envoy.config.listener.v3.Listener.ConnectionBalanceConfig.ExactBalance:
envoy.config.listener.v3.AdditionalAddress: address
envoy.config.listener.v3.ListenerFilter: name typed_config filter_disabled
envoy.config.listener.v3.ListenerFilterChainMatchPredicate: or_match and_match not_match any_match destination_port_range
envoy.config.listener.v3.ListenerFilterChainMatchPredicate.MatchSet: rules
envoy.config.listener.v3.FilterChain: filter_chain_match filters metadata transport_socket transport_socket_connect_timeout name
envoy.config.listener.v3.FilterChainMatch: destination_port prefix_ranges direct_source_prefix_ranges source_type
  source_prefix_ranges source_ports server_names transport_protocol application_protocols
envoy.config.listener.v3.Filter: name typed_config
envoy.extensions.filters.listener.original_dst.v3.OriginalDst:
envoy.extensions.filters.listener.original_src.v3.OriginalSrc: bind_port mark
envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector: initial_read_buffer_size
~ max_client_hello_size the inspector has a bound of its own
~ enable_ja3_fingerprinting only for logging
~ enable_ja4_fingerprinting only for logging
envoy.extensions.filters.listener.http_inspector.v3.HttpInspector:
envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol: allow_requests_without_proxy_protocol disallowed_versions
~ stat_prefix names counters only

# --- basics
envoy.config.core.v3.Address: socket_address pipe
envoy.config.core.v3.SocketAddress: protocol address port_value named_port ipv4_compat
~ resolver_name addresses are literal, or resolved by the cluster
envoy.config.core.v3.Pipe: path mode
envoy.config.core.v3.CidrRange: address_prefix prefix_len
envoy.config.core.v3.Metadata: filter_metadata
~ typed_filter_metadata read by extensions only, and each of those must be known
envoy.config.core.v3.TransportSocket: name typed_config
envoy.config.core.v3.TypedExtensionConfig: name typed_config
envoy.config.core.v3.SocketOption: level name int_value buf_value state
~ description for people
envoy.config.core.v3.TcpKeepalive: keepalive_probes keepalive_time keepalive_interval
envoy.config.core.v3.BindConfig: source_address freebind socket_options extra_source_addresses additional_source_addresses
envoy.config.core.v3.ExtraSourceAddress: address
envoy.config.core.v3.Locality: region zone sub_zone
envoy.config.core.v3.RuntimeFractionalPercent: default_value
~ runtime_key there is no runtime layer; the default is in force
envoy.config.core.v3.RuntimeUInt32: default_value
~ runtime_key there is no runtime layer; the default is in force
envoy.config.core.v3.RuntimeDouble: default_value
~ runtime_key there is no runtime layer; the default is in force
envoy.config.core.v3.HeaderValueOption: header append append_action keep_empty_value
envoy.config.core.v3.HeaderValue: key value raw_value
envoy.config.core.v3.DataSource: filename inline_bytes inline_string environment_variable
envoy.config.core.v3.SubstitutionFormatString: text_format json_format text_format_source omit_empty_values content_type formatters
~ json_format_options fields always come in the order of their names
envoy.config.core.v3.ConfigSource:
~ ads everything comes by the one stream the client has
~ self everything comes by the one stream the client has
~ api_config_source the client decides from whom it takes resources
~ path_config_source the client decides from whom it takes resources
~ path the client decides from whom it takes resources
~ initial_fetch_timeout the client's affair
~ resource_api_version there is only v3
envoy.config.core.v3.BackoffStrategy: base_interval max_interval
envoy.config.core.v3.HttpUri: uri cluster timeout
envoy.config.core.v3.HttpService: http_uri request_headers_to_add
envoy.config.core.v3.GrpcService: envoy_grpc timeout initial_metadata
envoy.config.core.v3.GrpcService.EnvoyGrpc: cluster_name authority
~ retry_policy calls of the proxy itself are repeated by their users
~ max_receive_message_length answers are bounded anyway
~ skip_envoy_headers none are added
envoy.config.core.v3.HttpProtocolOptions: idle_timeout max_connection_duration max_headers_count max_response_headers_kb
  max_stream_duration headers_with_underscores_action max_requests_per_connection
envoy.config.core.v3.UpstreamHttpProtocolOptions: auto_sni auto_san_validation override_auto_sni_header
envoy.config.core.v3.Http1ProtocolOptions: allow_absolute_url accept_http_10 default_host_for_http_10 header_key_format
  enable_trailers allow_chunked_length override_stream_error_on_invalid_http_message
~ use_balsa_parser there is one parser
envoy.config.core.v3.Http1ProtocolOptions.HeaderKeyFormat: stateful_formatter
envoy.config.core.v3.Http2ProtocolOptions: hpack_table_size max_concurrent_streams initial_stream_window_size
  initial_connection_window_size allow_connect allow_metadata max_outbound_frames max_outbound_control_frames
  max_consecutive_inbound_frames_with_empty_payload max_inbound_priority_frames_per_stream
  max_inbound_window_update_frames_per_data_frame_sent stream_error_on_invalid_http_messaging
  override_stream_error_on_invalid_http_message connection_keepalive
~ use_oghttp2_codec there is one codec
envoy.config.core.v3.KeepaliveSettings: interval timeout interval_jitter connection_idle_interval
envoy.config.core.v3.SchemeHeaderTransformation: scheme_to_overwrite match_upstream
envoy.config.core.v3.DnsResolverOptions: use_tcp_for_dns_lookups no_default_search_domain
envoy.config.core.v3.GrpcMethodList: services
envoy.config.core.v3.GrpcMethodList.Service: name method_names
envoy.type.v3.FractionalPercent: numerator denominator
envoy.type.v3.Percent: value
envoy.type.v3.Int64Range: start end
envoy.type.v3.Int32Range: start end
envoy.type.v3.DoubleRange: start end
envoy.type.v3.HttpStatus: code
envoy.type.v3.TokenBucket: max_tokens tokens_per_fill fill_interval
envoy.type.v3.HashPolicy: source_ip filter_state
envoy.type.v3.HashPolicy.SourceIp:
envoy.type.v3.HashPolicy.FilterState: key
envoy.type.matcher.v3.StringMatcher: exact prefix suffix safe_regex contains ignore_case
envoy.type.matcher.v3.ListStringMatcher: patterns
envoy.type.matcher.v3.RegexMatcher: regex
~ google_re2 the only engine
envoy.type.matcher.v3.RegexMatchAndSubstitute: pattern substitution
envoy.type.matcher.v3.PathMatcher: path
envoy.type.matcher.v3.MetadataMatcher: filter path value invert
envoy.type.matcher.v3.MetadataMatcher.PathSegment: key
envoy.type.matcher.v3.ValueMatcher: null_match double_match string_match bool_match present_match list_match or_match
envoy.type.matcher.v3.ValueMatcher.NullMatch:
envoy.type.matcher.v3.DoubleMatcher: range exact
envoy.type.matcher.v3.ListMatcher: one_of
envoy.type.matcher.v3.OrMatcher: value_matchers
envoy.type.matcher.v3.FilterStateMatcher: key string_match
envoy.type.metadata.v3.MetadataKey: key path
envoy.type.metadata.v3.MetadataKey.PathSegment: key
xds.type.v3.TypedStruct: type_url value
udpa.type.v1.TypedStruct: type_url value

# --- network filters
envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy: stat_prefix cluster weighted_clusters metadata_match idle_timeout
  access_log max_connect_attempts backoff_options hash_policy tunneling_config max_downstream_connection_duration
  flush_access_log_on_connected access_log_options
envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.WeightedCluster: clusters
envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.WeightedCluster.ClusterWeight: name weight metadata_match
envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.TunnelingConfig: hostname use_post headers_to_add post_path
envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.TcpAccessLogOptions: access_log_flush_interval flush_access_log_on_connected
envoy.extensions.filters.network.rbac.v3.RBAC: rules shadow_rules shadow_rules_stat_prefix stat_prefix enforcement_type delay_deny
envoy.extensions.filters.network.set_filter_state.v3.Config: on_new_connection
envoy.extensions.filters.network.sni_cluster.v3.SniCluster:
envoy.extensions.filters.network.direct_response.v3.Config: response
envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit: stat_prefix max_connections delay
envoy.extensions.filters.network.local_ratelimit.v3.LocalRateLimit: stat_prefix token_bucket

# --- the HTTP connection manager
envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager: codec_type stat_prefix rds route_config
  http_filters add_user_agent tracing common_http_protocol_options http_protocol_options http2_protocol_options server_name
  server_header_transformation scheme_header_transformation max_request_headers_kb stream_idle_timeout request_timeout
  request_headers_timeout drain_timeout delayed_close_timeout access_log access_log_options use_remote_address
  xff_num_trusted_hops internal_address_config skip_xff_append via generate_request_id preserve_external_request_id
  always_set_request_id_in_response forward_client_cert_details set_current_client_cert_details proxy_100_continue
  upgrade_configs normalize_path merge_slashes path_with_escaped_slashes_action request_id_extension local_reply_config
  strip_matching_host_port stream_error_on_invalid_http_message strip_any_host_port strip_trailing_host_dot append_x_forwarded_port
envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.Tracing: client_sampling random_sampling
  overall_sampling verbose max_path_tag_length custom_tags provider spawn_upstream_span
envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.InternalAddressConfig: unix_sockets cidr_ranges
envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.SetCurrentClientCertDetails: subject cert chain dns uri
envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.UpgradeConfig: upgrade_type filters enabled
envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.HcmAccessLogOptions: access_log_flush_interval
envoy.extensions.filters.network.http_connection_manager.v3.Rds: config_source route_config_name
envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter: name typed_config disabled
~ is_optional a filter that is not known is always refused
envoy.extensions.filters.network.http_connection_manager.v3.RequestIDExtension: typed_config
envoy.extensions.filters.network.http_connection_manager.v3.LocalReplyConfig: mappers body_format
envoy.extensions.filters.network.http_connection_manager.v3.ResponseMapper: filter status_code body body_format_override headers_to_add
envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig: pack_trace_reason use_request_id_for_trace_sampling
envoy.config.trace.v3.Tracing.Http: name typed_config
envoy.config.trace.v3.OpenTelemetryConfig: grpc_service http_service service_name max_cache_size
envoy.config.trace.v3.ZipkinConfig: collector_cluster collector_endpoint trace_id_128bit shared_span_context
  collector_endpoint_version collector_hostname split_spans_for_request
envoy.type.tracing.v3.CustomTag: tag literal environment request_header value
envoy.type.tracing.v3.CustomTag.Literal: value
envoy.type.tracing.v3.CustomTag.Environment: name default_value
envoy.type.tracing.v3.CustomTag.Header: name default_value

# --- HTTP filters
envoy.extensions.filters.http.router.v3.Router: dynamic_stats start_child_span upstream_log suppress_envoy_headers
  strict_check_headers respect_expected_rq_timeout suppress_grpc_request_failure_code_stats
envoy.extensions.filters.http.rbac.v3.RBAC: rules rules_stat_prefix shadow_rules shadow_rules_stat_prefix track_per_rule_stats
envoy.extensions.filters.http.rbac.v3.RBACPerRoute: rbac
envoy.config.rbac.v3.RBAC: action policies
envoy.config.rbac.v3.Policy: permissions principals
envoy.config.rbac.v3.Permission: and_rules or_rules any header url_path destination_ip destination_port destination_port_range
  metadata not_rule requested_server_name uri_template sourced_metadata
envoy.config.rbac.v3.Permission.Set: rules
envoy.config.rbac.v3.Principal: and_ids or_ids any authenticated source_ip direct_remote_ip remote_ip header url_path metadata
  filter_state not_id sourced_metadata
envoy.config.rbac.v3.Principal.Set: ids
envoy.config.rbac.v3.Principal.Authenticated: principal_name
envoy.config.rbac.v3.SourcedMetadata: metadata_matcher metadata_source
envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig: path_template
envoy.extensions.filters.http.fault.v3.HTTPFault: delay abort upstream_cluster headers downstream_nodes max_active_faults
  response_rate_limit disable_downstream_cluster_stats
~ delay_percent_runtime there is no runtime layer
~ abort_percent_runtime there is no runtime layer
~ delay_duration_runtime there is no runtime layer
~ abort_http_status_runtime there is no runtime layer
~ max_active_faults_runtime there is no runtime layer
~ response_rate_limit_percent_runtime there is no runtime layer
~ abort_grpc_status_runtime there is no runtime layer
envoy.extensions.filters.http.fault.v3.FaultAbort: http_status grpc_status header_abort percentage
envoy.extensions.filters.http.fault.v3.FaultAbort.HeaderAbort:
envoy.extensions.filters.common.fault.v3.FaultDelay: fixed_delay header_delay percentage
envoy.extensions.filters.common.fault.v3.FaultDelay.HeaderDelay:
envoy.extensions.filters.common.fault.v3.FaultRateLimit: fixed_limit header_limit percentage
envoy.extensions.filters.common.fault.v3.FaultRateLimit.FixedLimit: limit_kbps
envoy.extensions.filters.common.fault.v3.FaultRateLimit.HeaderLimit:
envoy.extensions.filters.http.cors.v3.Cors:
envoy.extensions.filters.http.cors.v3.CorsPolicy: allow_origin_string_match allow_methods allow_headers expose_headers max_age
  allow_credentials filter_enabled shadow_enabled allow_private_network_access forward_not_matching_preflights
envoy.extensions.filters.http.grpc_stats.v3.FilterConfig: emit_filter_state individual_method_stats_allowlist
  stats_for_all_methods enable_upstream_stats replace_dots_in_grpc_service_name
envoy.extensions.filters.http.grpc_web.v3.GrpcWeb:
envoy.extensions.filters.http.set_filter_state.v3.Config: on_request_headers
envoy.extensions.filters.common.set_filter_state.v3.FilterStateValue: object_key factory_key format_string read_only
  shared_with_upstream skip_if_empty
envoy.extensions.filters.http.header_mutation.v3.HeaderMutation: mutations most_specific_header_mutations_wins
envoy.extensions.filters.http.header_mutation.v3.HeaderMutationPerRoute: mutations
envoy.extensions.filters.http.header_mutation.v3.Mutations: request_mutations response_mutations response_trailers_mutations
envoy.config.common.mutation_rules.v3.HeaderMutation: remove append remove_on_match
envoy.config.common.mutation_rules.v3.HeaderMutation.RemoveOnMatch: key_matcher
envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit: stat_prefix status token_bucket filter_enabled filter_enforced
  request_headers_to_add_when_not_enforced response_headers_to_add stage local_rate_limit_per_downstream_connection
  enable_x_ratelimit_headers rate_limited_as_resource_exhausted
envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication: providers rules filter_state_rules bypass_cors_preflight
  requirement_map strip_failure_response stat_prefix
envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig: disabled requirement_name
envoy.extensions.filters.http.jwt_authn.v3.JwtProvider: issuer audiences subjects require_expiration max_lifetime remote_jwks
  local_jwks forward from_headers from_params from_cookies forward_payload_header pad_forward_payload_header payload_in_metadata
  normalize_payload_in_metadata header_in_metadata failed_status_in_metadata clock_skew_seconds jwt_cache_config
  claim_to_headers clear_route_cache
envoy.extensions.filters.http.jwt_authn.v3.JwtProvider.NormalizePayload: space_delimited_claims
envoy.extensions.filters.http.jwt_authn.v3.JwtCacheConfig: jwt_cache_size
~ jwt_max_token_size bounds what is cached only
envoy.extensions.filters.http.jwt_authn.v3.RemoteJwks: http_uri cache_duration async_fetch
~ retry_policy a failed fetch is repeated anyway
envoy.extensions.filters.http.jwt_authn.v3.JwksAsyncFetch:
~ fast_listener listeners never wait for key sets
~ failed_refetch_duration the user of the key set has its own backoff
envoy.extensions.filters.http.jwt_authn.v3.JwtHeader: name value_prefix
envoy.extensions.filters.http.jwt_authn.v3.JwtClaimToHeader: header_name claim_name
envoy.extensions.filters.http.jwt_authn.v3.RequirementRule: match requires requirement_name
envoy.extensions.filters.http.jwt_authn.v3.FilterStateRule: name requires
envoy.extensions.filters.http.jwt_authn.v3.ProviderWithAudiences: provider_name audiences
envoy.extensions.filters.http.jwt_authn.v3.JwtRequirement: provider_name provider_and_audiences requires_any requires_all
  allow_missing_or_failed allow_missing
envoy.extensions.filters.http.jwt_authn.v3.JwtRequirementOrList: requirements
envoy.extensions.filters.http.jwt_authn.v3.JwtRequirementAndList: requirements
envoy.extensions.filters.http.ext_authz.v3.ExtAuthz: grpc_service http_service failure_mode_allow failure_mode_allow_header_add
  with_request_body clear_route_cache status_on_error validate_mutations metadata_context_namespaces filter_enabled
  filter_enabled_metadata include_peer_certificate stat_prefix allowed_headers disallowed_headers include_tls_session
~ transport_api_version there is only v3
~ charge_cluster_response_stats counters only
envoy.extensions.filters.http.ext_authz.v3.BufferSettings: max_request_bytes allow_partial_message pack_as_bytes
envoy.extensions.filters.http.ext_authz.v3.HttpService: server_uri path_prefix authorization_request authorization_response
envoy.extensions.filters.http.ext_authz.v3.AuthorizationRequest: allowed_headers headers_to_add
envoy.extensions.filters.http.ext_authz.v3.AuthorizationResponse: allowed_upstream_headers allowed_upstream_headers_to_append
  allowed_client_headers allowed_client_headers_on_success dynamic_metadata_from_headers
envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute: disabled check_settings
envoy.extensions.filters.http.ext_authz.v3.CheckSettings: context_extensions disable_request_body_buffering

# --- access logs
envoy.config.accesslog.v3.AccessLog: name filter typed_config
envoy.config.accesslog.v3.AccessLogFilter: status_code_filter duration_filter not_health_check_filter traceable_filter
  runtime_filter and_filter or_filter header_filter response_flag_filter grpc_status_filter extension_filter metadata_filter log_type_filter
envoy.config.accesslog.v3.StatusCodeFilter: comparison
envoy.config.accesslog.v3.DurationFilter: comparison
envoy.config.accesslog.v3.ComparisonFilter: op value
envoy.config.accesslog.v3.NotHealthCheckFilter:
envoy.config.accesslog.v3.TraceableFilter:
envoy.config.accesslog.v3.RuntimeFilter: percent_sampled use_independent_randomness
~ runtime_key there is no runtime layer; the default is in force
envoy.config.accesslog.v3.AndFilter: filters
envoy.config.accesslog.v3.OrFilter: filters
envoy.config.accesslog.v3.HeaderFilter: header
envoy.config.accesslog.v3.ResponseFlagFilter: flags
envoy.config.accesslog.v3.GrpcStatusFilter: statuses exclude
envoy.config.accesslog.v3.MetadataFilter: matcher match_if_key_not_found
envoy.config.accesslog.v3.LogTypeFilter: types exclude
envoy.config.accesslog.v3.ExtensionFilter: name typed_config
envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter: expression
envoy.extensions.access_loggers.file.v3.FileAccessLog: path format log_format
envoy.extensions.access_loggers.stream.v3.StdoutAccessLog: log_format
envoy.extensions.access_loggers.stream.v3.StderrAccessLog: log_format
envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig: common_config additional_request_headers_to_log
  additional_response_headers_to_log additional_response_trailers_to_log
envoy.extensions.access_loggers.grpc.v3.TcpGrpcAccessLogConfig: common_config
envoy.extensions.access_loggers.grpc.v3.CommonGrpcAccessLogConfig: log_name grpc_service buffer_flush_interval buffer_size_bytes
  filter_state_objects_to_log
~ transport_api_version there is only v3
~ grpc_stream_retry_policy the stream is always opened again
envoy.extensions.access_loggers.open_telemetry.v3.OpenTelemetryAccessLogConfig: common_config grpc_service resource_attributes
  body attributes log_name formatters
~ disable_builtin_labels labels only
~ stat_prefix names counters only
opentelemetry.proto.common.v1.KeyValueList: values
opentelemetry.proto.common.v1.KeyValue: key value
opentelemetry.proto.common.v1.AnyValue: string_value
envoy.extensions.access_loggers.stats.v3.Config: stat_prefix histograms counters gauges
envoy.extensions.access_loggers.stats.v3.Config.Tag: name value_format
envoy.extensions.access_loggers.stats.v3.Config.Stat: name tags
envoy.extensions.access_loggers.stats.v3.Config.Histogram: stat unit value_format
envoy.extensions.access_loggers.stats.v3.Config.Counter: stat value_format value_fixed
envoy.extensions.access_loggers.stats.v3.Config.Gauge: stat value_format value_fixed add_subtract
envoy.extensions.access_loggers.stats.v3.Config.Gauge.PairedAddSubtract: add_log_type sub_log_type

# --- routes
envoy.config.route.v3.RouteConfiguration: name virtual_hosts vhds internal_only_headers response_headers_to_add
  response_headers_to_remove request_headers_to_add request_headers_to_remove most_specific_header_mutations_wins
  request_mirror_policies ignore_port_in_host_matching typed_per_filter_config metadata
~ validate_clusters unknown clusters are held back, then answered at run time
~ max_direct_response_body_size_bytes direct responses have a bound of their own, 1 MiB
envoy.config.route.v3.Vhds: config_source
envoy.config.route.v3.VirtualHost: name domains routes require_tls request_headers_to_add request_headers_to_remove
  response_headers_to_add response_headers_to_remove typed_per_filter_config include_request_attempt_count
  include_attempt_count_in_response retry_policy include_is_timeout_retry_header request_mirror_policies metadata
~ virtual_clusters name statistics only
envoy.config.route.v3.Route: name match route redirect direct_response non_forwarding_action metadata decorator
  typed_per_filter_config request_headers_to_add request_headers_to_remove response_headers_to_add
  response_headers_to_remove tracing per_request_buffer_limit_bytes stat_prefix request_body_buffer_limit
envoy.config.route.v3.NonForwardingAction:
envoy.config.route.v3.FilterConfig: config disabled
~ is_optional a filter that is not known is always refused
envoy.config.route.v3.Decorator: operation propagate
envoy.config.route.v3.Tracing: client_sampling random_sampling overall_sampling custom_tags
envoy.config.route.v3.RouteMatch: prefix path safe_regex connect_matcher path_separated_prefix path_match_policy case_sensitive
  runtime_fraction headers query_parameters cookies grpc tls_context dynamic_metadata
envoy.config.route.v3.RouteMatch.ConnectMatcher:
envoy.config.route.v3.RouteMatch.GrpcRouteMatchOptions:
envoy.config.route.v3.RouteMatch.TlsContextMatchOptions: presented validated
envoy.config.route.v3.HeaderMatcher: name exact_match safe_regex_match range_match present_match prefix_match suffix_match
  contains_match string_match invert_match treat_missing_header_as_empty
envoy.config.route.v3.QueryParameterMatcher: name string_match present_match
envoy.config.route.v3.CookieMatcher: name string_match invert_match
envoy.config.route.v3.RedirectAction: https_redirect scheme_redirect host_redirect port_redirect path_redirect prefix_rewrite
  regex_rewrite response_code strip_query
envoy.config.route.v3.DirectResponseAction: status body body_format
envoy.config.route.v3.RouteAction: cluster cluster_header weighted_clusters cluster_not_found_response_code metadata_match
  prefix_rewrite regex_rewrite path_rewrite host_rewrite_literal auto_host_rewrite host_rewrite_header host_rewrite_path_regex
  append_x_forwarded_host timeout idle_timeout flush_timeout retry_policy request_mirror_policies priority hash_policy
  max_grpc_timeout grpc_timeout_offset upgrade_configs internal_redirect_policy hedge_policy max_stream_duration
~ early_data_policy early data is never sent
envoy.config.route.v3.RouteAction.MaxStreamDuration: max_stream_duration grpc_timeout_header_max grpc_timeout_header_offset
envoy.config.route.v3.RouteAction.UpgradeConfig: upgrade_type enabled connect_config
envoy.config.route.v3.RouteAction.UpgradeConfig.ConnectConfig: proxy_protocol_config allow_post
envoy.config.route.v3.RouteAction.RequestMirrorPolicy: cluster cluster_header runtime_fraction trace_sampled
  disable_shadow_host_suffix_append host_rewrite_literal
envoy.config.route.v3.RouteAction.HashPolicy: header cookie connection_properties query_parameter filter_state terminal
envoy.config.route.v3.RouteAction.HashPolicy.Header: header_name regex_rewrite
envoy.config.route.v3.RouteAction.HashPolicy.Cookie: name ttl path attributes
envoy.config.route.v3.RouteAction.HashPolicy.CookieAttribute: name value
envoy.config.route.v3.RouteAction.HashPolicy.ConnectionProperties: source_ip
envoy.config.route.v3.RouteAction.HashPolicy.QueryParameter: name
envoy.config.route.v3.RouteAction.HashPolicy.FilterState: key
envoy.config.route.v3.WeightedCluster: clusters header_name
~ total_weight the sum of the weights is used
~ runtime_key_prefix there is no runtime layer
envoy.config.route.v3.WeightedCluster.ClusterWeight: name weight metadata_match request_headers_to_add request_headers_to_remove
  response_headers_to_add response_headers_to_remove typed_per_filter_config host_rewrite_literal
envoy.config.route.v3.HedgePolicy: initial_requests additional_request_chance hedge_on_per_try_timeout
envoy.config.route.v3.InternalRedirectPolicy: max_internal_redirects redirect_response_codes allow_cross_scheme_redirect response_headers_to_copy
envoy.config.route.v3.RetryPolicy: retry_on num_retries per_try_timeout per_try_idle_timeout retry_priority retry_host_predicate
  host_selection_retry_max_attempts retriable_status_codes retry_back_off rate_limited_retry_back_off retriable_headers
  retriable_request_headers
envoy.config.route.v3.RetryPolicy.RetryPriority: name typed_config
envoy.config.route.v3.RetryPolicy.RetryHostPredicate: name typed_config
envoy.config.route.v3.RetryPolicy.RetryBackOff: base_interval max_interval
envoy.config.route.v3.RetryPolicy.RateLimitedRetryBackOff: reset_headers max_interval
envoy.config.route.v3.RetryPolicy.ResetHeader: name format
envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate:
envoy.extensions.retry.host.omit_canary_hosts.v3.OmitCanaryHostsPredicate:
envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig: update_frequency

# --- clusters
envoy.config.cluster.v3.Cluster: transport_socket_matches name alt_stat_name type cluster_type eds_cluster_config connect_timeout
  per_connection_buffer_limit_bytes lb_policy load_assignment health_checks max_requests_per_connection circuit_breakers
  upstream_http_protocol_options common_http_protocol_options http_protocol_options http2_protocol_options
  typed_extension_protocol_options dns_refresh_rate dns_jitter dns_failure_refresh_rate respect_dns_ttl dns_lookup_family
  use_tcp_for_dns_lookups typed_dns_resolver_config outlier_detection cleanup_interval upstream_bind_config
  ring_hash_lb_config maglev_lb_config original_dst_lb_config least_request_lb_config round_robin_lb_config common_lb_config
  transport_socket metadata protocol_selection upstream_connection_options close_connections_on_host_health_failure
  ignore_health_on_host_removal filters track_timeout_budgets connection_pool_per_downstream_connection
~ wait_for_warm_on_init whether the start waits is decided by the agent
~ track_cluster_stats statistics only
~ preconnect_policy an optimisation only
envoy.config.cluster.v3.Cluster.EdsClusterConfig: service_name
~ eds_config everything comes by the one stream the client has
envoy.config.cluster.v3.Cluster.CustomClusterType: name typed_config
envoy.config.cluster.v3.Cluster.TransportSocketMatch: name match transport_socket
envoy.config.cluster.v3.Cluster.RefreshRate: base_interval max_interval
envoy.config.cluster.v3.Cluster.RingHashLbConfig: minimum_ring_size hash_function maximum_ring_size
envoy.config.cluster.v3.Cluster.MaglevLbConfig: table_size
envoy.config.cluster.v3.Cluster.OriginalDstLbConfig: use_http_header http_header_name upstream_port_override metadata_key
envoy.config.cluster.v3.Cluster.LeastRequestLbConfig: choice_count active_request_bias slow_start_config
envoy.config.cluster.v3.Cluster.RoundRobinLbConfig: slow_start_config
envoy.config.cluster.v3.Cluster.SlowStartConfig: slow_start_window aggression min_weight_percent
envoy.config.cluster.v3.Cluster.CommonLbConfig: healthy_panic_threshold zone_aware_lb_config locality_weighted_lb_config
  update_merge_window ignore_new_hosts_until_first_hc close_connections_on_host_set_change consistent_hashing_lb_config
envoy.config.cluster.v3.Cluster.CommonLbConfig.ZoneAwareLbConfig: routing_enabled min_cluster_size fail_traffic_on_panic
envoy.config.cluster.v3.Cluster.CommonLbConfig.LocalityWeightedLbConfig:
envoy.config.cluster.v3.Cluster.CommonLbConfig.ConsistentHashingLbConfig: use_hostname_for_hashing hash_balance_factor
envoy.config.cluster.v3.UpstreamConnectionOptions: tcp_keepalive
~ happy_eyeballs_config the order of families only
envoy.config.cluster.v3.Filter: name typed_config
envoy.config.cluster.v3.CircuitBreakers: thresholds per_host_thresholds
envoy.config.cluster.v3.CircuitBreakers.Thresholds: priority max_connections max_pending_requests max_requests max_retries
  retry_budget track_remaining max_connection_pools
envoy.config.cluster.v3.CircuitBreakers.Thresholds.RetryBudget: budget_percent min_retry_concurrency
envoy.config.cluster.v3.OutlierDetection: consecutive_5xx interval base_ejection_time max_ejection_percent enforcing_consecutive_5xx
  enforcing_success_rate success_rate_minimum_hosts success_rate_request_volume success_rate_stdev_factor
  consecutive_gateway_failure enforcing_consecutive_gateway_failure split_external_local_origin_errors
  consecutive_local_origin_failure enforcing_consecutive_local_origin_failure failure_percentage_threshold
  enforcing_failure_percentage failure_percentage_minimum_hosts failure_percentage_request_volume max_ejection_time
  max_ejection_time_jitter successful_active_health_check_uneject_host always_eject_one_host
~ enforcing_local_origin_success_rate takes effect with split errors only, as a second measure of the same hosts
~ enforcing_failure_percentage_local_origin takes effect with split errors only, as a second measure of the same hosts
envoy.config.core.v3.HealthCheck: timeout interval interval_jitter unhealthy_threshold healthy_threshold reuse_connection
  http_health_check tcp_health_check grpc_health_check no_traffic_interval no_traffic_healthy_interval unhealthy_interval
  unhealthy_edge_interval healthy_edge_interval always_log_health_check_failures
~ initial_jitter spreads the first checks only
~ interval_jitter_percent spreads the checks only
~ event_log_path logging only
envoy.config.core.v3.HealthCheck.HttpHealthCheck: host path request_headers_to_add expected_statuses codec_client_type method
envoy.config.core.v3.HealthCheck.TcpHealthCheck: send receive
envoy.config.core.v3.HealthCheck.GrpcHealthCheck: service_name authority
envoy.config.core.v3.HealthCheck.Payload: text binary
envoy.extensions.upstreams.http.v3.HttpProtocolOptions: common_http_protocol_options upstream_http_protocol_options
  explicit_http_config use_downstream_protocol_config auto_config
envoy.extensions.upstreams.http.v3.HttpProtocolOptions.ExplicitHttpConfig: http_protocol_options http2_protocol_options
envoy.extensions.upstreams.http.v3.HttpProtocolOptions.UseDownstreamHttpConfig: http_protocol_options http2_protocol_options
~ http3_protocol_options no downstream speaks HTTP/3
envoy.extensions.upstreams.http.v3.HttpProtocolOptions.AutoHttpConfig: http_protocol_options http2_protocol_options
envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig: dns_cache_config
~ allow_coalesced_connections an optimisation only
envoy.extensions.common.dynamic_forward_proxy.v3.DnsCacheConfig: dns_lookup_family dns_refresh_rate host_ttl max_hosts
  use_tcp_for_dns_lookups typed_dns_resolver_config dns_query_timeout
~ name every cluster has a cache of its own
envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig: resolvers dns_resolver_options udp_max_queries
  query_timeout_seconds query_tries
~ filter_unroutable_families addresses that cannot be reached fail at once
~ rotate_nameservers the order of servers only
~ use_resolvers_as_fallback given servers are asked first
envoy.extensions.network.dns_resolver.getaddrinfo.v3.GetAddrInfoDnsResolverConfig:

# --- endpoints
envoy.config.endpoint.v3.ClusterLoadAssignment: cluster_name endpoints policy
envoy.config.endpoint.v3.ClusterLoadAssignment.Policy: drop_overloads overprovisioning_factor endpoint_stale_after weighted_priority_health
envoy.config.endpoint.v3.ClusterLoadAssignment.Policy.DropOverload: category drop_percentage
envoy.config.endpoint.v3.LocalityLbEndpoints: locality lb_endpoints load_balancing_weight priority
~ proximity not used by any policy
~ metadata informational
envoy.config.endpoint.v3.LbEndpoint: endpoint health_status metadata load_balancing_weight
envoy.config.endpoint.v3.Endpoint: address health_check_config hostname additional_addresses
~ observability_name names statistics only
envoy.config.endpoint.v3.Endpoint.HealthCheckConfig: port_value
envoy.config.endpoint.v3.Endpoint.AdditionalAddress: address

# --- TLS
envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer:
envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport: config transport_socket
envoy.config.core.v3.ProxyProtocolConfig: version
envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext: common_tls_context require_client_certificate require_sni
  disable_stateless_session_resumption session_timeout ocsp_staple_policy disable_stateful_session_resumption prefer_client_ciphers
~ full_scan_certs_on_sni_mismatch the certificate is always chosen among all
envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext: common_tls_context sni auto_host_sni auto_sni_san_validation
  allow_renegotiation max_session_keys enforce_rsa_key_usage
envoy.extensions.transport_sockets.tls.v3.CommonTlsContext: tls_params tls_certificates tls_certificate_sds_secret_configs
  validation_context validation_context_sds_secret_config combined_validation_context alpn_protocols
envoy.extensions.transport_sockets.tls.v3.CommonTlsContext.CombinedCertificateValidationContext: default_validation_context
  validation_context_sds_secret_config
envoy.extensions.transport_sockets.tls.v3.TlsParameters: tls_minimum_protocol_version tls_maximum_protocol_version cipher_suites ecdh_curves
envoy.extensions.transport_sockets.tls.v3.SdsSecretConfig: name
~ sds_config the client decides from whom it takes secrets
envoy.extensions.transport_sockets.tls.v3.Secret: name tls_certificate session_ticket_keys validation_context generic_secret
envoy.extensions.transport_sockets.tls.v3.TlsCertificate: certificate_chain private_key ocsp_staple
envoy.extensions.transport_sockets.tls.v3.TlsSessionTicketKeys: keys
envoy.extensions.transport_sockets.tls.v3.GenericSecret: secret
envoy.extensions.transport_sockets.tls.v3.CertificateValidationContext: trusted_ca system_root_certs verify_certificate_spki
  verify_certificate_hash match_typed_subject_alt_names match_subject_alt_names crl allow_expired_certificate
  trust_chain_verification custom_validator_config only_verify_leaf_cert_crl max_verify_depth
~ suppress_client_ca_list a hint to clients only
envoy.extensions.transport_sockets.tls.v3.CertificateValidationContext.SystemRootCerts:
envoy.extensions.transport_sockets.tls.v3.SubjectAltNameMatcher: san_type matcher
envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig: trust_domains
envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig.TrustDomain: name trust_bundle
`
