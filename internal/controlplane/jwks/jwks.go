// Package jwks fetches the keys of issuers of tokens (RFC 7517), in the background:
// what is fetched is an input of the mesh, so that new keys are a change like any
// other, and no proxy ever waits for an issuer.
//
//	f := jwks.New(jwks.Options{}, mesh.KeySources, inputs.KeySets)
//	go f.Run(ctx)
//
// Keys that were fetched stay in force while an issuer does not answer. Whoever may
// write a RequestAuthentication chooses the address: see Options.Blocked.
package jwks

import (
	"context"
	"crypto/x509"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/meshctl/meshctl/internal/collection"
	"github.com/meshctl/meshctl/internal/mesh"
)

// Options of a Fetcher.
type Options struct {
	// Blocked are ranges of addresses that are never asked, whatever name led there.
	Blocked []netip.Prefix
	// Dial connects, in the place of the usual way; it has to heed Blocked itself.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Roots verify the servers of https; nil: those of the system.
	Roots *x509.CertPool
	// Refresh is how long fetched keys are good for; default 20 minutes. A server may
	// ask for less.
	Refresh time.Duration
	// Retry is the first pause after a failure, which doubles; default 2 s.
	Retry  time.Duration
	Logger *slog.Logger // nil discards
}

// Bounds of the pauses.
const (
	defaultRefresh = 20 * time.Minute
	defaultRetry   = 2 * time.Second
	minRefresh     = time.Minute // whatever a server asks for
	maxRetry       = 2 * time.Minute
	maxSources     = 1000
)

// Fetcher follows the sources of keys.
type Fetcher struct {
	o       Options
	sources collection.Collection[*mesh.KeySource]
	sets    *collection.Input[*mesh.KeySet]
	client  *client
}

// New makes a fetcher; nothing is asked before Run.
func New(o Options, sources collection.Collection[*mesh.KeySource], sets *collection.Input[*mesh.KeySet]) *Fetcher {
	if o.Refresh <= 0 {
		o.Refresh = defaultRefresh
	}
	if o.Retry <= 0 {
		o.Retry = defaultRetry
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Fetcher{o: o, sources: sources, sets: sets, client: newClient(o)}
}

// Run fetches until ctx ends.
func (f *Fetcher) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer f.client.close()
	defer cancel()
	changed := make(chan struct{}, 1)
	stop := collection.Subscribe(f.sources, func(uint64, []collection.Event[*mesh.KeySource]) {
		select {
		case changed <- struct{}{}:
		default:
		}
	})
	defer stop()
	type following struct {
		source mesh.KeySource
		stop   func()
	}
	now := map[string]following{}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
		wanted := map[string]mesh.KeySource{}
		for _, s := range f.sources.List() {
			if len(wanted) < maxSources {
				wanted[s.CollectionKey()] = *s
			}
		}
		for key, have := range now {
			if s, ok := wanted[key]; !ok || s != have.source {
				have.stop()
				delete(now, key)
				if !ok {
					f.sets.Delete(key)
				}
			}
		}
		for key, s := range wanted {
			if _, ok := now[key]; ok {
				continue
			}
			own, end := context.WithCancel(ctx)
			done := make(chan struct{})
			running.Go(func() {
				defer close(done)
				f.follow(own, s)
			})
			now[key] = following{s, func() { end(); <-done }}
		}
	}
}

// follow keeps one key set up to date.
func (f *Fetcher) follow(ctx context.Context, s mesh.KeySource) {
	set := mesh.KeySet{Source: s.CollectionKey()}
	if have, ok := f.sets.Get(set.Source); ok {
		set.Keys = have.Keys
	}
	pause := f.o.Retry
	for ctx.Err() == nil {
		keys, fresh, err := f.client.fetch(ctx, s)
		if ctx.Err() != nil {
			return
		}
		wait := pause
		switch {
		case err != nil:
			if set.Problem == "" {
				f.o.Logger.WarnContext(ctx, "the keys of an issuer cannot be fetched; it is tried again", "from", set.Source, "err", err)
			}
			set.Problem = err.Error()
			pause = min(2*pause, max(maxRetry, f.o.Retry))
		case keys == "":
			// An answer, if not a good one: what was withdrawn must not count any more.
			set.Keys, set.Problem, pause, wait = "", "the key set has no keys that can verify signatures", f.o.Retry, f.lifetime(fresh)
		default:
			if set.Problem != "" || set.Keys != keys {
				f.o.Logger.InfoContext(ctx, "the keys of an issuer are new", "from", set.Source)
			}
			set.Keys, set.Problem, pause, wait = keys, "", f.o.Retry, f.lifetime(fresh)
		}
		now := set
		f.sets.Set(&now)
		// Many control planes, and many issuers, do not ask at the same moment.
		t := time.NewTimer(wait - time.Duration(rand.Int64N(int64(wait/10)+1))) //nolint:gosec // no secret
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
	}
}

// lifetime is how long keys are good for of which the server says so; 0: it does not.
func (f *Fetcher) lifetime(fresh time.Duration) time.Duration {
	if fresh <= 0 {
		return f.o.Refresh
	}
	return min(max(fresh, minRefresh), f.o.Refresh)
}
