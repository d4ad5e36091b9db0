package identity

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
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

// away fails while the control plane is away: for a while, once it has been asked
// after a certain time.
type away struct {
	Signer
	from, to time.Time
}

func (a *away) SignCSR(ctx context.Context, csr []byte, ttl time.Duration) ([]string, error) {
	if now := time.Now(); !now.Before(a.from) && now.Before(a.to) {
		return nil, errors.New("control plane away")
	}
	return a.Signer.SignCSR(ctx, csr, ttl)
}

// A control plane was away for five seconds, and workloads with certificates of twelve
// had expired ones: the pause before the last question was longer than what they had
// left. Whenever the outage begins, the one in force is valid.
func TestOutageShorterThanHalfALifeLeavesNoExpiredCertificate(t *testing.T) {
	t.Parallel()
	const ttl, outage = 12 * time.Second, 5 * time.Second
	for at := time.Duration(0); at < ttl; at += 137 * time.Millisecond {
		synctest.Test(t, func(t *testing.T) {
			ca := newCA(t)
			began := time.Now()
			k := &Keeper{
				Signer: &away{LocalSigner{CA: ca, ID: reviews}, began.Add(ttl + at), began.Add(ttl + at + outage)}, ID: reviews,
				TTL: ttl, Logger: slog.New(slog.DiscardHandler), MaxRetry: 5 * time.Second,
			}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- k.Run(ctx) }()
			synctest.Wait()
			for time.Since(began) < 4*ttl {
				if w := k.Current(); !time.Now().Before(w.NotAfter) {
					t.Errorf("outage after %s: %s later the certificate had expired for %s", ttl+at, time.Since(began)-ttl-at, time.Since(w.NotAfter))
					break
				}
				<-time.After(50 * time.Millisecond)
				synctest.Wait()
			}
			cancel()
			<-done
		})
	}
}

// Hours of an outage are no reason to ask more often than every MaxRetry, nor is a
// certificate that has ended already.
func TestPatience(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	k := &Keeper{}
	const least = 100 * time.Millisecond
	if got := k.patience(now, least); got < time.Hour {
		t.Errorf("without a certificate the pause is at most %s", got)
	}
	for left, want := range map[time.Duration]time.Duration{
		12 * time.Hour: 90 * time.Minute, 8 * time.Second: time.Second, 80 * time.Millisecond: least,
	} {
		k.Adopt(&Workload{NotAfter: now.Add(left)})
		if got := k.patience(now, least); got != want {
			t.Errorf("with %s left the pause is at most %s, want %s", left, got, want)
		}
	}
	k.Adopt(&Workload{NotAfter: now})
	if got := k.patience(now, least); got < time.Hour {
		t.Errorf("with a certificate that has ended the pause is at most %s", got)
	}
}
