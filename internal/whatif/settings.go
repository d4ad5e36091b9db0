package whatif

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// percent prints a share without needless digits.
func percent(p float64) string { return strconv.FormatFloat(round(p), 'f', -1, 64) + "%" }

func round(p float64) float64 {
	r, err := strconv.ParseFloat(strconv.FormatFloat(p, 'f', 2, 64), 64)
	if err != nil {
		return p
	}
	return r
}

// tellForward says what is in force for a request that is forwarded.
func (e *exchange) tellForward(s *Step, f *snapshot.Forward) {
	s.Settings = append(s.Settings, ForwardSettings(f)...)
}

// ForwardSettings are what is in force for requests that a route forwards, in the
// words of the API; targets are left out.
func ForwardSettings(f *snapshot.Forward) []Setting {
	var s Step
	if f.Timeout > 0 {
		s.set("timeout", "%s", f.Timeout)
	}
	if r := f.Retry; r != nil && r.Max > 0 {
		v := fmt.Sprintf("%d more tries on %s", r.Max, describeRetry(r))
		if r.PerTryTimeout > 0 {
			v += fmt.Sprintf(", %s each", r.PerTryTimeout)
		}
		s.set("retries", "%s", v)
	}
	for i := range f.Mirrors {
		m := &f.Mirrors[i]
		share := 100.0
		if m.Fraction >= 0 {
			share = float64(m.Fraction) / million * 100
		}
		s.set("mirror", "%s to %s", percent(share), m.Cluster)
	}
	if rw := f.Rewrite; rw != nil {
		switch {
		case rw.HasPrefix:
			s.set("rewrite", "path to %s", rw.Prefix)
		case rw.Regex != nil:
			s.set("rewrite", "path by %s to %s", rw.Regex, rw.Substitution)
		}
		if rw.Host != "" {
			s.set("rewrite", "host to %s", rw.Host)
		}
	}
	for i := range f.Hash {
		s.set("hash", "%s %s", [...]string{"header", "cookie", "source address", "query parameter", "filter state"}[f.Hash[i].Kind], f.Hash[i].Name)
	}
	return s.Settings
}

// retryNames are the conditions in the words of retryOn.
var retryNames = []string{
	"5xx", "gateway-error", "reset", "reset-before-request", "connect-failure", "envoy-ratelimited", "retriable-4xx", "refused-stream",
	"retriable-status-codes", "retriable-headers", "http3-post-connect-failure", "cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable",
}

func describeRetry(r *snapshot.Retry) string {
	var names []string
	for i, n := range retryNames {
		if r.On&(1<<i) != 0 && n != "retriable-status-codes" {
			names = append(names, n)
		}
	}
	for _, c := range r.StatusCodes {
		names = append(names, strconv.Itoa(int(c)))
	}
	return strings.Join(names, ", ")
}
