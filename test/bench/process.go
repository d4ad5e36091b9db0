package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"
)

// process is a program started by the benchmark, pinned to one processor.
type process struct {
	name string
	cmd  *exec.Cmd
	in   io.WriteCloser // held open; a role ends when it closes
	out  *bufio.Reader
	log  *os.File
}

// start runs a program on the given processor; its standard error goes to logPath.
func start(ctx context.Context, name string, cpu int, logPath, path string, args ...string) (*process, error) {
	p := &process{name: name}
	args = append([]string{"-c", strconv.Itoa(cpu), path}, args...)
	p.cmd = exec.CommandContext(ctx, "taskset", args...)
	// The kernel ends the program when this one is gone, however it went.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	p.cmd.Cancel = func() error { return p.cmd.Process.Kill() }
	var err error
	if p.log, err = os.OpenFile(logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p.cmd.Stderr = p.log
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p.out = bufio.NewReader(stdout)
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return p, nil
}

// pid is the number of the program: taskset has become it.
func (p *process) pid() int { return p.cmd.Process.Pid }

// stop asks the program to end, and makes it after three seconds.
func (p *process) stop() {
	if p == nil || p.cmd.ProcessState != nil {
		return
	}
	_ = p.in.Close()
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	end := time.AfterFunc(3*time.Second, func() { _ = p.cmd.Process.Kill() })
	_ = p.cmd.Wait()
	end.Stop()
	_ = p.log.Close()
}

// wait lets a program end by itself.
func (p *process) wait() error {
	err := p.cmd.Wait()
	_ = p.log.Close()
	if err != nil {
		return fmt.Errorf("%s: %w (its log: %s)", p.name, err, tail(p.log.Name()))
	}
	return nil
}

// tail is the end of a log, for an error message.
func tail(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	if len(b) > 1500 {
		b = b[len(b)-1500:]
	}
	return string(b)
}
