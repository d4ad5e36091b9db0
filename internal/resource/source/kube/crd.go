package kube

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	"github.com/meshctl/meshctl/internal/resource"
)

// customKinds is what the start waits for until it is known which custom kinds
// there are.
const customKinds = "custom kinds"

// lookAgain is when discovery is asked after a definition changed: a kind is
// served a moment after its definition says so.
var lookAgain = []time.Duration{100 * time.Millisecond, time.Second, 3 * time.Second, 10 * time.Second}

// lookAnyway is when it is asked although nothing was heard.
const lookAnyway = time.Minute

// customs are the watches of custom kinds. One goroutine owns it.
type customs struct {
	source  *Source
	state   *state
	defined *definitions
	running map[resource.Kind]*runningWatch
	wait    sync.WaitGroup
}

type runningWatch struct {
	kind kind
	stop func()
}

// followCustom keeps a watch for every custom kind that the cluster serves,
// until ctx ends.
func (s *Source) followCustom(ctx context.Context, st *state) {
	c := &customs{source: s, state: st, defined: newDefinitions(s, st), running: map[resource.Kind]*runningWatch{}}
	defer c.wait.Wait()
	c.wait.Go(func() { c.defined.run(ctx) })
	c.wait.Go(func() { s.tags.run(ctx, st) })
	select { // what is for a tag must not be missing at the start
	case <-s.tags.known:
	case <-ctx.Done():
		return
	}
	first, step := true, 0
	for {
		err := c.look(ctx)
		switch {
		case err != nil && ctx.Err() == nil:
			st.trouble(customKinds, s.unreachable(err))
			step = 0
		case err == nil:
			st.fine(customKinds)
			if first {
				st.heard(customKinds)
				first = false
			}
		}
		pause := lookAnyway
		if step < len(lookAgain) {
			pause = lookAgain[step]
			if err != nil {
				pause = 2 * time.Second
			}
			step++
		}
		t := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-c.defined.changed:
			step = 0
		case <-s.tags.changed:
			c.again(ctx)
		case <-t.C:
		}
		t.Stop()
	}
}

// look asks what is served and starts and ends watches.
func (c *customs) look(ctx context.Context) error {
	served, err := c.source.served()
	if err != nil {
		return err
	}
	for _, info := range customInfos() {
		was := c.running[info.Kind]
		version := served[info.Kind]
		switch {
		case version == "" && was != nil && c.defined.gone(info):
			was.stop()
			delete(c.running, info.Kind)
			c.state.replace(was.kind.id, nil)
			c.state.fine(was.kind.id)
			c.source.opts.Followed(info.Kind, false)
			c.source.log.InfoContext(ctx, "kind no longer followed", "kind", info.Kind.String())
		case version == "" || was != nil && was.kind.gvr.Version == version:
		default:
			if was != nil {
				was.stop()
			}
			c.start(ctx, custom(info, version))
			c.source.opts.Followed(info.Kind, true)
		}
	}
	return nil
}

// again reads all kinds anew: other objects are for us by now.
func (c *customs) again(ctx context.Context) {
	for _, r := range c.running {
		r.stop()
		c.start(ctx, r.kind)
	}
}

func (c *customs) start(ctx context.Context, k kind) {
	c.state.expect(k.id)
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	c.running[k.kind] = &runningWatch{k, func() { cancel(); <-done }}
	c.wait.Go(func() {
		defer close(done)
		defer cancel()
		c.source.follow(ctx, k, c.state)
	})
	c.source.log.DebugContext(ctx, "kind followed", "kind", k.kind.String(), "version", k.gvr.Version)
}

// served returns the custom kinds that the cluster serves, each with the version
// to read it in.
func (s *Source) served() (map[resource.Kind]string, error) {
	groups, err := s.discovery.ServerGroups()
	if err != nil {
		return nil, fmt.Errorf("ask for API groups: %w", err)
	}
	byVersion := map[schema.GroupVersion][]metav1.APIResource{}
	for _, g := range groups.Groups {
		if !slices.ContainsFunc(customInfos(), func(i resource.KindInfo) bool { return i.Kind.Group == g.Name }) {
			continue
		}
		for _, v := range g.Versions {
			list, err := s.discovery.ServerResourcesForGroupVersion(v.GroupVersion)
			if apierrors.IsNotFound(err) {
				continue // gone since the question before
			}
			if err != nil {
				return nil, fmt.Errorf("ask for kinds of %s: %w", v.GroupVersion, err)
			}
			byVersion[schema.GroupVersion{Group: g.Name, Version: v.Version}] = list.APIResources
		}
	}
	out := map[resource.Kind]string{}
	for _, info := range customInfos() {
		for _, v := range info.Versions {
			has := func(r metav1.APIResource) bool { return r.Name == info.Plural }
			if slices.ContainsFunc(byVersion[schema.GroupVersion{Group: info.Kind.Group, Version: v}], has) {
				out[info.Kind] = v
				break
			}
		}
	}
	return out, nil
}

// definitions follows the names of the CustomResourceDefinitions: their schemas
// are large, and none of ours to read.
type definitions struct {
	source  *Source
	state   *state
	changed chan struct{}

	mu    sync.Mutex
	known bool // listed once
	names map[string]bool
}

var definitionResource = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}

func newDefinitions(s *Source, st *state) *definitions {
	return &definitions{source: s, state: st, changed: make(chan struct{}, 1), names: map[string]bool{}}
}

// gone reports that a kind is known not to be defined. A kind that discovery
// does not list may only have been forgotten for a moment, while an API server
// starts.
func (d *definitions) gone(info resource.KindInfo) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.known && !d.names[info.Plural+"."+info.Kind.Group]
}

func (d *definitions) run(ctx context.Context) {
	k := kind{id: "CustomResourceDefinition", gvr: definitionResource}
	k.kind.Kind = k.id
	client := d.source.metadata.Resource(definitionResource)
	lw := observe(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			return client.List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			return client.Watch(ctx, o)
		},
	}, func(err error) { d.source.answered(k, d.state, err) })
	r := cache.NewReflectorWithOptions(lw, &metav1.PartialObjectMetadata{}, d, cache.ReflectorOptions{Name: d.source.Name(), TypeDescription: k.id})
	repeat(ctx, r.ListAndWatchWithContext)
}

func (d *definitions) change(edit func()) {
	d.mu.Lock()
	edit()
	d.mu.Unlock()
	select {
	case d.changed <- struct{}{}:
	default:
	}
}

var errNoMetadata = errors.New("an object without metadata")

func definitionName(o any) (string, error) {
	m, ok := o.(metav1.Object)
	if !ok {
		return "", errNoMetadata
	}
	return m.GetName(), nil
}

// Add implements cache.ReflectorStore.
func (d *definitions) Add(o any) error { return d.Update(o) }

// Update implements cache.ReflectorStore. A definition may say by now that it is
// established, or another version.
func (d *definitions) Update(o any) error {
	name, err := definitionName(o)
	if err == nil {
		d.change(func() { d.names[name] = true })
	}
	return err
}

// Delete implements cache.ReflectorStore.
func (d *definitions) Delete(o any) error {
	name, err := definitionName(o)
	if err == nil {
		d.change(func() { delete(d.names, name) })
	}
	return err
}

// Replace implements cache.ReflectorStore.
func (d *definitions) Replace(list []any, _ string) error {
	names := make(map[string]bool, len(list))
	for _, o := range list {
		name, err := definitionName(o)
		if err != nil {
			return err
		}
		names[name] = true
	}
	d.change(func() { d.names, d.known = names, true })
	return nil
}

// Resync implements cache.ReflectorStore.
func (*definitions) Resync() error { return nil }
