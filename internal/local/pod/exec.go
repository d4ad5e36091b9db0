package pod

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/meshctl/meshctl/internal/local/api"
	"github.com/meshctl/meshctl/internal/local/node"
)

// maxExecOutput bounds each of a command's two outputs.
const maxExecOutput = 4 << 20

// Exec runs a command in the pod with a container's environment, the first
// one's when the name is empty. It is killed when ctx ends.
func (p *Pod) Exec(ctx context.Context, containerName string, argv []string, stdin []byte) (api.ExecResult, error) {
	c, err := p.container(containerName)
	if err != nil {
		return api.ExecResult{}, err
	}
	return c.exec(ctx, argv, stdin)
}

func (c *container) exec(ctx context.Context, argv []string, stdin []byte) (api.ExecResult, error) {
	if len(argv) == 0 {
		return api.ExecResult{}, errors.New("exec: no command")
	}
	box := c.pod.sandbox()
	if box == nil {
		return api.ExecResult{}, fmt.Errorf("pod %s is not set up yet", c.pod.cfg.Spec.ID())
	}
	env, err := c.environment()
	if err != nil {
		return api.ExecResult{}, err
	}
	cmd := node.Command{Argv: argv, Env: env, Dir: c.spec.WorkingDir}
	if c.role != roleProxy {
		cmd.UID, cmd.GID = c.user()
	}
	var pipes [3]struct{ r, w *os.File }
	for i := range pipes {
		if pipes[i].r, pipes[i].w, err = os.Pipe(); err != nil {
			for _, p := range pipes[:i] {
				p.r.Close()
				p.w.Close()
			}
			return api.ExecResult{}, fmt.Errorf("make pipe: %w", err)
		}
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = pipes[0].r, pipes[1].w, pipes[2].w
	proc, err := box.Start(cmd)
	pipes[0].r.Close()
	pipes[1].w.Close()
	pipes[2].w.Close()
	if err != nil {
		pipes[0].w.Close()
		pipes[1].r.Close()
		pipes[2].r.Close()
		return api.ExecResult{}, err
	}
	stop := context.AfterFunc(ctx, func() { _ = syscall.Kill(-proc.Pid, syscall.SIGKILL) })
	defer stop()
	var wg sync.WaitGroup
	var out, errOut limited
	wg.Go(func() {
		defer pipes[0].w.Close()
		_, _ = pipes[0].w.Write(stdin)
	})
	wg.Go(func() { out.readAll(pipes[1].r) })
	wg.Go(func() { errOut.readAll(pipes[2].r) })
	state, err := proc.Wait()
	_ = syscall.Kill(-proc.Pid, syscall.SIGKILL) // children that keep the pipes open
	enough := time.Now().Add(outputPatience)     // … or have left the group
	_ = errors.Join(pipes[0].w.SetWriteDeadline(enough), pipes[1].r.SetReadDeadline(enough), pipes[2].r.SetReadDeadline(enough))
	wg.Wait()
	if err != nil {
		return api.ExecResult{}, fmt.Errorf("wait for %s: %w", argv[0], err)
	}
	if ctx.Err() != nil {
		return api.ExecResult{}, fmt.Errorf("run %s: %w", argv[0], ctx.Err())
	}
	return api.ExecResult{
		ExitCode: exitCode(state), Stdout: out.buf.Bytes(), Stderr: errOut.buf.Bytes(),
		Truncated: out.cut || errOut.cut,
	}, nil
}

// limited collects output up to a limit and throws the rest away.
type limited struct {
	buf bytes.Buffer
	cut bool
}

func (l *limited) readAll(r *os.File) {
	defer r.Close()
	n, _ := io.CopyN(&l.buf, r, maxExecOutput)
	if n == maxExecOutput {
		more, _ := io.Copy(io.Discard, r) // so that the command does not block
		l.cut = more > 0
	}
}
