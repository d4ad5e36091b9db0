package runtime

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/local/controller"
	"github.com/meshctl/meshctl/internal/local/dns"
	"github.com/meshctl/meshctl/internal/local/image"
	"github.com/meshctl/meshctl/internal/local/pod"
	"github.com/meshctl/meshctl/internal/resource"
)

// Runtime runs the pods of one node.
type Runtime struct {
	opts  Options
	asked atomic.Uint64 // wake-ups so far
	done  atomic.Uint64 // wake-ups that the last round has seen
	dns   *dns.Server
	kick  chan struct{}
	feed  *feed
	pubs  *publications
	ready chan struct{} // closed when Use was called

	// Owned by the goroutine of Run.
	allocator *controller.Allocator
	published map[resource.Key]uint64
	runs      map[string]int // how often a pod of this name was started
	lastIP    int
	wasReady  map[string]bool

	mu          sync.Mutex
	objects     []*resource.Object
	haveObjects bool
	configs     *configs
	scale       map[controller.WorkloadKey]scaling
	cp          ControlPlane
	resolver    image.Resolver
	mapping     []diag.Diagnostic   // about what stands for images
	pods        map[string]*pod.Pod // by ID
	services    []*corev1.Service
	slices      []*discoveryv1.EndpointSlice
	findings    []diag.Diagnostic
	stopping    bool
	started     time.Time
	idle        chan struct{} // closed when stopping and no pod is left
}

// scaling is a wish for replicas that holds until the object asks for another number.
type scaling struct{ replicas, objectSaid int }

// New makes a runtime in a node that is set up. Call SetImages, Run, and Use or
// nothing starts.
func New(opts Options) *Runtime {
	r := &Runtime{
		opts: opts, kick: make(chan struct{}, 1), feed: newFeed(), ready: make(chan struct{}),
		allocator: controller.NewAllocator(opts.Network.Services()), published: map[resource.Key]uint64{},
		runs: map[string]int{}, wasReady: map[string]bool{}, configs: &configs{}, scale: map[controller.WorkloadKey]scaling{},
		pods:    map[string]*pod.Pod{},
		started: time.Now(), idle: make(chan struct{}),
	}
	var forward func(context.Context, []byte) ([]byte, error)
	if opts.Outside {
		forward = opts.Bridge.ExchangeDNS
	}
	r.dns = dns.New(opts.Domain, forward, opts.Log.With("component", "dns"))
	r.pubs = newPublications(opts.Bridge, opts.Publish, r.feed, opts.Log)
	return r
}

// Use gives the runtime its control plane, once. Pods start after that.
func (r *Runtime) Use(cp ControlPlane) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case <-r.ready:
		return errors.New("use control plane: the runtime has one already")
	default:
	}
	r.cp = cp
	close(r.ready)
	r.wake()
	return nil
}

// SetObjects says everything that should be: workloads, services, namespaces,
// ConfigMaps and Secrets; other kinds are passed over. It replaces what was
// said before.
func (r *Runtime) SetObjects(objects []*resource.Object) {
	r.mu.Lock()
	r.objects, r.haveObjects = slices.Clone(objects), true
	r.configs = newConfigs(objects)
	r.forgetScaling()
	r.mu.Unlock()
	r.wake()
}

// SetImages replaces what stands for images, and what is wrong with that. It is in
// force for pods that start from now on: those that could not start try again.
func (r *Runtime) SetImages(resolver image.Resolver, findings []diag.Diagnostic) {
	r.mu.Lock()
	r.resolver, r.mapping = resolver, slices.Clone(findings)
	r.mu.Unlock()
	r.wake()
}

// wake asks for a round. What changed before is seen by it.
func (r *Runtime) wake() {
	r.asked.Add(1)
	select {
	case r.kick <- struct{}{}:
	default:
	}
}

// Accept takes a connection to a published port (see bridge.Accepted).
func (r *Runtime) Accept(ctx context.Context, publication string, conn net.Conn) {
	go r.pubs.serve(ctx, publication, conn)
}

// Run works until ctx ends; then every pod is stopped as fast as possible. For
// an orderly end call Stop first.
func (r *Runtime) Run(ctx context.Context) error {
	if err := r.serve(ctx); err != nil {
		return err
	}
	r.feed.add(false, "NodeReady", "", "network, name server and bridge are up")
	renew := time.NewTicker(r.tokenRenewal())
	defer renew.Stop()
	for {
		select {
		case <-ctx.Done():
			r.stopAll()
			return nil
		case <-renew.C:
			r.renewTokens()
			renew.Reset(r.tokenRenewal())
		case <-r.kick:
			seen := r.asked.Load()
			r.reconcile(ctx)
			r.done.Store(seen)
		}
	}
}

// reconcile does one round; see the package comment.
func (r *Runtime) reconcile(ctx context.Context) {
	r.collectStopped()
	r.mu.Lock()
	objects, haveObjects, stopping := r.objects, r.haveObjects, r.stopping
	findings := slices.Clone(r.mapping)
	select {
	case <-r.ready:
	default:
		haveObjects = false
	}
	r.mu.Unlock()
	if !haveObjects && !stopping {
		return
	}
	services, more := r.allocator.Services(objects)
	findings = append(findings, more...)
	r.mu.Lock()
	r.services = services // known to the pods that start now
	r.mu.Unlock()
	if !stopping {
		findings = append(findings, r.plan(ctx, objects)...)
	}
	slices.SortStableFunc(findings, diag.Compare)
	findings = slices.Compact(findings) // each replica reports the same
	pods := r.snapshot()
	endpoints := controller.EndpointSlices(services, pods, r.opts.NodeName, r.podPort)
	r.mu.Lock()
	r.slices, r.findings = endpoints, findings
	if stopping && len(r.pods) == 0 {
		select {
		case <-r.idle:
		default:
			close(r.idle)
		}
	}
	r.mu.Unlock()
	r.tellReadiness(pods)
	r.publish(services, pods, endpoints)
	r.dns.Set(dns.Names(r.opts.Domain, services, endpoints))
	if err := r.opts.Network.Route(vipPorts(services, endpoints)); err != nil {
		r.opts.Log.ErrorContext(ctx, "service addresses not updated", "err", err)
	}
	if !stopping {
		r.pubs.update(ctx, services, endpoints)
	}
	r.feed.notify()
}

// tellReadiness makes events of pods that became ready, or no longer are.
func (r *Runtime) tellReadiness(pods []controller.Pod) {
	now := map[string]bool{}
	for _, p := range pods {
		now[p.ID()] = p.Ready
		switch {
		case p.Ready && !r.wasReady[p.ID()]:
			r.feed.add(false, "PodReady", "Pod "+p.ID(), fmt.Sprintf("after %s", time.Since(p.Started).Round(time.Millisecond)))
		case p.Phase == corev1.PodSucceeded && r.wasReady[p.ID()]:
			r.feed.add(false, "PodCompleted", "Pod "+p.ID(), fmt.Sprintf("after %s", time.Since(p.Started).Round(time.Millisecond)))
		case !p.Ready && !p.Terminating && r.wasReady[p.ID()]:
			r.feed.add(true, "PodNotReady", "Pod "+p.ID(), p.Message)
		}
	}
	r.wasReady = now
}

// plan starts and stops pods.
func (r *Runtime) plan(ctx context.Context, objects []*resource.Object) []diag.Diagnostic {
	r.mu.Lock()
	scale := map[controller.WorkloadKey]int{}
	for k, s := range r.scale {
		scale[k] = s.replicas
	}
	r.mu.Unlock()
	workloads, findings := controller.Workloads(objects, scale)
	namespaces := namespaceLabels(objects)
	byWorkload := map[controller.WorkloadKey][]controller.Pod{}
	for _, p := range r.snapshot() {
		byWorkload[p.Workload] = append(byWorkload[p.Workload], p)
	}
	for _, w := range workloads {
		plan := controller.Rollout(w, byWorkload[w.Key], namespaces[w.Key.Namespace])
		delete(byWorkload, w.Key)
		for _, name := range plan.Stop {
			r.stopPod(w.Key.Namespace + "/" + name)
		}
		for _, spec := range plan.Start {
			findings = append(findings, r.startPod(ctx, spec)...)
		}
	}
	for _, pods := range byWorkload { // their workload is gone
		for _, p := range pods {
			r.stopPod(p.ID())
		}
	}
	return findings
}

func namespaceLabels(objects []*resource.Object) map[string]map[string]string {
	all := map[string]map[string]string{}
	for _, o := range objects {
		if o.Key.Kind.Kind == "Namespace" && o.Key.Kind.Group == "" {
			all[o.Key.Name] = o.Meta.Labels
		}
	}
	return all
}

func (r *Runtime) stopPod(id string) {
	r.mu.Lock()
	p := r.pods[id]
	now := r.stopping
	r.mu.Unlock()
	if p != nil {
		p.Stop(pod.StopOptions{Now: now})
	}
}

// collectStopped forgets pods of which nothing is left.
func (r *Runtime) collectStopped() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, p := range r.pods {
		select {
		case <-p.Stopped():
			delete(r.pods, id)
			r.feed.add(false, "PodStopped", "Pod "+id, "nothing of it is left")
		default:
		}
	}
}

// snapshot is all pods and their status, sorted by name.
func (r *Runtime) snapshot() []controller.Pod {
	r.mu.Lock()
	pods := slices.Collect(maps.Values(r.pods))
	r.mu.Unlock()
	all := make([]controller.Pod, len(pods))
	for i, p := range pods {
		all[i] = controller.Pod{PodSpec: p.Spec(), PodStatus: p.Status(), UID: p.UID()}
	}
	slices.SortFunc(all, func(a, b controller.Pod) int { return strings.Compare(a.ID(), b.ID()) })
	return all
}

func (r *Runtime) stopAll() {
	r.mu.Lock()
	r.stopping = true
	pods := slices.Collect(maps.Values(r.pods))
	r.mu.Unlock()
	for _, p := range pods {
		p.Stop(pod.StopOptions{Now: true})
	}
}

// Stop ends all pods in an orderly way and returns when nothing is left of
// them, or with ctx's error.
func (r *Runtime) Stop(ctx context.Context) error {
	r.stopAll()
	r.feed.add(false, "Stopping", "", "all pods are being stopped")
	r.wake()
	select {
	case <-r.idle:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("stop pods: %w", ctx.Err())
	}
}
