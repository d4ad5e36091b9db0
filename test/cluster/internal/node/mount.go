package node

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// layered are folders in which the node sees the host's and writes to its own
// disk. plain are folders in them that are on that disk directly: containerd puts
// layers of its own there, which does not work on layers.
var (
	layered = []string{"/etc", "/opt", "/var"}
	plain   = []string{"/var/lib/containerd", "/var/lib/kubelet"}
)

// Disk is where what the node has at path is to be found from the host.
func (n Node) Disk(path string) string { return filepath.Join(n.Folder, "disk", path) }

func (n Node) mountNamespace() string { return filepath.Join(n.Folder, "ns", "mnt") }

// makeMounts makes the mount namespace and keeps it in a file, which has to be in
// a private mount.
func (n Node) makeMounts(ctx context.Context) error {
	dir := filepath.Dir(n.mountNamespace())
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := syscall.Mount(dir, dir, "", syscall.MS_BIND, ""); err != nil {
		return fmt.Errorf("mounting %s: %w", dir, err)
	}
	if err := syscall.Mount("", dir, "", syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making %s private: %w", dir, err)
	}
	if err := os.WriteFile(n.mountNamespace(), nil, 0o600); err != nil {
		return err
	}
	var script strings.Builder
	// Shared among the node's own containers, for those that mount for others.
	script.WriteString("set -e; mount --make-rshared /\n")
	for _, d := range layered {
		work := filepath.Join(n.Folder, "work", d)
		if err := errors.Join(os.MkdirAll(n.Disk(d), 0o755), os.MkdirAll(work, 0o755)); err != nil {
			return err
		}
		fmt.Fprintf(&script, "mount -t overlay -o 'lowerdir=%[1]s,upperdir=%[2]s,workdir=%[3]s' overlay %[1]s\n", d, n.Disk(d), work)
	}
	for _, d := range plain {
		if err := os.MkdirAll(n.Disk(d), 0o755); err != nil {
			return err
		}
		fmt.Fprintf(&script, "mount --bind '%s' '%s'\n", n.Disk(d), d)
	}
	// What is mounted in the host's would still be listed, and kubelet looks for it.
	script.WriteString(`awk '$5 ~ "^/run/" {print $5}' /proc/self/mountinfo | sort -r | xargs -r -n1 umount --lazy` + "\n")
	// In memory, as everywhere: a reboot empties it.
	script.WriteString("mount -t tmpfs -o mode=755 tmpfs /run\n")
	return run(ctx, "unshare", "--mount="+n.mountNamespace(), "--propagation=private", "sh", "-c", script.String())
}

// unmountBelow takes every mount below the folder away, the last one first.
func unmountBelow(folder string) error {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	defer f.Close()
	var points []string
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 5 {
			continue
		}
		if point := unescape(fields[4]); strings.HasPrefix(point, folder+"/") {
			points = append(points, point)
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	slices.Reverse(points)
	var failed error
	for _, p := range points {
		err := syscall.Unmount(p, syscall.MNT_DETACH)
		if err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.ENOENT) { // gone with another one
			failed = errors.Join(failed, fmt.Errorf("unmounting %s: %w", p, err))
		}
	}
	return failed
}

// unescape undoes what the kernel does to blanks in paths.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

func ownSession() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }
