package runtime

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/meshctl/meshctl/internal/capture"
	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/local/bridge"
	"github.com/meshctl/meshctl/internal/local/controller"
	"github.com/meshctl/meshctl/internal/local/dns"
	"github.com/meshctl/meshctl/internal/local/image"
	"github.com/meshctl/meshctl/internal/local/node"
	"github.com/meshctl/meshctl/internal/local/pod"
	"github.com/meshctl/meshctl/internal/local/vip"
	"github.com/meshctl/meshctl/internal/resource"
)

// Publisher takes what the runtime knows: Pods, Services and EndpointSlices, as
// a cluster's API would show them. Calls come one after another.
type Publisher interface {
	Publish(set []*resource.Object, deleted []resource.Key)
}

// Tokens issues tokens by which a pod's proxy shows its service account.
type Tokens interface {
	Issue(namespace, serviceAccount, pod string) (string, error)
}

// ControlPlane is what the runtime needs from the control plane. Without Tokens
// no proxy could show who it is, so pods run without sidecars.
type ControlPlane struct {
	Publisher   Publisher
	Tokens      Tokens
	Discovery   string // address for proxies, e.g. 10.244.0.1:15012
	RootCertPEM []byte // what proxies verify Discovery with
	TrustDomain string
	MeshID      string
	ClusterID   string         // "" means Kubernetes
	ProxyConfig map[string]any // the mesh's defaults, JSON form
	Proxy       image.Program  // started with "proxy sidecar|router …" behind its words
	// TokenLife is how long a token is valid; it is renewed after a third. 0: an hour.
	TokenLife time.Duration
	// ExcludeOutbound are destinations that never pass the sidecar.
	ExcludeOutbound []netip.Prefix
}

// Options are fixed for the runtime's life.
type Options struct {
	Name     string
	Dir      string // state directory
	Domain   string
	NodeName string
	Network  node.Network
	HostEnv  []string
	Resolver image.Resolver
	Bridge   *bridge.Node
	Publish  Publishing
	Outside  bool // pods may reach outside addresses
	Settle   time.Duration
	// Findings are known before anything runs (the mapping file's).
	Findings []diag.Diagnostic
	Log      *slog.Logger
}

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
	lastIP    uint32
	rules     string // last rules applied, as text
	wasReady  map[string]bool

	mu          sync.Mutex
	objects     []*resource.Object
	haveObjects bool
	configs     *configs
	scale       map[controller.WorkloadKey]scaling
	cp          ControlPlane
	pods        map[string]*pod.Pod // by ID
	services    []*corev1.Service
	slices      []*discoveryv1.EndpointSlice
	findings    []diag.Diagnostic
	stopping    bool
	started     time.Time
	egress      uint16
	idle        chan struct{} // closed when stopping and no pod is left
}

// scaling is a wish for replicas that holds until the object asks for another number.
type scaling struct{ replicas, objectSaid int }

// New makes a runtime in a node that is set up. Call Run, and Use or nothing
// starts.
func New(opts Options) *Runtime {
	r := &Runtime{
		opts: opts, kick: make(chan struct{}, 1), feed: newFeed(), ready: make(chan struct{}),
		allocator: controller.NewAllocator(opts.Network.Services), published: map[resource.Key]uint64{},
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

// serve starts the name server and the egress listener.
func (r *Runtime) serve(ctx context.Context) error {
	gateway := r.opts.Network.Gateway.Addr().String()
	udp, err := net.ListenPacket("udp4", net.JoinHostPort(gateway, "53"))
	if err != nil {
		return fmt.Errorf("start name server: %w", err)
	}
	tcp, err := net.Listen("tcp4", net.JoinHostPort(gateway, "53"))
	if err != nil {
		udp.Close()
		return fmt.Errorf("start name server: %w", err)
	}
	go func() {
		if err := r.dns.Serve(ctx, udp, tcp); err != nil {
			r.opts.Log.Error("name server stopped", "err", err)
		}
	}()
	if r.opts.Outside {
		ln, err := net.Listen("tcp4", net.JoinHostPort(gateway, "0"))
		if err != nil {
			return fmt.Errorf("start egress listener: %w", err)
		}
		r.egress = uint16(ln.Addr().(*net.TCPAddr).Port)
		go r.opts.Bridge.ServeEgress(ctx, ln)
	}
	return r.applyRules(nil)
}

// reconcile does one round; see the package comment.
func (r *Runtime) reconcile(ctx context.Context) {
	r.collectStopped()
	r.mu.Lock()
	objects, haveObjects, stopping := r.objects, r.haveObjects, r.stopping
	select {
	case <-r.ready:
	default:
		haveObjects = false
	}
	r.mu.Unlock()
	if !haveObjects && !stopping {
		return
	}
	findings := slices.Clone(r.opts.Findings)
	if !stopping {
		findings = append(findings, r.plan(ctx, objects)...)
	}
	services, more := r.allocator.Services(objects)
	findings = append(findings, more...)
	slices.SortStableFunc(findings, diag.Compare)
	findings = slices.Compact(findings) // each replica reports the same
	pods := r.snapshot()
	endpoints := controller.EndpointSlices(services, pods, r.opts.NodeName)
	r.mu.Lock()
	r.services, r.slices, r.findings = services, endpoints, findings
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
	if err := r.applyRules(vipPorts(services, endpoints)); err != nil {
		r.opts.Log.Error("service addresses not updated", "err", err)
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

// startPod starts a pod, or says why it cannot be.
func (r *Runtime) startPod(ctx context.Context, spec controller.PodSpec) []diag.Diagnostic {
	r.mu.Lock()
	cp := r.cp
	r.mu.Unlock()
	if cp.Tokens == nil && spec.Injection == controller.Sidecar {
		spec.Injection = controller.NoProxy
	}
	programs, findings := r.programs(ctx, spec)
	var proxy *pod.Proxy
	if spec.Injection != controller.NoProxy {
		c, wrong := r.captureOf(cp, spec)
		findings = append(findings, wrong...)
		proxy = &pod.Proxy{
			Program: cp.Proxy, Discovery: cp.Discovery, MeshID: cp.MeshID, TrustDomain: cp.TrustDomain,
			RootCertPEM: cp.RootCertPEM, Config: cp.ProxyConfig, Capture: c, Image: "meshproxy",
			ClusterID: cp.ClusterID,
		}
		if proxy.ClusterID == "" {
			proxy.ClusterID = "Kubernetes"
		}
	}
	if worst, any := diag.Worst(findings); any && worst == diag.Error {
		return findings
	}
	ip, ok := r.freeIP()
	if !ok {
		return append(findings, diag.Diagnostic{
			Code: controller.CodeUnsupported, Severity: diag.Error, Object: spec.Source.Ref(), Pos: spec.Source.Pos,
			Message: "no pod address is free", Effect: "the pod is not started", Fix: "run fewer replicas",
		})
	}
	r.runs[spec.ID()]++
	log := r.opts.Log.With("component", "pod", "pod", spec.ID())
	p := pod.New(pod.Config{
		Spec: spec, UID: controller.NewUID(spec, r.runs[spec.ID()]), IP: ip,
		NodeName: r.opts.NodeName, Domain: r.opts.Domain, Network: r.opts.Network,
		Dir: filepath.Join(r.opts.Dir, "pods", spec.Namespace+"_"+spec.Name), HideDir: r.opts.Dir,
		LogDir:  filepath.Join(r.opts.Dir, "logs", spec.Namespace+"_"+spec.Name),
		HostEnv: r.opts.HostEnv, Programs: programs, Configs: liveConfigs{r}, Proxy: proxy,
		Token: func() (string, error) {
			if cp.Tokens == nil {
				return "", errors.New("there is no control plane that issues tokens")
			}
			return cp.Tokens.Issue(spec.Namespace, spec.ServiceAccount(), spec.Name)
		},
		Settle: r.opts.Settle, Log: log,
		Event:   func(warning bool, kind, message string) { r.feed.add(warning, kind, "Pod "+spec.ID(), message) },
		Changed: r.wake,
	})
	r.mu.Lock()
	r.pods[spec.ID()] = p
	r.mu.Unlock()
	r.feed.add(false, "PodStarted", "Pod "+spec.ID(), "address "+ip.String())
	go func() {
		p.Run()
		r.wake()
	}()
	return findings
}

// programs finds what to execute for each container.
func (r *Runtime) programs(ctx context.Context, spec controller.PodSpec) (map[string]image.Program, []diag.Diagnostic) {
	all := map[string]image.Program{}
	var findings []diag.Diagnostic
	path := "spec.template.spec"
	if spec.Workload.Kind == "Pod" {
		path = "spec"
	}
	find := func(list string, containers []corev1.Container) {
		for i, c := range containers {
			p, d := r.opts.Resolver.Resolve(ctx, image.Container{
				Name: c.Name, Image: c.Image, Field: fmt.Sprintf("%s.%s[%d]", path, list, i),
				Annotations: spec.Annotations, Object: spec.Source,
			})
			if d != nil {
				findings = append(findings, *d)
				continue
			}
			all[c.Name] = p
		}
	}
	find("initContainers", spec.Spec.InitContainers)
	if spec.Injection != controller.Gateway {
		find("containers", spec.Spec.Containers)
	}
	return all, findings
}

// captureOf is what of the pod's traffic is redirected.
func (r *Runtime) captureOf(cp ControlPlane, spec controller.PodSpec) (capture.Config, []diag.Diagnostic) {
	base := capture.Default()
	base.ProxyUIDs, base.ProxyGIDs, base.ProxyMark = nil, nil, pod.DefaultMark
	base.DNSCapture = true
	base.Nameservers = []netip.Addr{r.opts.Network.Gateway.Addr()}
	base.ExcludeOutboundRanges = cp.ExcludeOutbound
	c, wrong := capture.FromAnnotations(base, spec.Annotations)
	var findings []diag.Diagnostic
	for _, w := range wrong {
		field := fmt.Sprintf("spec.template.metadata.annotations[%s]", w.Annotation)
		findings = append(findings, diag.Diagnostic{
			Code: controller.CodeUnsupported, Severity: diag.Error, Object: spec.Source.Ref(), Pos: spec.Source.At(field),
			Field: field, Message: w.Error(), Effect: "the workload is not started, so that no traffic goes around the mesh", Fix: "correct the annotation",
		})
	}
	return c, findings
}

// freeIP is the next address of the pod network that no pod has. Addresses are
// reused as late as possible, since others may still know the old holder.
func (r *Runtime) freeIP() (netip.Addr, bool) {
	r.mu.Lock()
	used := map[netip.Addr]bool{r.opts.Network.Gateway.Addr(): true}
	for _, p := range r.pods {
		used[p.Status().IP] = true
	}
	r.mu.Unlock()
	size := uint32(1) << (32 - r.opts.Network.Gateway.Bits())
	b := r.opts.Network.Gateway.Masked().Addr().As4()
	base := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
	for range size {
		r.lastIP = (r.lastIP + 1) % (size - 257)
		v := base + 256 + r.lastIP // the first 256 are the node's
		ip := netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)})
		if last := v & 0xff; last != 0 && last != 255 && !used[ip] {
			return ip, true
		}
	}
	return netip.Addr{}, false
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

func (r *Runtime) tokenRenewal() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	life := r.cp.TokenLife
	if life <= 0 {
		life = time.Hour
	}
	return max(life/3, time.Second)
}

func (r *Runtime) renewTokens() {
	r.mu.Lock()
	pods := slices.Collect(maps.Values(r.pods))
	r.mu.Unlock()
	for _, p := range pods {
		if err := p.RenewToken(); err != nil {
			r.opts.Log.Warn("token not renewed", "pod", p.Spec().ID(), "err", err)
		}
	}
}

// applyRules writes the virtual addresses when they changed.
func (r *Runtime) applyRules(ports []vip.Port) error {
	text := fmt.Sprint(ports)
	if r.rules == text {
		return nil
	}
	err := vip.Apply(vip.Config{
		Bridge: r.opts.Network.Bridge, Pods: r.opts.Network.Gateway.Masked(), Services: r.opts.Network.Services,
		Ports: ports, Egress: r.egress,
	})
	if err == nil {
		r.rules = text
	}
	return err
}
