package identity

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// Workload is a workload's current proof of identity. Immutable.
type Workload struct {
	Cert      *tls.Certificate // Leaf is set
	ID        ID
	ChainPEM  []byte // leaf and intermediates
	KeyPEM    []byte
	RootsPEM  []byte
	Roots     *x509.CertPool
	NotBefore time.Time
	NotAfter  time.Time
}

// Signer obtains a certificate for a request: a call to the CSR service, or a CA in process.
type Signer interface {
	// SignCSR returns PEM certificates: leaf, intermediates, root last.
	SignCSR(ctx context.Context, csrPEM []byte, ttl time.Duration) ([]string, error)
}

// Keeper keeps one workload certificate fresh: it renews at half of the
// lifetime ±1 %, and keeps the old one in force until a new one is there. After a
// failure it asks again, the sooner the less the old one has left.
type Keeper struct {
	Signer Signer
	ID     ID            // asked for; what counts is what is signed
	TTL    time.Duration // default DefaultCertTTL
	Logger *slog.Logger
	// MinRetry and MaxRetry bound the pause after a failure; defaults 100 ms and 30 s.
	MinRetry, MaxRetry time.Duration

	cur  atomic.Pointer[Workload]
	mu   sync.Mutex
	subs []func(*Workload)
}

// Current is the certificate in force, nil before the first.
func (k *Keeper) Current() *Workload { return k.cur.Load() }

// OnChange calls fn with every new certificate, beginning with the current one
// if there is one. fn must not block.
func (k *Keeper) OnChange(fn func(*Workload)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.subs = append(k.subs, fn)
	if w := k.cur.Load(); w != nil {
		fn(w)
	}
}

// Run obtains and renews until ctx ends. It returns ctx's error.
func (k *Keeper) Run(ctx context.Context) error {
	minRetry, maxRetry := k.MinRetry, k.MaxRetry
	if minRetry <= 0 {
		minRetry = 100 * time.Millisecond
	}
	if maxRetry <= 0 {
		maxRetry = 30 * time.Second
	}
	retry := minRetry
	if w := k.cur.Load(); w != nil { // adopted
		if err := pause(ctx, renewIn(w, time.Now())); err != nil {
			return err
		}
	}
	for {
		var wait time.Duration
		if w, err := k.renew(ctx); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			wait = min(retry, k.patience(time.Now(), minRetry))
			retry = min(2*wait, maxRetry)
			k.Logger.WarnContext(ctx, "certificate not renewed", "err", err, "retry_in", wait.String())
		} else {
			retry = minRetry
			wait = renewIn(w, time.Now())
		}
		if err := pause(ctx, wait); err != nil {
			return err
		}
	}
}

// patience bounds the pause after a failure by what the certificate in force has
// left: one that is about to end is asked for so often that an issuer who comes back
// just before is not missed.
func (k *Keeper) patience(now time.Time, least time.Duration) time.Duration {
	w := k.cur.Load()
	if w == nil || !now.Before(w.NotAfter) { // nothing to be in time for
		return math.MaxInt64
	}
	return max(w.NotAfter.Sub(now)/8, least)
}

// Adopt puts a certificate into force that is there already. Call it before Run, and
// before OnChange.
func (k *Keeper) Adopt(w *Workload) { k.cur.Store(w) }

// pause waits, or returns ctx's error.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// renewIn is half of the time that a certificate received now still has, ±1 % so
// that replicas do not ask all at once. It is not counted from NotBefore, which
// lies in the past for the sake of clocks that are behind: short-lived
// certificates would be renewed without pause.
func renewIn(w *Workload, now time.Time) time.Duration {
	left := w.NotAfter.Sub(now)
	jitter := time.Duration((rand.Float64() - 0.5) * 0.02 * float64(left))
	return max(left/2+jitter, time.Second/2)
}

func (k *Keeper) renew(ctx context.Context) (*Workload, error) {
	ttl := k.TTL
	if ttl <= 0 {
		ttl = DefaultCertTTL
	}
	_, keyPEM, csr, err := NewKeyAndCSR(k.ID)
	if err != nil {
		return nil, err
	}
	chain, err := k.Signer.SignCSR(ctx, csr, ttl)
	if err != nil {
		return nil, fmt.Errorf("obtain certificate: %w", err)
	}
	w, err := NewWorkload(chain, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("certificate received: %w", err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.cur.Store(w)
	for _, fn := range k.subs {
		fn(w)
	}
	return w, nil
}

// NewWorkload assembles a workload's proof from PEM: leaf first, root last.
func NewWorkload(chain []string, keyPEM []byte) (*Workload, error) {
	if len(chain) < 2 {
		return nil, fmt.Errorf("%d certificates given, want a leaf and a root at least", len(chain))
	}
	var certs bytes.Buffer
	for _, c := range chain[:len(chain)-1] {
		certs.WriteString(c)
		if len(c) > 0 && c[len(c)-1] != '\n' {
			certs.WriteByte('\n')
		}
	}
	roots := []byte(chain[len(chain)-1])
	cert, err := tls.X509KeyPair(certs.Bytes(), keyPEM)
	if err != nil {
		return nil, err
	}
	if len(cert.Leaf.URIs) != 1 {
		return nil, errors.New("certificate has no single SPIFFE ID")
	}
	id, err := ParseID(cert.Leaf.URIs[0].String())
	if err != nil {
		return nil, err
	}
	rootCerts, err := parseCerts(roots)
	if err != nil {
		return nil, fmt.Errorf("root: %w", err)
	}
	pool := x509.NewCertPool()
	for _, r := range rootCerts {
		pool.AddCert(r)
	}
	inter := x509.NewCertPool()
	for _, der := range cert.Certificate[1:] {
		if c, err := x509.ParseCertificate(der); err == nil {
			inter.AddCert(c)
		}
	}
	if _, err := cert.Leaf.Verify(x509.VerifyOptions{Roots: pool, Intermediates: inter, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil {
		return nil, fmt.Errorf("the certificate does not lead to the root that came with it: %w", err)
	}
	return &Workload{
		Cert: &cert, ID: id, ChainPEM: certs.Bytes(), KeyPEM: keyPEM, RootsPEM: roots, Roots: pool,
		NotBefore: cert.Leaf.NotBefore, NotAfter: cert.Leaf.NotAfter,
	}, nil
}
