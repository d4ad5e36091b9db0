package analyze

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/meshctl/meshctl/internal/resource"
)

// routeRetries reports timeouts that end before the retries are used up (MSH1105),
// and retries of requests that may not be sent twice (MSH1106).
func routeRetries(w *world, f *findings) {
	for o, vs := range w.virtualServices() {
		for i, r := range vs.Http {
			if r.GetRetries().GetAttempts() > 0 {
				f.retryTime(o, at("spec.http", i), r)
				f.retryMethods(o, at("spec.http", i), r)
			}
		}
	}
}

func (f *findings) retryTime(o *resource.Object, path string, r *networking.HTTPRoute) {
	if r.Timeout == nil || r.Retries.PerTryTimeout == nil {
		return
	}
	total, each, tries := r.Timeout.AsDuration(), r.Retries.PerTryTimeout.AsDuration(), int64(r.Retries.Attempts)+1
	all := time.Duration(each.Nanoseconds() * tries)
	if total >= all || each > total { // a first try that is too long is a finding of validation
		return
	}
	f.add(o, codeTimeoutShort, path+".timeout", text{
		fmt.Sprintf("timeout %s is shorter than %d tries of %s", total, tries, each),
		fmt.Sprintf("after %s the request ends with 504, at the latest during try %d", total, total/each+1),
		fmt.Sprintf("make timeout %s or more, or attempts smaller", all),
	})
}

// retryMethods: a retry on what happens after the request was sent repeats what
// POST and PATCH have already done.
func (f *findings) retryMethods(o *resource.Object, path string, r *networking.HTTPRoute) {
	condition := ""
	for c := range strings.SplitSeq(r.Retries.RetryOn, ",") {
		c = strings.TrimSpace(c)
		_, err := strconv.Atoi(c)
		if err == nil || slices.Contains([]string{"5xx", "gateway-error", "reset", "retriable-4xx", "retriable-status-codes", "retriable-headers", "internal", "deadline-exceeded"}, c) {
			condition = c
			break
		}
	}
	if condition == "" {
		return
	}
	for i, m := range r.Match {
		method := m.GetMethod().GetExact()
		if method != "POST" && method != "PATCH" {
			continue
		}
		f.add(o, codeRetryNotIdempotent, path+".retries.retryOn", text{
			fmt.Sprintf("match %d takes %s, and retryOn has %s", i, method, condition),
			"a request that failed after the service had begun with it is sent again: what it does is done twice",
			"retry on connect-failure,refused-stream only, or put " + method + " into a rule without retries",
		})
		return
	}
}
