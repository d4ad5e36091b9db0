package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/meshctl/meshctl/internal/local/client"
)

// Stopped says what Stop found.
type Stopped struct {
	WasRunning bool
	Killed     bool // it did not end when asked
	Cleaned    bool // files of a mesh that was gone already were removed
}

// Stop ends a mesh and returns when nothing of it is left: no process, port,
// namespace or file. It also cleans up after one that was killed. When it does
// not end within patience (0: 70 seconds) it is killed.
func Stop(ctx context.Context, name string, patience time.Duration) (Stopped, error) {
	p, err := PathsOf(name)
	if err != nil {
		return Stopped{}, err
	}
	if patience <= 0 {
		patience = stopPatience + 10*time.Second
	}
	var result Stopped
	// The folder of all meshes goes with the last one; not empty, it stays.
	defer func() { _ = os.Remove(filepath.Dir(p.Dir)) }()
	if _, err := os.Stat(p.Dir); errors.Is(err, os.ErrNotExist) {
		return result, nil
	}
	lock, err := p.acquire()
	var running *RunningError
	if errors.As(err, &running) {
		result.WasRunning = true
		if lock, result.Killed, err = p.end(ctx, running.PID, patience); lock == nil && err == nil {
			return result, nil // it removed its files itself
		}
	}
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return result, nil
		}
		return result, err
	}
	defer release(lock)
	result.Cleaned = !result.WasRunning
	if err := p.sweep(); err != nil {
		return result, fmt.Errorf("stop mesh: %w", err)
	}
	if err := os.RemoveAll(p.Dir); err != nil {
		return result, fmt.Errorf("remove state directory: %w", err)
	}
	return result, nil
}

// end asks the mesh to end, waits, and kills it when that takes too long. It
// returns the lock unless the directory is gone.
func (p Paths) end(ctx context.Context, pid int, patience time.Duration) (lock *os.File, killed bool, err error) {
	if err := client.New(p.Socket()).Stop(ctx); err != nil && p.isOurs(pid) {
		_ = syscall.Kill(pid, syscall.SIGTERM)
	}
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := os.Stat(p.Dir); errors.Is(err, os.ErrNotExist) {
			return nil, killed, nil
		}
		lock, err := p.acquire()
		var running *RunningError
		switch {
		case err == nil:
			return lock, killed, nil
		case errors.Is(err, os.ErrNotExist):
			return nil, killed, nil
		case !errors.As(err, &running) && time.Now().After(deadline):
			return nil, killed, err
		case time.Now().After(deadline):
			if killed {
				return nil, true, fmt.Errorf("stop mesh: process %d does not end", pid)
			}
			if !p.isOurs(pid) {
				return nil, false, fmt.Errorf("stop mesh: the lock is held by process %d, which is not the mesh's", pid)
			}
			_ = syscall.Kill(pid, syscall.SIGKILL)
			killed, deadline = true, time.Now().Add(10*time.Second)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, killed, fmt.Errorf("stop mesh: %w", ctx.Err())
		}
	}
}
