package local

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/meshctl/meshctl/internal/local/explicit"
)

// DefaultName is the name of a mesh when the user gives none.
const DefaultName = "default"

// validName keeps names short, because a socket's path is limited to 107 bytes,
// and free of path elements.
var validName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$`)

// Paths are the places of one mesh's files.
type Paths struct {
	Dir string
}

func (p Paths) lock() string     { return filepath.Join(p.Dir, "lock") }
func (p Paths) settings() string { return filepath.Join(p.Dir, "settings.json") }

// Socket is the control socket.
func (p Paths) Socket() string { return filepath.Join(p.Dir, "control.sock") }

// Log is the output of the host-side process and the node.
func (p Paths) Log() string { return filepath.Join(p.Dir, "mesh.log") }

// PathsOf finds the directory of a mesh. It is in XDG_RUNTIME_DIR when there is
// one, else in /tmp/meshctl-<uid>.
func PathsOf(name string) (Paths, error) {
	if !validName.MatchString(name) {
		return Paths{}, fmt.Errorf("mesh name %q: want lower-case letters, digits and -, at most 40", name)
	}
	return Paths{Dir: filepath.Join(baseDir(), name)}, nil
}

// maxSocketPath is sizeof(sun_path) without the final zero (unix(7)).
const maxSocketPath = 107

func baseDir() string {
	runtimeDir := os.Getenv("XDG_RUNTIME_DIR")
	longest := len("/meshctl/") + 40 + len("/control.sock")
	if filepath.IsAbs(runtimeDir) && len(runtimeDir)+longest <= maxSocketPath && ownDir(runtimeDir) == nil {
		return filepath.Join(runtimeDir, "meshctl")
	}
	return filepath.Join("/tmp", "meshctl-"+strconv.Itoa(os.Geteuid()))
}

// ownDir fails unless path is a directory of ours that nobody else can write.
func ownDir(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return fmt.Errorf("look at %s: %w", path, err)
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !info.IsDir() || !ok || st.Uid != uint32(os.Geteuid()) || info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("%s is not a directory that belongs to you alone", path)
	}
	return nil
}

// make makes the directory, or fails when somebody else has put one there.
func (p Paths) make() error {
	err := p.makeOnce()
	if errors.Is(err, os.ErrNotExist) { // the last other mesh has just ended and taken the base with it
		err = p.makeOnce()
	}
	return err
}

func (p Paths) makeOnce() error {
	base := filepath.Dir(p.Dir)
	for _, dir := range []string{base, p.Dir} {
		if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
			return fmt.Errorf("make state directory: %w", err)
		}
		if err := ownDir(dir); err != nil {
			return fmt.Errorf("state directory: %w; remove it or set XDG_RUNTIME_DIR", err)
		}
	}
	return nil
}

// RunningError says that a mesh of the name is already there.
type RunningError struct {
	Name string
	PID  int
}

func (e *RunningError) Error() string {
	return fmt.Sprintf("a mesh named %q is already running (process %d)", e.Name, e.PID)
}

// acquire takes the lock of the mesh. The holder's process id is in the file.
// The lock ends with the process, however it ends.
func (p Paths) acquire() (*os.File, error) {
	f, err := os.OpenFile(p.lock(), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		defer f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, &RunningError{Name: filepath.Base(p.Dir), PID: p.holder()}
		}
		return nil, fmt.Errorf("take lock: %w", err)
	}
	// down removes the whole directory; a lock on a removed file is none.
	var held, there unix.Stat_t
	if unix.Fstat(int(f.Fd()), &held) != nil || unix.Stat(p.lock(), &there) != nil || held.Ino != there.Ino {
		f.Close()
		return nil, errors.New("take lock: another process is removing this mesh; try again")
	}
	return f, nil
}

// release gives the lock up. To close the file is not enough: a process that is
// just being forked has the file too, until its program begins.
func release(lock *os.File) {
	_ = unix.Flock(int(lock.Fd()), unix.LOCK_UN)
	lock.Close()
}

func (p Paths) claim(lock *os.File) error {
	if err := lock.Truncate(0); err != nil {
		return fmt.Errorf("write lock: %w", err)
	}
	if _, err := lock.WriteAt([]byte(strconv.Itoa(os.Getpid())), 0); err != nil {
		return fmt.Errorf("write lock: %w", err)
	}
	return nil
}

// holder is the process id in the lock file, 0 when there is none.
func (p Paths) holder() int {
	b, err := os.ReadFile(p.lock())
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return 0
	}
	return pid
}

// isOurs reports whether the process is the host-side process of this mesh.
func (p Paths) isOurs(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return false
	}
	args := bytes.Split(b, []byte{0})
	return len(args) >= 3 && string(args[0]) == argv0 && string(args[1]) == roleHost && string(args[2]) == p.Dir
}

// sweep ends what an earlier mesh of the name left running. The lock must be held.
func (p Paths) sweep() error {
	if left := explicit.Sweep(p.Dir); len(left) > 0 {
		return fmt.Errorf("processes %v of an earlier mesh do not end", left)
	}
	return nil
}

// clean removes what an earlier mesh of the name left, except the named entries.
func (p Paths) clean(keep ...string) error {
	entries, err := os.ReadDir(p.Dir)
	if err != nil {
		return fmt.Errorf("read state directory: %w", err)
	}
next:
	for _, e := range entries {
		for _, k := range keep {
			if e.Name() == filepath.Base(k) {
				continue next
			}
		}
		if err := os.RemoveAll(filepath.Join(p.Dir, e.Name())); err != nil {
			return fmt.Errorf("clean state directory: %w", err)
		}
	}
	return nil
}

// List names all meshes of this user that have files, running or not.
func List() ([]string, error) {
	base := baseDir()
	entries, err := os.ReadDir(base)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list meshes: %w", err)
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() && validName.MatchString(e.Name()) {
			names = append(names, e.Name())
		}
	}
	return names, nil
}
