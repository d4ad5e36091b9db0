package pod

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/meshctl/meshctl/internal/local/controller"
	"github.com/meshctl/meshctl/internal/local/logs"
)

// role is what a container is in its pod.
type role int

const (
	roleInit role = iota
	roleApp
	roleProxy
)

// container runs one container's process again and again.
type container struct {
	pod  *Pod
	spec corev1.Container
	role role

	ready     chan struct{} // closed when it is ready for the first time
	readyOnce sync.Once

	mu      sync.Mutex
	status  controller.ContainerStatus
	log     *logs.Log
	proc    *os.Process
	exited  chan struct{} // closed when proc has ended
	started bool          // has run at least once
	done    bool          // will not be started again
	ending  bool          // the pod stops
	healthy bool          // the readiness probe's verdict
}

func newContainer(p *Pod, spec corev1.Container, r role) *container {
	return &container{
		pod: p, spec: spec, role: r, ready: make(chan struct{}),
		status: controller.ContainerStatus{Name: spec.Name, Image: spec.Image, Reason: "ContainerCreating"},
	}
}

func (c *container) snapshot() controller.ContainerStatus {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.status
}

func (c *container) isDone() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.done
}

func (c *container) hasStarted() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.started
}

// update changes the status and tells the pod.
func (c *container) update(change func(s *controller.ContainerStatus)) {
	c.mu.Lock()
	change(&c.status)
	c.status.Ready = c.status.Running && c.healthy
	ready := c.status.Ready
	c.mu.Unlock()
	if ready {
		c.readyOnce.Do(func() { close(c.ready) })
	}
	c.pod.cfg.Changed()
}

// output opens the container's log, which exists from the first use on.
func (c *container) output() (*logs.Log, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.log != nil {
		return c.log, nil
	}
	l, err := logs.Open(filepath.Join(c.pod.cfg.LogDir, c.spec.Name+".log"), 0)
	if err != nil {
		return nil, err
	}
	c.log = l
	return l, nil
}

func (c *container) closeLog() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.log != nil {
		c.log.Close()
	}
}

// lastLines is the end of the container's output, for messages.
func (c *container) lastLines(n int) string {
	l, err := c.output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(l.Tail(n)))
}

// why says in a sentence why the container is not ready.
func (c *container) why() string {
	s := c.snapshot()
	parts := []string{}
	for _, p := range []string{s.Reason, s.Message} {
		if p != "" {
			parts = append(parts, p)
		}
	}
	if len(parts) == 0 {
		parts = append(parts, "its health check has not succeeded yet")
	}
	if last := c.lastLines(5); last != "" && !strings.Contains(s.Message, last) {
		parts = append(parts, "last output:\n"+last)
	}
	return strings.Join(parts, ": ")
}

// supervise runs the container until the pod stops or it is done for good.
func (c *container) supervise(ctx context.Context) {
	pause := newBackoff()
	failures := 0
	for {
		began := time.Now()
		code, err := c.run(ctx)
		if c.isEnding() {
			return
		}
		if code != 0 {
			failures++
		}
		again := c.shouldRestart(code, failures)
		c.report(code, err, again)
		if !again {
			c.mu.Lock()
			c.done = true
			c.mu.Unlock()
			c.pod.cfg.Changed()
			return
		}
		if !c.pod.pause(ctx, pause.next(time.Since(began))) {
			return
		}
		c.update(func(s *controller.ContainerStatus) { s.Restarts++ })
	}
}

func (c *container) isEnding() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ending
}

func (c *container) shouldRestart(code, failures int) bool {
	if c.role == roleProxy {
		return true
	}
	spec := c.pod.cfg.Spec
	if spec.Once {
		// A Job replaces failed pods; here the container is started again, which
		// is the same to an observer.
		return code != 0 && failures <= spec.BackoffLimit && spec.Workload.Kind == "Job" ||
			code != 0 && spec.Spec.RestartPolicy == corev1.RestartPolicyOnFailure
	}
	return true
}

// report says how a run ended.
func (c *container) report(code int, err error, again bool) {
	reason, message := "Completed", ""
	if code != 0 {
		reason = "Error"
		message = fmt.Sprintf("exited with code %d", code)
		if err != nil {
			message = err.Error()
		} else if last := c.lastLines(5); last != "" {
			message += "; last output:\n" + last
		}
		if why := c.explainPorts(); why != "" {
			message += "\n" + why
		}
	}
	c.pod.cfg.Event(code != 0, "ContainerExited", fmt.Sprintf("container %s %s", c.spec.Name, orText(message, "completed")))
	if again && code != 0 {
		reason = "CrashLoopBackOff"
	}
	c.update(func(s *controller.ContainerStatus) { s.Reason, s.Message, s.ExitCode = reason, message, code })
}

func orText(s, byDefault string) string {
	if s == "" {
		return byDefault
	}
	return s
}

// runOnce runs an init container until it succeeds.
func (c *container) runOnce(ctx context.Context) bool {
	pause := newBackoff()
	for {
		code, err := c.run(ctx)
		if c.isEnding() || ctx.Err() != nil {
			return false
		}
		if code == 0 && err == nil {
			c.mu.Lock()
			c.done = true
			c.mu.Unlock()
			return true
		}
		c.report(code, err, true)
		c.pod.setReason("InitContainerFailed", "init container "+c.spec.Name+": "+c.why())
		if !c.pod.pause(ctx, pause.next(0)) {
			return false
		}
	}
}

// run starts the process and waits for its end. An error comes with a code that
// is not zero.
func (c *container) run(ctx context.Context) (int, error) {
	proc, out, err := c.start()
	if err != nil {
		return 128, err
	}
	if proc == nil {
		return 0, nil // the pod stops
	}
	c.pod.cfg.Changed()
	probeCtx, cancel := context.WithCancel(ctx)
	var probes sync.WaitGroup
	c.startProbes(probeCtx, &probes)
	if err := c.hook(ctx, c.postStart()); err != nil {
		c.pod.cfg.Event(true, "HookFailed", fmt.Sprintf("postStart of container %s: %v", c.spec.Name, err))
		c.kill(syscall.SIGKILL)
	}
	state, err := proc.Wait()
	cancel()
	probes.Wait()
	// What the process left in its group may hold its output open.
	c.kill(syscall.SIGKILL)
	out.finish()
	c.mu.Lock()
	c.proc = nil
	close(c.exited)
	c.healthy = false
	c.mu.Unlock()
	c.update(func(s *controller.ContainerStatus) { s.Running = false })
	if err != nil {
		return 128, fmt.Errorf("wait for container %s: %w", c.spec.Name, err)
	}
	return exitCode(state), nil
}

// exitCode is the shell's: 128 and the signal's number for a killed process.
func exitCode(s *os.ProcessState) int {
	if ws, ok := s.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return s.ExitCode()
}

// kill signals the process group.
func (c *container) kill(sig syscall.Signal) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.proc != nil {
		// Each container leads a session, so its group has its process id. The
		// group outlives the leader, and its number with it.
		_ = syscall.Kill(-c.proc.Pid, sig)
	}
}

// terminate ends the container for good: hook, SIGTERM, and SIGKILL when grace
// is over.
func (c *container) terminate(grace time.Duration) {
	c.mu.Lock()
	c.ending = true
	proc, exited := c.proc, c.exited
	c.mu.Unlock()
	if proc == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	if err := c.hook(ctx, c.preStop()); err != nil {
		c.pod.cfg.Event(true, "HookFailed", fmt.Sprintf("preStop of container %s: %v", c.spec.Name, err))
	}
	c.kill(syscall.SIGTERM)
	select {
	case <-exited:
		return
	case <-ctx.Done():
	}
	c.pod.cfg.Event(c.role != roleProxy, "ContainerKilled", fmt.Sprintf("container %s did not end within %s", c.spec.Name, grace))
	c.kill(syscall.SIGKILL)
	<-exited
}
