package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const cgroups = "/sys/fs/cgroup"

// unified tells whether the machine has the second version of cgroups only.
func unified() bool { return exists(filepath.Join(cgroups, "cgroup.controllers")) }

// hierarchies are the roots that kubelet wants to find its own root in.
func hierarchies() ([]string, error) {
	if unified() {
		return []string{cgroups}, nil
	}
	entries, err := os.ReadDir(cgroups)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		root := filepath.Join(cgroups, e.Name())
		if e.IsDir() && e.Name() != "unified" && exists(filepath.Join(root, "cgroup.procs")) {
			out = append(out, root)
		}
	}
	return out, nil
}

// branch is the node's part of the hierarchy in which its processes are found;
// in the others, and in kubelet's part of all of them, are the containers.
func (n Node) branch() string {
	if unified() {
		return filepath.Join(cgroups, n.Name)
	}
	return filepath.Join(cgroups, "pids", n.Name)
}

// daemons is where the node's own programs are, and the shims that containerd
// starts.
func (n Node) daemons() string { return filepath.Join(n.branch(), "daemons") }

func (n Node) makeCgroups() error {
	roots, err := hierarchies()
	if err != nil {
		return err
	}
	for _, root := range roots {
		if err := os.MkdirAll(filepath.Join(root, n.Name), 0o755); err != nil {
			return err
		}
		if err := initialise(root, n.Name); err != nil {
			return err
		}
	}
	return os.MkdirAll(n.daemons(), 0o755)
}

// initialise gives the branch what it does not get by itself: the CPUs and memory
// of its parent in the first version, the controllers in the second.
func initialise(root, name string) error {
	if filepath.Base(root) == "cpuset" {
		for _, f := range []string{"cpuset.cpus", "cpuset.mems"} {
			b, err := os.ReadFile(filepath.Join(root, f))
			if err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(root, name, f), b, 0o644); err != nil {
				return err
			}
		}
	}
	if !unified() {
		return nil
	}
	controllers, err := os.ReadFile(filepath.Join(root, "cgroup.controllers"))
	if err != nil {
		return err
	}
	for _, dir := range []string{root, filepath.Join(root, name)} {
		for c := range strings.FieldsSeq(string(controllers)) {
			if err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+c), 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

// killAll kills until nothing is left. New processes may come while it does, for
// instance containers that kubelet restarts: kubelet is among the first.
func (n Node) killAll(ctx context.Context) error {
	const patience = 20 * time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		pids, err := n.Processes()
		if err != nil || len(pids) == 0 {
			return err
		}
		for _, pid := range pids {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				return fmt.Errorf("killing %d: %w", pid, err)
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("processes %v did not end within %s", pids, patience)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Processes are all of the node's, the node's own programs first.
func (n Node) Processes() ([]int, error) {
	var pids []int
	for _, root := range []string{n.daemons(), n.branch()} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil || d.Name() != "cgroup.procs" {
				return err
			}
			b, err := os.ReadFile(path)
			if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENODEV) {
				return err
			}
			for f := range strings.FieldsSeq(string(b)) {
				if pid, err := strconv.Atoi(f); err == nil && pid != 0 && !slices.Contains(pids, pid) {
					pids = append(pids, pid)
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return pids, nil
}

func (n Node) removeCgroups() error {
	roots, err := hierarchies()
	if err != nil {
		return err
	}
	// Where both versions are, runc makes its cgroups in the second, too.
	roots = append(roots, filepath.Join(cgroups, "unified"))
	var failed error
	for _, root := range roots {
		var dirs []string
		_ = filepath.WalkDir(filepath.Join(root, n.Name), func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			return nil
		})
		slices.Reverse(dirs) // children first
		for _, dir := range dirs {
			if err := removeCgroup(dir); err != nil {
				failed = errors.Join(failed, err)
			}
		}
	}
	return failed
}

// removeCgroup waits for the kernel, which lets go of a cgroup a little after its
// last process.
func removeCgroup(dir string) error {
	var err error
	for range 100 {
		if err = syscall.Rmdir(dir); err == nil || errors.Is(err, syscall.ENOENT) {
			return nil
		}
		if !errors.Is(err, syscall.EBUSY) {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	return fmt.Errorf("removing %s: %w", dir, err)
}
