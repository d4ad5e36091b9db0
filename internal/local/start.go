package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/meshctl/meshctl/internal/local/api"
	"github.com/meshctl/meshctl/internal/local/client"
	"github.com/meshctl/meshctl/internal/local/network"
	"github.com/meshctl/meshctl/internal/local/node"
)

// Options say how to start a mesh.
type Options struct {
	Settings
	// Foreground ends the mesh when the calling process does.
	Foreground bool
	// Progress is told each event until Start returns.
	Progress func(api.Event)
	// Fallback is told when the machine has no namespaces and the mesh is started
	// without; nil: there is nobody to tell.
	Fallback func(Lacking)
	// Timeout is how long Start waits for everything to be ready; 0: two minutes.
	Timeout time.Duration
}

// StartError says why there is no mesh.
type StartError struct {
	Message, Fix string
	Log          string // the end of mesh.log, may be empty
}

func (e *StartError) Error() string { return e.Message }

// NotReadyError says that the mesh runs but not everything in it is ready in time.
type NotReadyError struct {
	Timeout time.Duration
	Waiting []string // what is missing, and why
}

func (e *NotReadyError) Error() string {
	return fmt.Sprintf("not everything is ready after %s: %s", e.Timeout, strings.Join(e.Waiting, "; "))
}

// Mesh is a running mesh.
type Mesh struct {
	*client.Client
	Paths  Paths
	parent *os.File // foreground: closing it ends the mesh
}

// Release ends a mesh that was started in the foreground; it does not wait.
func (m *Mesh) Release() error {
	if m.parent == nil {
		return nil
	}
	return m.parent.Close()
}

// Start starts a mesh and returns when everything in it that can be is ready;
// what failed is in the Status it returns. The errors:
//
//   - *RunningError: a mesh of the name is there;
//   - *node.UnavailableError: this machine forbids namespaces, and the settings
//     do not do without (Network, or Closed, which nothing else can hold to);
//   - *StartError: it did not come up, nothing is left;
//   - *NotReadyError: it runs, but something is still missing; the Mesh is valid.
func Start(ctx context.Context, o Options) (*Mesh, api.Status, error) {
	o.Settings = o.Settings.withDefaults()
	p, err := PathsOf(o.Name)
	if err != nil {
		return nil, api.Status{}, err
	}
	m, err := launch(ctx, p, o)
	var unavailable *node.UnavailableError
	if errors.As(err, &unavailable) && o.Network == "" && !o.Closed {
		o.Network, o.Lacking = network.Explicit, &Lacking{Cause: unavailable.Cause, Fix: unavailable.Fix}
		if o.Fallback != nil {
			o.Fallback(*o.Lacking)
		}
		m, err = launch(ctx, p, o)
	}
	if err != nil {
		return nil, api.Status{}, err
	}
	timeout := o.Timeout
	if timeout <= 0 {
		timeout = 2 * time.Minute
	}
	status, err := m.WaitReady(ctx, timeout, o.Progress)
	return m, status, err
}

// launch starts the host-side process and waits for its report.
func launch(ctx context.Context, p Paths, o Options) (*Mesh, error) {
	if err := p.make(); err != nil {
		return nil, err
	}
	// The lock keeps us from writing into a running mesh; the process we start
	// takes it over, so it is released just before.
	lock, err := p.acquire()
	if err != nil {
		return nil, err
	}
	err = errors.Join(p.sweep(), p.clean(p.lock()), o.Settings.write(p.settings()))
	if err != nil {
		release(lock)
		return nil, err
	}
	logFile, err := os.OpenFile(p.Log(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		release(lock)
		return nil, fmt.Errorf("open log: %w", err)
	}
	defer logFile.Close()
	reportR, reportW, err := os.Pipe()
	if err != nil {
		release(lock)
		return nil, fmt.Errorf("make pipe: %w", err)
	}
	defer reportR.Close()
	cmd := exec.Command(selfExe, roleHost, p.Dir)
	cmd.Args[0] = argv0
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = logFile, logFile
	cmd.ExtraFiles = []*os.File{reportW}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	m := &Mesh{Client: client.New(p.Socket()), Paths: p}
	var parentR *os.File
	if o.Foreground {
		if parentR, m.parent, err = os.Pipe(); err != nil {
			release(lock)
			reportW.Close()
			return nil, fmt.Errorf("make pipe: %w", err)
		}
		cmd.ExtraFiles = append(cmd.ExtraFiles, parentR)
		cmd.Args = append(cmd.Args, inForeground)
	}
	release(lock)
	err = cmd.Start()
	reportW.Close()
	if parentR != nil {
		parentR.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("start the host-side process: %w", err)
	}
	go func() { _ = cmd.Wait() }()
	stop := context.AfterFunc(ctx, func() { reportR.Close() })
	defer stop()
	var rep report
	if err := json.NewDecoder(reportR).Decode(&rep); err != nil {
		if ctx.Err() != nil {
			_ = cmd.Process.Signal(syscall.SIGTERM)
			return nil, ctx.Err()
		}
		rep = report{Error: "the host-side process ended without a word"}
	}
	if rep.OK {
		return m, nil
	}
	return nil, startError(p, o.Name, rep)
}

func startError(p Paths, name string, rep report) error {
	if rep.Running != 0 {
		return &RunningError{Name: name, PID: rep.Running}
	}
	if rep.Unavailable {
		return &node.UnavailableError{Cause: rep.Error, Fix: rep.Fix}
	}
	return &StartError{Message: "start mesh: " + rep.Error, Fix: rep.Fix, Log: lastLines(p.Log())}
}

// lastLines is the end of a file, for messages: twenty lines.
func lastLines(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > 16<<10 {
		_, _ = f.Seek(-16<<10, io.SeekEnd)
	}
	b, _ := io.ReadAll(f)
	lines := strings.Split(strings.TrimRight(string(b), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-20):], "\n")
}

// WaitReady waits until everything is ready or has failed. progress may be nil.
func (m *Mesh) WaitReady(ctx context.Context, timeout time.Duration, progress func(api.Event)) (api.Status, error) {
	waitCtx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var seen uint64
	var status api.Status
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		s, err := m.Status(waitCtx)
		if err == nil {
			status = s
			err = m.Events(waitCtx, seen, false, func(e api.Event) error {
				seen = e.Seq
				if progress != nil {
					progress(e)
				}
				return nil
			})
		}
		switch {
		case err == nil && (status.State == api.Ready || status.State == api.Degraded):
			return status, nil
		case err == nil && status.State == api.Stopping:
			return status, &StartError{Message: "the mesh is being stopped", Log: lastLines(m.Paths.Log())}
		case ctx.Err() != nil:
			return status, ctx.Err()
		case waitCtx.Err() != nil:
			return status, &NotReadyError{Timeout: timeout, Waiting: status.Waiting}
		case err != nil:
			return status, &StartError{Message: "the mesh ended while it was starting: " + err.Error(), Log: lastLines(m.Paths.Log())}
		}
		select {
		case <-tick.C:
		case <-waitCtx.Done():
		}
	}
}

// ErrNotRunning is returned by Open when there is no mesh of the name.
var ErrNotRunning = errors.New("no such mesh is running")

// Open finds a running mesh.
func Open(ctx context.Context, name string) (*Mesh, error) {
	p, err := PathsOf(name)
	if err != nil {
		return nil, err
	}
	m := &Mesh{Client: client.New(p.Socket()), Paths: p}
	if _, err := m.Status(ctx); err != nil {
		return nil, fmt.Errorf("open mesh %q: %w", name, ErrNotRunning)
	}
	return m, nil
}
