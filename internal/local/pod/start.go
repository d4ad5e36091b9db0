package pod

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/meshctl/meshctl/internal/local/node"
)

// outputPatience is how long the output of a process that has ended is still
// read. A child that left the process group could hold it open for ever.
const outputPatience = 500 * time.Millisecond

// output is a process's output on its way into the log.
type output struct {
	pipe   *os.File
	copied chan struct{}
}

func (o output) finish() {
	_ = o.pipe.SetReadDeadline(time.Now().Add(outputPatience))
	<-o.copied
}

// start starts the process.
func (c *container) start() (proc *os.Process, out output, err error) {
	cmd, err := c.command()
	if err != nil {
		return nil, output{}, err
	}
	log, err := c.output()
	if err != nil {
		return nil, output{}, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, output{}, fmt.Errorf("make pipe: %w", err)
	}
	cmd.Stdout, cmd.Stderr = w, w
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ending {
		r.Close()
		w.Close()
		return nil, output{}, nil
	}
	proc, err = c.pod.sandbox().Start(cmd)
	w.Close()
	if err != nil {
		r.Close()
		return nil, output{}, err
	}
	out = output{r, make(chan struct{})}
	go func() {
		defer close(out.copied)
		defer r.Close()
		_, _ = io.Copy(log, r)
	}()
	c.proc, c.exited, c.started = proc, make(chan struct{}), true
	// Without checks a container is ready as soon as it runs.
	c.healthy = c.spec.ReadinessProbe == nil && c.spec.StartupProbe == nil
	c.status.Running, c.status.Started, c.status.Ready = true, time.Now(), c.healthy
	c.status.Reason, c.status.Message = "", ""
	if c.healthy {
		c.readyOnce.Do(func() { close(c.ready) })
	}
	return proc, out, nil
}

// command is what to execute.
func (c *container) command() (node.Command, error) {
	env, err := c.environment()
	if err != nil {
		return node.Command{}, err
	}
	cmd := node.Command{Env: env, Dir: c.spec.WorkingDir}
	if c.role == roleProxy {
		proxy := c.pod.cfg.Proxy
		cmd.Path, cmd.Caps, cmd.Plain = proxy.Program.Path, node.ProxyCaps(), true
		cmd.Argv = append(append([]string(nil), proxy.Program.Argv...), c.spec.Args...)
		return cmd, nil
	}
	program, ok := c.pod.cfg.Programs[c.spec.Name]
	if !ok {
		return node.Command{}, fmt.Errorf("no program is known for container %s", c.spec.Name)
	}
	cmd.Path = program.Path
	cmd.Argv = program.Command(expandAll(c.spec.Command, env), expandAll(c.spec.Args, env))
	cmd.UID, cmd.GID = c.user()
	if s := c.spec.SecurityContext; s != nil && s.Capabilities != nil {
		for _, drop := range s.Capabilities.Drop {
			if strings.EqualFold(string(drop), "ALL") {
				cmd.Caps = []uintptr{}
			}
		}
	}
	return cmd, nil
}

// user is whom to run as. Only root has other users to offer; everybody else's
// pods run as themselves.
func (c *container) user() (uid, gid *uint32) {
	if !canSwitchUser() {
		return nil, nil
	}
	var u, g *int64
	if s := c.pod.cfg.Spec.Spec.SecurityContext; s != nil {
		u, g = s.RunAsUser, s.RunAsGroup
	}
	if s := c.spec.SecurityContext; s != nil {
		if s.RunAsUser != nil {
			u = s.RunAsUser
		}
		if s.RunAsGroup != nil {
			g = s.RunAsGroup
		}
	}
	to32 := func(v *int64) *uint32 {
		if v == nil {
			return nil
		}
		return new(uint32(*v))
	}
	return to32(u), to32(g)
}

func (c *container) environment() ([]string, error) {
	spec := c.spec
	if c.role == roleProxy {
		own, err := c.pod.cfg.Proxy.variables(c.pod.cfg, c.pod.facts)
		if err != nil {
			return nil, err
		}
		// After the manifest's, so that nobody else decides who the proxy is.
		spec.Env = append(append([]corev1.EnvVar(nil), spec.Env...), own...)
	}
	base := Base(c.pod.cfg.HostEnv, c.pod.facts)
	if c.role != roleProxy {
		base = append(base, c.pod.cfg.Network.Variables(c.pod.cfg.IP, c.pod.proxy != nil, c.pod.cfg.Services())...)
	}
	return Env(spec, base, c.pod.facts, c.pod.cfg.Configs)
}
