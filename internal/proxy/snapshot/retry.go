package snapshot

import "time"

// RetryOn is a set of conditions.
type RetryOn uint32

// Conditions, as in x-envoy-retry-on and x-envoy-retry-grpc-on.
const (
	Retry5xx RetryOn = 1 << iota
	RetryGatewayError
	RetryReset
	RetryResetBeforeRequest
	RetryConnectFailure
	RetryEnvoyRatelimited
	RetryRetriable4xx
	RetryRefusedStream
	RetryRetriableStatusCodes
	RetryRetriableHeaders
	RetryHTTP3PostConnectFailure
	RetryGRPCCancelled
	RetryGRPCDeadlineExceeded
	RetryGRPCInternal
	RetryGRPCResourceExhausted
	RetryGRPCUnavailable
)

// Retry is a retry policy.
type Retry struct {
	On RetryOn
	// Max is the number of tries after the first.
	Max               uint32
	PerTryTimeout     time.Duration // 0: the route's timeout
	PerTryIdleTimeout time.Duration
	// PreviousHosts: hosts already tried are avoided; HostAttempts picks at most.
	PreviousHosts bool
	HostAttempts  int
	// OmitCanary avoids canary hosts.
	OmitCanary bool
	// PreviousPriorities: priorities already tried are left out, updated after
	// so many attempts; 0: off.
	PreviousPriorities int
	StatusCodes        []uint16
	// Backoff: base 25ms, max 10 times base by default.
	Backoff Backoff
	// RateLimited backs off by response headers (retry-after); nil: not used.
	RateLimited *RateLimitedBackoff
	// RetriableHeaders of responses and RequestHeaders that allow retries.
	RetriableHeaders []HeaderMatch
	RequestHeaders   []HeaderMatch
}

// RateLimitedBackoff obeys headers such as retry-after.
type RateLimitedBackoff struct {
	Headers []ResetHeader
	Max     time.Duration // default 300s
}

// ResetHeader holds seconds or a Unix time stamp.
type ResetHeader struct {
	Name          string
	UnixTimestamp bool
}
