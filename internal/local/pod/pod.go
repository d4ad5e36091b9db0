package pod

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/meshctl/meshctl/internal/capture"
	"github.com/meshctl/meshctl/internal/local/controller"
	"github.com/meshctl/meshctl/internal/local/image"
	"github.com/meshctl/meshctl/internal/local/logs"
	"github.com/meshctl/meshctl/internal/local/network"
)

// ProxyName is the container name of the proxy.
const ProxyName = "istio-proxy"

// Config is everything a pod needs. Read-only.
type Config struct {
	Spec     controller.PodSpec
	UID      string
	IP       netip.Addr
	NodeName string
	Domain   string // DNS domain of the cluster, e.g. cluster.local
	Network  network.Network
	Dir      string // the pod's own directory
	HideDir  string // the mesh's state, which the pod must not see
	LogDir   string // of the pod's logs
	HostEnv  []string
	Programs map[string]image.Program // by container name
	Configs  Configs
	Proxy    *Proxy // nil when Spec.Injection is NoProxy
	// Token issues a token for the pod's service account.
	Token func() (string, error)
	// Services are those of the pod's namespace.
	Services func() []*corev1.Service
	// Settle is how long an ending pod still serves, so that others can learn
	// that it is going.
	Settle time.Duration
	// StopGrace replaces the pod's grace period when not zero.
	StopGrace time.Duration
	Log       *slog.Logger
	// Event tells what happened; Changed says that Status changed. Both must
	// not block and may be called from several goroutines.
	Event   func(warning bool, kind, message string)
	Changed func()
}

// Pod is a running pod. Start it with Run in a goroutine.
type Pod struct {
	cfg   Config
	facts Facts
	box   network.Sandbox // nil until set up; guarded by mu

	containers []*container // init containers first, proxy last; fixed
	proxy      *container   // nil without one

	stopOnce sync.Once
	stop     chan struct{} // closed to end the pod
	stopped  chan struct{} // closed when nothing of it is left
	stopping StopOptions   // valid once stop is closed

	mu     sync.Mutex
	status controller.PodStatus
}

// StopOptions says how to end a pod.
type StopOptions struct {
	Now bool // no time to settle: the whole mesh stops
}

// New prepares a pod.
func New(cfg Config) *Pod {
	p := &Pod{
		cfg: cfg,
		facts: Facts{
			PodSpec: cfg.Spec, UID: cfg.UID, IP: cfg.IP.String(), NodeName: cfg.NodeName,
			HostIP: cfg.Network.Gateway().String(),
		},
		stop: make(chan struct{}), stopped: make(chan struct{}),
		status: controller.PodStatus{IP: cfg.IP, Phase: corev1.PodPending, Started: time.Now()},
	}
	for _, c := range cfg.Spec.Spec.InitContainers {
		p.containers = append(p.containers, newContainer(p, c, roleInit))
	}
	if cfg.Spec.Injection != controller.Gateway {
		for _, c := range cfg.Spec.Spec.Containers {
			p.containers = append(p.containers, newContainer(p, c, roleApp))
		}
	}
	if cfg.Proxy != nil {
		p.proxy = newContainer(p, cfg.Proxy.container(cfg.Domain, p.facts), roleProxy)
		p.containers = append(p.containers, p.proxy)
	}
	return p
}

// Spec is what the pod was made from.
func (p *Pod) Spec() controller.PodSpec { return p.cfg.Spec }

// UID identifies this run of the pod.
func (p *Pod) UID() string { return p.cfg.UID }

// Status is how the pod is doing now.
func (p *Pod) Status() controller.PodStatus {
	p.mu.Lock()
	s := p.status
	p.mu.Unlock()
	s.Containers = nil
	allReady, running, failed, done := true, false, false, true
	for _, c := range p.containers {
		cs := c.snapshot()
		if c.role == roleInit {
			continue
		}
		s.Containers = append(s.Containers, cs)
		allReady = allReady && cs.Ready
		running = running || cs.Running
		if c.role == roleApp {
			done = done && c.isDone()
			failed = failed || c.isDone() && cs.ExitCode != 0
			if !cs.Ready && cs.Message != "" {
				s.Reason, s.Message = cmp.Or(s.Reason, cs.Reason), cmp.Or(s.Message, cs.Message)
			}
		}
	}
	hasApp := p.cfg.Spec.Injection != controller.Gateway
	switch {
	case hasApp && done && failed:
		s.Phase = corev1.PodFailed
	case hasApp && done:
		s.Phase = corev1.PodSucceeded
	case running && s.Phase == corev1.PodPending && p.appStarted():
		s.Phase = corev1.PodRunning
	}
	s.Ready = allReady && !s.Terminating && s.Phase == corev1.PodRunning
	return s
}

func (p *Pod) appStarted() bool {
	for _, c := range p.containers {
		if c.role == roleApp && !c.hasStarted() {
			return false
		}
	}
	return true
}

func (p *Pod) setReason(reason, message string) {
	p.mu.Lock()
	p.status.Reason, p.status.Message = reason, message
	p.mu.Unlock()
	p.cfg.Changed()
}

// Stop begins to end the pod; the first call decides how. Stopped tells when
// nothing is left.
func (p *Pod) Stop(o StopOptions) {
	p.stopOnce.Do(func() {
		p.mu.Lock()
		p.stopping = o
		p.status.Terminating = true
		p.mu.Unlock()
		close(p.stop)
		p.cfg.Changed()
	})
}

// Stopped is closed when the pod is gone.
func (p *Pod) Stopped() <-chan struct{} { return p.stopped }

// Run lives the pod's life and returns when nothing of it is left.
func (p *Pod) Run() {
	defer close(p.stopped)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var wg sync.WaitGroup
	if p.setUpUntilDone(ctx) {
		wg.Go(func() { p.live(ctx) })
	}
	<-p.stop
	p.end()
	cancel()
	wg.Wait()
	p.cleanUp()
}

// setUpUntilDone makes the namespaces, trying again while what is missing may
// still come (a ConfigMap, memory).
func (p *Pod) setUpUntilDone(ctx context.Context) bool {
	pause := newBackoff()
	last := ""
	for {
		err := p.setUp()
		if err == nil {
			return true
		}
		if err.Error() != last {
			last = err.Error()
			p.cfg.Event(true, "PodNotSetUp", last)
		}
		p.setReason("SetUpFailed", last)
		if !p.pause(ctx, pause.next(0)) {
			return false
		}
	}
}

// pause waits, and reports false when the pod is to stop meanwhile.
func (p *Pod) pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-p.stop:
		return false
	case <-ctx.Done():
		return false
	}
}

func (p *Pod) setUp() error {
	spec := p.cfg.Spec
	mounts, err := volumes(p.facts, filepath.Join(p.cfg.Dir, "volumes"), p.cfg.Configs, p.cfg.Token)
	if err != nil {
		return err
	}
	if p.cfg.Proxy != nil {
		if err := p.cfg.Proxy.writeFiles(p.cfg, p.facts); err != nil {
			return err
		}
	}
	hosts := map[string]netip.Addr{}
	for _, alias := range spec.Spec.HostAliases {
		ip, err := netip.ParseAddr(alias.IP)
		if err != nil {
			return fmt.Errorf("host alias %q: %w", alias.IP, err)
		}
		for _, name := range alias.Hostnames {
			hosts[name] = ip
		}
	}
	var programs []string
	for _, name := range slices.Sorted(maps.Keys(p.cfg.Programs)) {
		programs = append(programs, p.cfg.Programs[name].Path)
	}
	box, err := p.cfg.Network.NewSandbox(network.SandboxConfig{
		Name: spec.ID(), UID: p.cfg.UID, Hostname: Hostname(spec), IP: p.cfg.IP,
		Dir: p.cfg.Dir, HideDir: p.cfg.HideDir, Mounts: mounts, Programs: programs, HostEntries: hosts,
		Search:  []string{spec.Namespace + ".svc." + p.cfg.Domain, "svc." + p.cfg.Domain, p.cfg.Domain},
		Capture: p.captured(),
	})
	if err != nil {
		return err
	}
	p.mu.Lock()
	p.box = box
	p.status.Reason, p.status.Message = "", ""
	p.mu.Unlock()
	return nil
}

// captured is what of the pod's traffic is redirected to its sidecar.
func (p *Pod) captured() *capture.Config {
	if p.cfg.Spec.Injection != controller.Sidecar {
		return nil
	}
	return &p.cfg.Proxy.Capture
}

func (p *Pod) sandbox() network.Sandbox {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.box
}

// live runs the containers in their order until the pod stops.
func (p *Pod) live(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	if p.proxy != nil {
		wg.Go(func() { p.proxy.supervise(ctx) })
		if p.cfg.Spec.Injection == controller.Gateway {
			return
		}
		if !p.awaitProxy(ctx) {
			return
		}
	}
	for _, c := range p.containers {
		if c.role == roleInit && !c.runOnce(ctx) {
			return
		}
	}
	var apps sync.WaitGroup
	for _, c := range p.containers {
		if c.role == roleApp {
			apps.Go(func() { c.supervise(ctx) })
		}
	}
	apps.Wait()
	if phase := p.Status().Phase; p.proxy != nil && (phase == corev1.PodSucceeded || phase == corev1.PodFailed) {
		// All work is done: the sidecar would only wait for ever.
		p.proxy.terminate(p.grace())
	}
}

// proxyPatience is after how long a proxy that is not ready is complained about.
const proxyPatience = 30 * time.Second

func (p *Pod) awaitProxy(ctx context.Context) bool {
	timer := time.NewTimer(proxyPatience)
	defer timer.Stop()
	p.setReason("WaitingForProxy", "the containers start when the sidecar is ready")
	for {
		select {
		case <-p.proxy.ready:
			p.setReason("", "")
			return true
		case <-timer.C:
			m := fmt.Sprintf("the sidecar is not ready after %s, so the containers wait: %s", proxyPatience, p.proxy.why())
			p.setReason("ProxyNotReady", m)
			p.cfg.Event(true, "ProxyNotReady", m)
		case <-p.stop:
			return false
		case <-ctx.Done():
			return false
		}
	}
}

// end stops the containers in an orderly way.
func (p *Pod) end() {
	p.mu.Lock()
	o := p.stopping
	p.mu.Unlock()
	grace := p.grace()
	if !o.Now && p.cfg.Settle > 0 && p.Status().Phase == corev1.PodRunning {
		timer := time.NewTimer(p.cfg.Settle)
		<-timer.C
	}
	var wg sync.WaitGroup
	for _, c := range p.containers {
		if c.role != roleProxy {
			wg.Go(func() { c.terminate(grace) })
		}
	}
	wg.Wait()
	if p.proxy != nil {
		proxyGrace := max(grace, time.Second)
		if o.Now {
			// The whole mesh stops, so nobody is left whose connections would be drained.
			proxyGrace = min(proxyGrace, drainNobody)
		}
		p.proxy.terminate(proxyGrace)
	}
}

const drainNobody = 2 * time.Second

func (p *Pod) grace() time.Duration {
	if p.cfg.StopGrace > 0 {
		return p.cfg.StopGrace
	}
	if s := p.cfg.Spec.Spec.TerminationGracePeriodSeconds; s != nil {
		return time.Duration(max(0, *s)) * time.Second
	}
	return 30 * time.Second
}

func (p *Pod) cleanUp() {
	box := p.sandbox()
	if box != nil {
		if err := box.KillAll(); err != nil {
			p.cfg.Event(true, "ProcessLeft", err.Error())
		}
		box.Close()
	}
	for _, c := range p.containers {
		c.closeLog()
	}
	if err := os.RemoveAll(p.cfg.Dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		p.cfg.Log.Warn("files of a pod are left", "pod", p.cfg.Spec.ID(), "err", err)
	}
}

// Dial connects from inside the pod to a literal address.
func (p *Pod) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	box := p.sandbox()
	if box == nil {
		return nil, fmt.Errorf("pod %s has no network yet", p.cfg.Spec.ID())
	}
	return box.Dial(ctx, network, address)
}

// Logs returns the log of a container, the first one (not an init container)
// when name is empty.
func (p *Pod) Logs(name string) (*logs.Log, error) {
	c, err := p.container(name)
	if err != nil {
		return nil, err
	}
	return c.output()
}

func (p *Pod) container(name string) (*container, error) {
	var names []string
	for _, c := range p.containers {
		if c.spec.Name == name || name == "" && c.role != roleInit {
			return c, nil
		}
		names = append(names, c.spec.Name)
	}
	return nil, fmt.Errorf("pod %s has no container %q; it has %v", p.cfg.Spec.ID(), name, names)
}
