package node

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// OnThread runs fn on an operating-system thread of its own and ends the
// thread afterwards, so whatever fn does to the thread (namespaces, mounts,
// capabilities) is gone. It is never the process's main thread, whose
// namespaces /proc/<pid> shows.
func OnThread(fn func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == os.Getpid() {
			// While this goroutine holds the main thread, another gets another one.
			done <- OnThread(fn)
			runtime.UnlockOSThread()
			return
		}
		done <- fn()
		// No unlock: the runtime ends the thread with the goroutine.
	}()
	return <-done
}

// handles are open namespaces; they keep them alive.
type handles struct {
	net, mnt, uts, ipc *os.File
}

// openHandles opens the calling thread's namespaces.
func openHandles() (handles, error) {
	var h handles
	for name, target := range map[string]**os.File{"net": &h.net, "mnt": &h.mnt, "uts": &h.uts, "ipc": &h.ipc} {
		f, err := os.Open("/proc/thread-self/ns/" + name)
		if err != nil {
			h.close()
			return handles{}, fmt.Errorf("open %s namespace: %w", name, err)
		}
		*target = f
	}
	return h, nil
}

func (h handles) close() {
	for _, f := range []*os.File{h.net, h.mnt, h.uts, h.ipc} {
		if f != nil {
			f.Close()
		}
	}
}

// enter moves the calling thread into all of them. The thread must be thrown away.
func (h handles) enter() error {
	if err := h.enterNet(); err != nil {
		return err
	}
	// A thread that shares its root directory with others may not change mounts.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("unshare file system state: %w", err)
	}
	for _, ns := range []struct {
		file *os.File
		kind int
		name string
	}{{h.uts, unix.CLONE_NEWUTS, "uts"}, {h.ipc, unix.CLONE_NEWIPC, "ipc"}, {h.mnt, unix.CLONE_NEWNS, "mount"}} {
		if err := unix.Setns(int(ns.file.Fd()), ns.kind); err != nil {
			return fmt.Errorf("enter %s namespace: %w", ns.name, err)
		}
	}
	return nil
}

func (h handles) enterNet() error {
	if err := unix.Setns(int(h.net.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter network namespace: %w", err)
	}
	return nil
}
