package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// buildTree gives the calling thread's mount namespace the pod's file tree: a
// small file system in memory whose top-level entries are the host's, so that a
// missing mount point can be made without touching the host's disk. The pod's
// volumes are not in it yet.
func buildTree(cfg SandboxConfig) (tree, error) {
	t := tree{ours: map[string]bool{"/": true}}
	if err := newRoot(cfg); err != nil {
		return t, err
	}
	for i, f := range allFiles(cfg) {
		if err := t.bindFile(filePath(cfg, i), f.Path); err != nil {
			return t, err
		}
	}
	return t, nil
}

func newRoot(cfg SandboxConfig) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	root := filepath.Join(cfg.Dir, "root")
	if err := mountMemory(root, "0755", 0); err != nil {
		return err
	}
	if err := fillFrom("/", root); err != nil {
		return err
	}
	if cfg.HideDir != "" {
		if err := hideAllBut(root, cfg.HideDir, cfg.Dir); err != nil {
			return err
		}
	}
	return pivot(root)
}

// keptPrograms is where programs are to be seen that volumes hide: the folder of
// each, so that it finds what lies beside it.
const keptPrograms = "/.meshctl"

// keepPrograms shows the programs that the volumes will hide in another place.
func (t tree) keepPrograms(cfg SandboxConfig) (map[string]string, error) {
	kept := map[string]string{}
	for i, path := range cfg.Programs {
		if kept[path] != "" || !slices.ContainsFunc(cfg.Mounts, func(m Mount) bool { return strings.HasPrefix(path, m.Path+"/") }) {
			continue
		}
		at := filepath.Join(keptPrograms, strconv.Itoa(i))
		if err := t.mount(Mount{Path: at, Source: filepath.Dir(path)}); err != nil {
			return nil, err
		}
		kept[path] = filepath.Join(at, filepath.Base(path))
	}
	return kept, nil
}

// addVolumes lays the pod's volumes over its tree.
func (t tree) addVolumes(mounts []Mount) error {
	// A volume may hide the place of another's content.
	sources := make([]string, len(mounts))
	for i, m := range mounts {
		if m.Source == "" {
			continue
		}
		fd, err := unix.Open(m.Source, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("mount %s: open %s: %w", m.Path, m.Source, err)
		}
		defer unix.Close(fd)
		sources[i] = fmt.Sprintf("/proc/thread-self/fd/%d", fd)
	}
	for i, m := range mounts {
		m.Source = sources[i]
		if err := t.mount(m); err != nil {
			return err
		}
	}
	return nil
}

func mountMemory(path, mode string, sizeMB int) error {
	options := "mode=" + mode
	if sizeMB > 0 {
		options += fmt.Sprintf(",size=%dm", sizeMB)
	}
	if err := unix.Mount("tmpfs", path, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		return fmt.Errorf("mount memory at %s: %w", path, err)
	}
	return nil
}

// fillFrom shows each entry of the directory from in the (empty) directory to.
func fillFrom(from, to string) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return fmt.Errorf("read %s: %w", from, err)
	}
	for _, e := range entries {
		if err := showEntry(filepath.Join(from, e.Name()), filepath.Join(to, e.Name()), e.Type()); err != nil {
			return err
		}
	}
	return nil
}

func showEntry(source, target string, kind fs.FileMode) error {
	switch {
	case kind&fs.ModeSymlink != 0:
		dest, err := os.Readlink(source)
		if err != nil {
			return fmt.Errorf("read link %s: %w", source, err)
		}
		return os.Symlink(dest, target)
	case kind.IsDir():
		if err := os.Mkdir(target, 0o755); err != nil {
			return err
		}
	default:
		if err := os.WriteFile(target, nil, 0o644); err != nil {
			return err
		}
	}
	err := unix.Mount(source, target, "", unix.MS_BIND|unix.MS_REC, "")
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM), errors.Is(err, unix.ESTALE):
		// Gone since we looked, or not ours to see: the empty entry stands for it.
		return nil
	}
	if err != nil {
		return fmt.Errorf("show %s: %w", source, err)
	}
	return nil
}

// hideAllBut covers dir, which holds the secrets of all pods, leaving only keep.
func hideAllBut(root, dir, keep string) error {
	rel, err := filepath.Rel(dir, keep)
	if err != nil || strings.HasPrefix(rel, "..") {
		return fmt.Errorf("hide %s: %s is not inside it", dir, keep)
	}
	covered := root + dir
	if err := mountMemory(covered, "0700", 0); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(covered, rel), 0o700); err != nil {
		return fmt.Errorf("make %s: %w", rel, err)
	}
	// keep itself holds the new root; a plain bind leaves that mount out.
	if err := unix.Mount(keep, filepath.Join(covered, rel), "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("show %s: %w", keep, err)
	}
	return nil
}

// pivot makes root the root of this mount namespace and lets go of the old one.
func pivot(root string) error {
	if err := unix.Chdir(root); err != nil {
		return fmt.Errorf("enter new root: %w", err)
	}
	// The old root is stacked below the new one and then taken away (pivot_root(2)).
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("change root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("leave old root: %w", err)
	}
	if err := unix.Chdir("/"); err != nil {
		return fmt.Errorf("enter root: %w", err)
	}
	return nil
}

// tree makes mount points in a pod's file tree. ours are directories that are
// in memory, where entries may be made.
type tree struct{ ours map[string]bool }

func (t tree) bindFile(source, target string) error {
	path, err := t.ensure(target, false)
	if err != nil {
		return err
	}
	if err := unix.Mount(source, path, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount file %s: %w", target, err)
	}
	return nil
}

func (t tree) mount(m Mount) error {
	dir := true
	if m.Source != "" {
		info, err := os.Stat(m.Source)
		if err != nil {
			return fmt.Errorf("mount %s: %w", m.Path, err)
		}
		dir = info.IsDir()
	}
	path, err := t.ensure(m.Path, dir)
	if err != nil {
		return err
	}
	if m.Source == "" {
		return mountMemory(path, "0777", m.SizeMB)
	}
	if err := unix.Mount(m.Source, path, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("mount %s: %w", m.Path, err)
	}
	if m.ReadOnly {
		flags := uintptr(unix.MS_BIND | unix.MS_REMOUNT | unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV)
		// What the host's mount forbids cannot be allowed again, so it must be repeated.
		var stat unix.Statfs_t
		if err := unix.Statfs(path, &stat); err == nil && stat.Flags&unix.ST_NOEXEC != 0 {
			flags |= unix.MS_NOEXEC
		}
		if err := unix.Mount("", path, "", flags, ""); err != nil {
			return fmt.Errorf("make %s read-only: %w", m.Path, err)
		}
	}
	return nil
}

// ensure returns the real path of target, making it when it does not exist. An
// existing directory it would have to write to is first replaced by a copy in
// memory that shows the same entries.
func (t tree) ensure(target string, dir bool) (string, error) {
	target = filepath.Clean(target)
	if !filepath.IsAbs(target) || target == "/" {
		return "", fmt.Errorf("mount point %q: want an absolute path below /", target)
	}
	if real, err := filepath.EvalSymlinks(target); err == nil {
		info, err := os.Stat(real)
		if err != nil {
			return "", fmt.Errorf("look at mount point %s: %w", target, err)
		}
		if info.IsDir() != dir {
			return "", fmt.Errorf("mount point %s: a file and a directory do not go together", target)
		}
		return real, nil
	}
	existing, missing := filepath.Dir(target), []string{filepath.Base(target)}
	for {
		real, err := filepath.EvalSymlinks(existing)
		if err == nil {
			existing = real
			break
		}
		missing = append([]string{filepath.Base(existing)}, missing...)
		existing = filepath.Dir(existing)
	}
	if !t.ours[existing] {
		if err := t.mirror(existing); err != nil {
			return "", err
		}
	}
	path := existing
	for i, name := range missing {
		path = filepath.Join(path, name)
		var err error
		if dir || i < len(missing)-1 {
			err = os.Mkdir(path, 0o755)
			t.ours[path] = true
		} else {
			err = os.WriteFile(path, nil, 0o644)
		}
		if err != nil {
			return "", fmt.Errorf("make mount point %s: %w", target, err)
		}
	}
	return path, nil
}

// mirror covers a directory with one in memory that shows the same entries.
func (t tree) mirror(dir string) error {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", dir, err)
	}
	defer unix.Close(fd)
	below := fmt.Sprintf("/proc/thread-self/fd/%d", fd)
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("look at %s: %w", dir, err)
	}
	if err := mountMemory(dir, fmt.Sprintf("%04o", info.Mode().Perm()), 0); err != nil {
		return err
	}
	if err := fillFrom(below+"/", dir); err != nil {
		return err
	}
	t.ours[dir] = true
	return nil
}
