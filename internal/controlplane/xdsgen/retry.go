package xdsgen

import (
	"slices"
	"strconv"
	"strings"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	previoushostsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/previous_hosts/v3"
	previousprioritiesv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/priority/previous_priorities/v3"
	networking "istio.io/api/networking/v1alpha3"
)

// What is retried when nobody says otherwise.
const (
	defaultRetryOn  = "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes"
	defaultAttempts = 2
	hostAttempts    = 5 // tries to find an endpoint that has not been tried yet
)

// retryPolicy is what is tried again; nil when nothing is. With consistent
// hashing the same endpoint is tried again, for it is the one that was meant.
func (b *routeBuilder) retryPolicy(r *networking.HTTPRetry, hashed bool) *routev3.RetryPolicy {
	if r == nil {
		r = b.Mesh.GetDefaultHttpRetryPolicy()
	}
	if r != nil && r.GetAttempts() <= 0 {
		return nil
	}
	p := &routev3.RetryPolicy{NumRetries: u32(defaultAttempts)}
	p.RetryOn = defaultRetryOn
	if r != nil {
		p.NumRetries = u32(uint32(r.GetAttempts()))
		if r.GetRetryOn() != "" {
			p.RetryOn, p.RetriableStatusCodes = retryOn(r.GetRetryOn())
		}
		p.PerTryTimeout = longer(r.GetPerTryTimeout())
		if d := r.GetBackoff(); d.AsDuration() >= time.Millisecond {
			p.RetryBackOff = &routev3.RetryPolicy_RetryBackOff{BaseInterval: d}
		}
		if r.GetRetryRemoteLocalities().GetValue() {
			p.RetryPriority = &routev3.RetryPolicy_RetryPriority{
				Name: "envoy.retry_priorities.previous_priorities",
				ConfigType: &routev3.RetryPolicy_RetryPriority_TypedConfig{
					TypedConfig: pack(&previousprioritiesv3.PreviousPrioritiesConfig{UpdateFrequency: 2}),
				},
			}
		}
	}
	ignore := r.GetRetryIgnorePreviousHosts()
	if ignore == nil && !hashed || ignore.GetValue() {
		p.HostSelectionRetryMaxAttempts = hostAttempts
		p.RetryHostPredicate = []*routev3.RetryPolicy_RetryHostPredicate{{
			Name: "envoy.retry_host_predicates.previous_hosts",
			ConfigType: &routev3.RetryPolicy_RetryHostPredicate_TypedConfig{
				TypedConfig: pack(&previoushostsv3.PreviousHostsPredicate{}),
			},
		}}
	}
	return p
}

// retryOn separates conditions from status codes, which may stand among them.
func retryOn(s string) (string, []uint32) {
	var words []string
	var codes []uint32
	for w := range strings.SplitSeq(s, ",") {
		w = strings.TrimSpace(w)
		if n, err := strconv.ParseUint(w, 10, 32); err == nil {
			codes = append(codes, uint32(n))
			continue
		}
		if w != "" {
			words = append(words, w)
		}
	}
	const byCode = "retriable-status-codes"
	if len(codes) > 0 && !slices.Contains(words, byCode) {
		words = append(words, byCode)
	}
	return strings.Join(words, ","), codes
}
