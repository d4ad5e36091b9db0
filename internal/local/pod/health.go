package pod

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/meshctl/meshctl/internal/local/controller"
	"github.com/meshctl/meshctl/internal/local/probe"
)

func (c *container) postStart() *corev1.LifecycleHandler {
	if c.spec.Lifecycle == nil {
		return nil
	}
	return c.spec.Lifecycle.PostStart
}

func (c *container) preStop() *corev1.LifecycleHandler {
	if c.spec.Lifecycle == nil {
		return nil
	}
	return c.spec.Lifecycle.PreStop
}

func (c *container) hook(ctx context.Context, h *corev1.LifecycleHandler) error {
	switch {
	case h == nil:
		return nil
	case h.Sleep != nil:
		timer := time.NewTimer(time.Duration(h.Sleep.Seconds) * time.Second)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
		return nil
	default:
		return probe.Do(ctx, corev1.ProbeHandler{Exec: h.Exec, HTTPGet: h.HTTPGet}, c.target())
	}
}

func (c *container) target() probe.Target {
	return probe.Target{
		IP: c.pod.cfg.IP, Ports: c.spec.Ports, Dial: c.pod.Dial,
		Exec: func(ctx context.Context, argv []string) error {
			r, err := c.exec(ctx, argv, nil)
			if err != nil {
				return err
			}
			if r.ExitCode != 0 {
				return fmt.Errorf("%s exited with code %d: %s", strings.Join(argv, " "), r.ExitCode, strings.TrimSpace(string(r.Stderr)+string(r.Stdout)))
			}
			return nil
		},
	}
}

// startProbes begins the health checks of a process that has just started. The
// startup check comes first; the others begin when it has succeeded.
func (c *container) startProbes(ctx context.Context, wg *sync.WaitGroup) {
	restart := func(what string) func(bool, error) {
		return func(healthy bool, err error) {
			if !healthy {
				c.pod.cfg.Event(true, "Unhealthy", fmt.Sprintf("%s check of container %s: %v; it is restarted", what, c.spec.Name, err))
				c.killForRestart(ctx)
			}
		}
	}
	rest := func() {
		if p := c.spec.ReadinessProbe; p != nil {
			wg.Go(func() { probe.Watch(ctx, p, c.target(), c.setHealthy) })
		} else {
			c.setHealthy(true, nil)
		}
		if p := c.spec.LivenessProbe; p != nil {
			wg.Go(func() { probe.Watch(ctx, p, c.target(), restart("liveness")) })
		}
	}
	p := c.spec.StartupProbe
	if p == nil {
		rest()
		return
	}
	wg.Go(func() {
		startup, cancel := context.WithCancel(ctx)
		defer cancel()
		ok := false
		probe.Watch(startup, p, c.target(), func(healthy bool, err error) {
			ok = healthy
			if !healthy {
				restart("startup")(false, err)
			}
			cancel() // either way, one verdict is enough
		})
		if ok && ctx.Err() == nil {
			rest()
		}
	})
}

// killForRestart ends a sick process; supervise then starts a new one.
func (c *container) killForRestart(ctx context.Context) {
	c.mu.Lock()
	exited := c.exited
	c.mu.Unlock()
	c.kill(syscall.SIGTERM)
	go func() {
		timer := time.NewTimer(c.pod.grace())
		defer timer.Stop()
		select {
		case <-exited:
		case <-ctx.Done(): // its process has ended
		case <-timer.C:
			c.kill(syscall.SIGKILL)
		}
	}()
}

func (c *container) setHealthy(healthy bool, err error) {
	why := ""
	if !healthy && err != nil && c.role == roleApp {
		why = c.explainPorts()
	}
	c.update(func(s *controller.ContainerStatus) {
		changed := c.healthy != healthy
		c.healthy = healthy
		switch {
		case healthy:
			s.Reason, s.Message = "", ""
		case err != nil:
			s.Reason, s.Message = "Unhealthy", "readiness check: "+err.Error()
			if why != "" {
				s.Message += "\n" + why
			}
		}
		if changed && !healthy && err != nil && !errors.Is(err, context.Canceled) {
			c.pod.cfg.Log.Info("container not ready", "pod", c.pod.cfg.Spec.ID(), "container", c.spec.Name, "err", err)
		}
	})
}
