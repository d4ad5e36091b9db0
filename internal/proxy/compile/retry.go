package compile

import (
	"errors"
	"fmt"
	"strings"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	omitcanaryv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/omit_canary_hosts/v3"
	previoushostsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/previous_hosts/v3"
	previousprioritiesv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/priority/previous_priorities/v3"

	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

func (c *Compiler) forwardRetry(out *snapshot.Forward, m *routev3.RouteAction) (err error) {
	if m.RetryPolicy != nil {
		if out.Retry, err = c.retry(m.RetryPolicy); err != nil {
			return in("retry_policy", err)
		}
	}
	if h := m.HedgePolicy; h != nil {
		v := &snapshot.Hedge{OnPerTryTimeout: h.HedgeOnPerTryTimeout, Initial: u32(h.InitialRequests, 1)}
		f, err := fraction(h.AdditionalRequestChance, 0)
		if err != nil {
			return in("hedge_policy.additional_request_chance", err)
		}
		v.AdditionalMill = uint32(f)
		out.Hedge = v
	}
	if r := m.InternalRedirectPolicy; r != nil {
		v := &snapshot.InternalRedirect{Max: u32(r.MaxInternalRedirects, 1), Codes: []uint16{302}, CrossScheme: r.AllowCrossSchemeRedirect, CopyHeaders: r.ResponseHeadersToCopy}
		if len(r.RedirectResponseCodes) > 0 {
			v.Codes = nil
		}
		for i, code := range r.RedirectResponseCodes {
			if code < 300 || code > 399 {
				return in("internal_redirect_policy", at("redirect_response_codes", i, fmt.Errorf("%d is not a redirect", code)))
			}
			v.Codes = append(v.Codes, uint16(code))
		}
		out.InternalRedirect = v
	}
	return nil
}

// retryConditions are the words of retry_on.
func retryConditions() map[string]snapshot.RetryOn {
	return map[string]snapshot.RetryOn{
		"5xx": snapshot.Retry5xx, "gateway-error": snapshot.RetryGatewayError, "reset": snapshot.RetryReset,
		"reset-before-request": snapshot.RetryResetBeforeRequest, "connect-failure": snapshot.RetryConnectFailure,
		"envoy-ratelimited": snapshot.RetryEnvoyRatelimited, "retriable-4xx": snapshot.RetryRetriable4xx,
		"refused-stream": snapshot.RetryRefusedStream, "retriable-status-codes": snapshot.RetryRetriableStatusCodes,
		"retriable-headers": snapshot.RetryRetriableHeaders, "http3-post-connect-failure": snapshot.RetryHTTP3PostConnectFailure,
		"cancelled": snapshot.RetryGRPCCancelled, "deadline-exceeded": snapshot.RetryGRPCDeadlineExceeded,
		"internal": snapshot.RetryGRPCInternal, "resource-exhausted": snapshot.RetryGRPCResourceExhausted, "unavailable": snapshot.RetryGRPCUnavailable,
	}
}

func (c *Compiler) retry(m *routev3.RetryPolicy) (*snapshot.Retry, error) {
	out := &snapshot.Retry{Max: u32(m.NumRetries, 1), HostAttempts: int(m.HostSelectionRetryMaxAttempts)}
	for word := range strings.SplitSeq(m.RetryOn, ",") {
		if word = strings.TrimSpace(word); word == "" {
			continue
		}
		on, ok := c.retryOn[word]
		if !ok {
			return nil, in("retry_on", unsupported("condition %q", word))
		}
		out.On |= on
	}
	var d durations
	out.PerTryTimeout = d.get("per_try_timeout", m.PerTryTimeout, 0)
	out.PerTryIdleTimeout = d.get("per_try_idle_timeout", m.PerTryIdleTimeout, 0)
	out.Backoff.Base = 25 * time.Millisecond
	if b := m.RetryBackOff; b != nil {
		out.Backoff.Base = d.get("retry_back_off.base_interval", b.BaseInterval, 25*time.Millisecond)
	}
	out.Backoff.Max = d.get("retry_back_off.max_interval", m.GetRetryBackOff().GetMaxInterval(), 10*out.Backoff.Base)
	if d.err == nil && (out.Backoff.Base <= 0 || out.Backoff.Max < out.Backoff.Base) {
		d.err = in("retry_back_off", errors.New("want 0 < base_interval <= max_interval"))
	}
	if d.err != nil {
		return nil, d.err
	}
	for i, s := range m.RetriableStatusCodes {
		if s < 100 || s > 599 {
			return nil, at("retriable_status_codes", i, fmt.Errorf("%d is not a status", s))
		}
		out.StatusCodes = append(out.StatusCodes, uint16(s))
	}
	if err := c.retryHosts(out, m); err != nil {
		return nil, err
	}
	var err error
	if out.RetriableHeaders, err = c.headerMatches("retriable_headers", m.RetriableHeaders); err != nil {
		return nil, err
	}
	if out.RequestHeaders, err = c.headerMatches("retriable_request_headers", m.RetriableRequestHeaders); err != nil {
		return nil, err
	}
	out.RateLimited, err = c.rateLimitedBackoff(m.RateLimitedRetryBackOff)
	return out, in("rate_limited_retry_back_off", err)
}

func (c *Compiler) retryHosts(out *snapshot.Retry, m *routev3.RetryPolicy) error {
	for i, p := range m.RetryHostPredicate {
		v, err := c.unpack(p.GetTypedConfig())
		if err != nil {
			return at("retry_host_predicate", i, in("typed_config", err))
		}
		switch v.(type) {
		case *previoushostsv3.PreviousHostsPredicate:
			out.PreviousHosts = true
		case *omitcanaryv3.OmitCanaryHostsPredicate:
			out.OmitCanary = true
		default:
			return at("retry_host_predicate", i, unsupported("predicate %q", p.Name))
		}
	}
	if p := m.RetryPriority; p != nil {
		v, err := c.unpack(p.GetTypedConfig())
		if err != nil {
			return in("retry_priority.typed_config", err)
		}
		pp, ok := v.(*previousprioritiesv3.PreviousPrioritiesConfig)
		if !ok || pp.UpdateFrequency <= 0 {
			return in("retry_priority", unsupported("priority %q", p.Name))
		}
		out.PreviousPriorities = int(pp.UpdateFrequency)
	}
	return nil
}

func (c *Compiler) rateLimitedBackoff(m *routev3.RetryPolicy_RateLimitedRetryBackOff) (*snapshot.RateLimitedBackoff, error) {
	if m == nil {
		return nil, nil
	}
	d, err := dur(m.MaxInterval, 300*time.Second)
	if err != nil {
		return nil, in("max_interval", err)
	}
	out := &snapshot.RateLimitedBackoff{Max: d}
	for i, h := range m.ResetHeaders {
		n, err := c.headerName(h.Name)
		if err != nil {
			return nil, at("reset_headers", i, err)
		}
		out.Headers = append(out.Headers, snapshot.ResetHeader{Name: n.Name, UnixTimestamp: h.Format == routev3.RetryPolicy_UNIX_TIMESTAMP})
	}
	return out, nil
}
