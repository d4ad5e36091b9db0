package identity

import (
	"testing"
	"time"
)

// A certificate of 40 s that is valid since two minutes ago, for clocks that are
// behind, was renewed twice a second.
func TestRenewInIgnoresThePast(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	for _, ttl := range []time.Duration{40 * time.Second, time.Hour, 24 * time.Hour} {
		w := &Workload{NotBefore: now.Add(-clockSkew), NotAfter: now.Add(ttl)}
		if got := renewIn(w, now); got < ttl*48/100 || got > ttl*52/100 {
			t.Errorf("a certificate of %s is renewed after %s", ttl, got)
		}
	}
	if got := renewIn(&Workload{NotAfter: now.Add(-time.Hour)}, now); got != time.Second/2 {
		t.Errorf("an expired certificate is renewed after %s", got)
	}
}
