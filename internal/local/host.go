package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	goruntime "runtime"
	"sync"
	"syscall"
	"time"

	"github.com/meshctl/meshctl/internal/local/bridge"
	"github.com/meshctl/meshctl/internal/local/explicit"
	"github.com/meshctl/meshctl/internal/local/image"
	"github.com/meshctl/meshctl/internal/local/network"
	"github.com/meshctl/meshctl/internal/local/node"
)

// Files that Start gives the host-side process.
const (
	fdReport = 3 // we write one report and close it
	fdParent = 4 // in the foreground: its end of file says that the command is gone
)

// report is the host-side process's only message to Start.
type report struct {
	OK    bool   `json:"ok"`
	Error string `json:"error,omitempty"`
	Fix   string `json:"fix,omitempty"`
	// Running is the process that has the name already.
	Running int `json:"running,omitempty"`
	// Unavailable: this machine forbids namespaces.
	Unavailable bool `json:"unavailable,omitempty"`
}

// Functions the node calls on the host.
const (
	callStarted = "started" // the control socket is there
	callFailed  = "failed"  // in: report
	callBuild   = "build"   // in: folder of a Go main package; out: program
)

// reporter sends the report once.
type reporter struct {
	once sync.Once
	file *os.File
}

func (r *reporter) send(rep report) {
	r.once.Do(func() {
		_ = json.NewEncoder(r.file).Encode(rep) // nobody listens any more: nothing to do
		r.file.Close()
	})
}

func reportOf(err error) report {
	rep := report{Error: err.Error()}
	var unavailable *node.UnavailableError
	if errors.As(err, &unavailable) {
		rep.Unavailable, rep.Error, rep.Fix = true, unavailable.Cause, unavailable.Fix
	}
	var running *RunningError
	if errors.As(err, &running) {
		rep.Running = running.PID
		rep.Fix = "meshctl down --name " + running.Name + ", or choose another --name"
	}
	return rep
}

// runHost is the host-side process: it holds the lock, starts the node, serves
// it over the bridge, and cleans up when it ends.
func runHost(p Paths, foreground bool) error {
	rep := &reporter{file: os.NewFile(fdReport, "report")}
	syscall.CloseOnExec(fdReport)
	var parent *os.File
	if foreground {
		parent = os.NewFile(fdParent, "parent")
		syscall.CloseOnExec(fdParent)
	}
	err := host(p, rep, parent)
	if err != nil {
		rep.send(reportOf(err))
	}
	return err
}

func host(p Paths, rep *reporter, parent *os.File) error {
	lock, err := p.acquire()
	if err != nil {
		return err
	}
	defer release(lock)
	if err := p.claim(lock); err != nil {
		return err
	}
	settings, err := readSettings(p.settings())
	if err != nil {
		return err
	}
	if err := p.clean(p.lock(), p.settings(), p.Log()); err != nil {
		return err
	}
	log := newLogger(settings, "host")
	if settings.Network == network.Explicit {
		if err := explicit.Guard(); err != nil {
			return fmt.Errorf("take in orphans: %w", err)
		}
	}
	link, theirs, err := bridge.Pair()
	if err != nil {
		return err
	}
	defer link.Close()
	child, exited, err := startNode(p, theirs, settings.Network)
	theirs.Close()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go forwardSignals(ctx, child.Process, parent)
	h := bridge.NewHost(link, hostOptions(settings, rep, log))
	if err := h.Hello(hello{PID: os.Getpid(), Settings: settings}); err != nil {
		_ = child.Process.Kill()
	}
	served := make(chan error, 1)
	go func() { served <- h.Run(ctx) }()
	err = <-exited
	cancel()
	<-served
	if settings.Network == network.Explicit {
		if left := explicit.SweepBelow(p.Dir); len(left) > 0 {
			err = errors.Join(err, fmt.Errorf("processes %v do not end", left))
		}
	}
	clean := err == nil
	if !clean {
		rep.send(reportOf(fmt.Errorf("the node ended: %w", err)))
		log.Error("node ended", "err", err)
		// The log stays, to show why.
		return errors.Join(err, p.clean(p.lock(), p.settings(), p.Log()))
	}
	if err := os.RemoveAll(p.Dir); err != nil {
		return fmt.Errorf("remove state directory: %w", err)
	}
	return nil
}

// startNode starts the node from a thread that lives as long as it, since the
// node is killed when the thread that started it ends.
func startNode(p Paths, link *os.File, mode network.Mode) (*exec.Cmd, <-chan error, error) {
	// Without namespaces the node sees by the bridge that we are gone, and ends the
	// pods before it ends itself.
	attrs := &syscall.SysProcAttr{Setsid: true}
	if mode != network.Explicit {
		var err error
		if attrs, err = node.Attributes(); err != nil {
			return nil, nil, err
		}
	}
	cmd := exec.Command(selfExe, roleNode, p.Dir)
	cmd.Args[0] = argv0
	cmd.ExtraFiles = []*os.File{link}
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	cmd.SysProcAttr = attrs
	if mode == network.Explicit {
		cmd.Env = append(os.Environ(), explicit.Mark(p.Dir))
	}
	cmd.Dir = "/"
	started := make(chan error)
	exited := make(chan error, 1)
	go func() {
		goruntime.LockOSThread()
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		started <- nil
		exited <- cmd.Wait()
	}()
	if err := <-started; err != nil {
		return nil, nil, node.Explain(fmt.Errorf("start node: %w", err), "/")
	}
	return cmd, exited, nil
}

// forwardSignals asks the node to end when we are asked to, or when the command
// in the foreground is gone.
func forwardSignals(ctx context.Context, child *os.Process, parent *os.File) {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer signal.Stop(signals)
	gone := make(chan struct{})
	if parent != nil {
		go func() {
			defer close(gone)
			_, _ = parent.Read(make([]byte, 1)) // it only ends
		}()
	}
	for {
		select {
		case <-signals:
		case <-gone:
			gone = nil
		case <-ctx.Done():
			return
		}
		_ = child.Signal(syscall.SIGTERM)
	}
}

func hostOptions(s Settings, rep *reporter, log *slog.Logger) bridge.HostOptions {
	servers, err := bridge.ResolvConf("/etc/resolv.conf")
	if err != nil {
		log.Warn("outside names are not resolved", "err", err)
	}
	builds := newBuilds(log)
	return bridge.HostOptions{
		Outside: !s.Closed, Named: s.Reach, DNSServers: servers, Log: log.With("component", "bridge"),
		Calls: map[string]func(context.Context, []byte) ([]byte, error){
			callStarted: func(context.Context, []byte) ([]byte, error) {
				rep.send(report{OK: true})
				return nil, nil
			},
			callFailed: func(_ context.Context, in []byte) ([]byte, error) {
				var r report
				if err := json.Unmarshal(in, &r); err != nil {
					return nil, err
				}
				rep.send(r)
				return nil, nil
			},
			callBuild: func(ctx context.Context, in []byte) ([]byte, error) {
				path, err := builds.get(ctx, string(in))
				return []byte(path), err
			},
		},
	}
}

// builds compiles each Go program once per mesh; a failure is tried again when
// some time has passed, as the user may be editing.
type builds struct {
	mu   sync.Mutex
	done map[string]built
	log  *slog.Logger
}

type built struct {
	path string
	err  error
	at   time.Time
}

const buildRetry = 10 * time.Second

func newBuilds(log *slog.Logger) *builds { return &builds{done: map[string]built{}, log: log} }

func (b *builds) get(ctx context.Context, dir string) (string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if r, ok := b.done[dir]; ok && (r.err == nil || time.Since(r.at) < buildRetry) {
		return r.path, r.err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = filepath.Join("/tmp", fmt.Sprintf("meshctl-build-%d", os.Geteuid()))
	} else {
		cache = filepath.Join(cache, "meshctl", "build")
	}
	b.log.InfoContext(ctx, "building", "folder", dir)
	path, err := image.GoBuild(ctx, dir, cache)
	b.done[dir] = built{path, err, time.Now()}
	return path, err
}
