package register

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/meshctl/meshctl/internal/mesh"
)

// attempts at a write that others interfere with.
const attempts = 5

// writeTimeout bounds one write.
const writeTimeout = 10 * time.Second

// Registry keeps the entries of the machines that are connected here.
type Registry struct {
	o Options

	mu       sync.Mutex
	machines map[machine]*connected
	wake     chan struct{}
}

// machine names an entry.
type machine struct{ namespace, name string }

// connected is a machine with sessions here, or one that has just left.
type connected struct {
	sessions int
	proxy    *mesh.Proxy // of the last session
	// health is what is to be written; written is what was.
	health, written *Condition
	left            bool // to be marked
}

// New makes a Registry; Run does what need not be done at once.
func New(o Options) *Registry {
	if o.Grace <= 0 {
		o.Grace = DefaultGrace
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Registry{o: o, machines: map[machine]*connected{}, wake: make(chan struct{}, 1)}
}

// Member is one session of a machine.
type Member struct {
	r    *Registry
	key  machine
	once sync.Once
}

// Join registers a machine, whose proxy names a group, and sets the name of its entry
// in proxy. What the proxy says of its namespace and account must have been proved.
func (r *Registry) Join(ctx context.Context, p *mesh.Proxy) (*Member, error) {
	if _, _, err := checkGroup(r.o.Mesh, p); err != nil {
		return nil, err
	}
	p.Entry = nameOf(p)
	key := machine{p.Namespace, p.Entry}
	r.mu.Lock()
	c := r.machines[key]
	if c == nil {
		c = &connected{}
		r.machines[key] = c
	}
	c.sessions++
	c.proxy, c.left = p, false
	r.mu.Unlock()
	if err := r.connect(ctx, p); err != nil {
		r.leave(key)
		return nil, err
	}
	r.o.Logger.InfoContext(ctx, "machine registered", "namespace", p.Namespace, "group", p.Group, "entry", p.Entry)
	return &Member{r: r, key: key}, nil
}

// connect makes the entry, or takes over the one that is there.
func (r *Registry) connect(ctx context.Context, p *mesh.Proxy) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	group, spec, err := checkGroup(r.o.Mesh, p)
	if err != nil {
		return err
	}
	want := fromGroup(p, group, spec)
	want.Annotations[AnnotationController] = r.o.Instance
	want.Annotations[AnnotationConnected] = r.o.Now().UTC().Format(time.RFC3339Nano)
	for range attempts {
		old, getErr := r.o.Store.Get(ctx, p.Namespace, p.Entry)
		switch {
		case errors.Is(getErr, ErrNotFound):
			err = r.o.Store.Create(ctx, want)
		case getErr != nil:
			return fmt.Errorf("register machine %s: %w", p.Entry, getErr)
		case old.Annotations[AnnotationGroup] != p.Group:
			return refusef("WorkloadEntry %s/%s is there, and was not made for a machine of group %s: rename or delete it", p.Namespace, p.Entry, p.Group)
		default:
			next := want
			next.Version = old.Version
			err = r.o.Store.Update(ctx, next)
		}
		if !errors.Is(err, ErrConflict) && !errors.Is(err, ErrNotFound) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("register machine %s: %w", p.Entry, err)
	}
	return nil
}

// Report takes what the agent says of its workload; it is written soon.
func (m *Member) Report(healthy bool, reason string) {
	if len(reason) > maxReason {
		reason = reason[:maxReason]
	}
	r := m.r
	r.mu.Lock()
	if c := r.machines[m.key]; c != nil {
		h := &Condition{Healthy: healthy, Message: reason, Since: r.o.Now()}
		if c.health != nil && c.health.Healthy == healthy {
			h.Since = c.health.Since
		}
		c.health = h
	}
	r.mu.Unlock()
	r.hurry()
}

// maxReason bounds what an agent may have written into a status, in bytes.
const maxReason = 1024

// Leave ends the session.
func (m *Member) Leave() { m.once.Do(func() { m.r.leave(m.key) }) }

func (r *Registry) leave(key machine) {
	r.mu.Lock()
	if c := r.machines[key]; c != nil {
		if c.sessions--; c.sessions == 0 {
			c.left = true
		}
	}
	r.mu.Unlock()
	r.hurry()
}

func (r *Registry) hurry() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Run writes health and ends registrations until ctx ends.
func (r *Registry) Run(ctx context.Context) error {
	pause := max(r.o.Grace/4, 10*time.Millisecond)
	t := time.NewTicker(pause)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-r.wake:
			r.round(ctx)
		case <-t.C:
			r.round(ctx)
			r.sweep(ctx)
		}
	}
}

// round does what is due for the machines that are, or were, connected here. What
// fails is tried again in the next.
func (r *Registry) round(ctx context.Context) {
	r.mu.Lock()
	due := maps.Clone(r.machines)
	r.mu.Unlock()
	for key := range due {
		if ctx.Err() != nil {
			return
		}
		if err := r.write(ctx, key); err != nil && ctx.Err() == nil {
			r.o.Logger.WarnContext(ctx, "entry of a machine not written; it is tried again", "namespace", key.namespace, "entry", key.name, "err", err)
		}
	}
}

func (r *Registry) write(ctx context.Context, key machine) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	r.mu.Lock()
	c := r.machines[key]
	if c == nil {
		r.mu.Unlock()
		return nil
	}
	left, health := c.left, c.health
	fresh := health != nil && (c.written == nil || c.written.Healthy != health.Healthy || c.written.Message != health.Message)
	r.mu.Unlock()
	if left {
		return r.disconnect(ctx, key)
	}
	if !fresh {
		return nil
	}
	err := r.o.Store.SetHealth(ctx, key.namespace, key.name, *health)
	if err != nil && !errors.Is(err, ErrNotFound) { // the sweep makes it again
		return err
	}
	if err == nil {
		r.mu.Lock()
		c.written = health
		r.mu.Unlock()
	}
	return nil
}

// disconnect marks the entry of a machine that has no session here.
func (r *Registry) disconnect(ctx context.Context, key machine) error {
	for range attempts {
		old, err := r.o.Store.Get(ctx, key.namespace, key.name)
		deleted := errors.Is(err, ErrNotFound)
		if err != nil && !deleted {
			return err
		}
		r.mu.Lock()
		c := r.machines[key]
		if c == nil || !c.left { // it has come back
			r.mu.Unlock()
			return nil
		}
		if deleted || old.Annotations[AnnotationController] != r.o.Instance || old.Annotations[AnnotationDisconnected] != "" {
			delete(r.machines, key) // deleted, taken over, or marked already
			r.mu.Unlock()
			return nil
		}
		r.mu.Unlock()
		if err := r.mark(ctx, old); !errors.Is(err, ErrConflict) {
			if err == nil {
				r.o.Logger.InfoContext(ctx, "machine has left", "namespace", key.namespace, "entry", key.name, "removed_in", r.o.Grace.String())
			}
			return err
		}
	}
	return ErrConflict
}

// mark notes in an entry that its machine is away.
func (r *Registry) mark(ctx context.Context, e Entry) error {
	e.Annotations = maps.Clone(e.Annotations)
	e.Annotations[AnnotationDisconnected] = r.o.Now().UTC().Format(time.RFC3339Nano)
	return r.o.Store.Update(ctx, e)
}
