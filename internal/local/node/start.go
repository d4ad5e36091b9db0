package node

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Command is a program to start in a pod.
type Command struct {
	Argv   []string // Argv[0] is also the program unless Path is set
	Path   string   // program; "" means Argv[0], searched in PATH of Env
	Env    []string // the whole environment, "NAME=value"
	Dir    string   // working directory inside the pod; "" is /
	Plain  bool     // see the pod's tree without its volumes, which may hide what a program of ours needs
	UID    *uint32  // nil: root of the node (the user who started the mesh)
	GID    *uint32
	Caps   []uintptr // capabilities to keep; nil: ContainerCaps
	Stdin  *os.File  // nil: empty
	Stdout *os.File
	Stderr *os.File
}

// ContainerCaps is what a container may do by default: Docker's list without
// NET_RAW, because a socket with that right can choose its own mark and so
// evade the mesh, and without MKNOD, AUDIT_WRITE and SETFCAP.
func ContainerCaps() []uintptr {
	return []uintptr{
		unix.CAP_CHOWN, unix.CAP_DAC_OVERRIDE, unix.CAP_FOWNER, unix.CAP_FSETID, unix.CAP_KILL,
		unix.CAP_SETGID, unix.CAP_SETUID, unix.CAP_SETPCAP, unix.CAP_NET_BIND_SERVICE, unix.CAP_SYS_CHROOT,
	}
}

// ProxyCaps is what a sidecar needs besides: it marks its own sockets.
func ProxyCaps() []uintptr { return append(ContainerCaps(), unix.CAP_NET_ADMIN) }

// Start starts a program inside the pod, in a process group of its own. It
// cannot gain rights it does not have. The caller waits for the process.
func (s *Sandbox) Start(c Command) (*os.Process, error) {
	if len(c.Argv) == 0 {
		return nil, errors.New("start in pod: no command")
	}
	ns := s.ns
	if c.Plain {
		ns = s.plain
	}
	if at, ok := s.programs[c.Path]; ok && !c.Plain {
		c.Path = at
	}
	var proc *os.Process
	err := inside(ns, func() (err error) {
		proc, err = c.Exec(0)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("start %s in pod %s: %w", c.Argv[0], s.cfg.Name, err)
	}
	return proc, nil
}

// Exec starts the program from the calling thread, which is then good for
// nothing else: rights are taken from it for good. onParentDeath, if not 0, is
// the signal that the program gets when the thread ends.
func (c Command) Exec(onParentDeath syscall.Signal) (*os.Process, error) {
	if len(c.Argv) == 0 {
		return nil, errors.New("no command")
	}
	path, err := lookPath(c)
	if err != nil {
		return nil, err
	}
	if err := limitCaps(c.Caps); err != nil {
		return nil, err
	}
	stdin := c.Stdin
	if stdin == nil {
		if stdin, err = os.Open(os.DevNull); err != nil {
			return nil, fmt.Errorf("open %s: %w", os.DevNull, err)
		}
		defer stdin.Close()
	}
	return os.StartProcess(path, c.Argv, &os.ProcAttr{
		Dir:   cmp.Or(c.Dir, "/"),
		Env:   c.Env,
		Files: []*os.File{stdin, c.Stdout, c.Stderr},
		Sys:   &syscall.SysProcAttr{Setsid: true, Credential: credential(c), Pdeathsig: onParentDeath},
	})
}

func credential(c Command) *syscall.Credential {
	if c.UID == nil && c.GID == nil {
		return nil
	}
	cred := &syscall.Credential{NoSetGroups: true}
	if c.UID != nil {
		cred.Uid = *c.UID
	}
	if c.GID != nil {
		cred.Gid = *c.GID
	}
	return cred
}

// lookPath finds the program with the PATH of its own environment, in the pod's tree.
func lookPath(c Command) (string, error) {
	name := c.Path
	if name == "" {
		name = c.Argv[0]
	}
	if strings.ContainsRune(name, '/') {
		return name, nil
	}
	search := "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	for _, kv := range c.Env {
		if v, ok := strings.CutPrefix(kv, "PATH="); ok {
			search = v
		}
	}
	for dir := range strings.SplitSeq(search, ":") {
		if !strings.HasPrefix(dir, "/") {
			continue
		}
		candidate := dir + "/" + name
		if info, err := os.Stat(candidate); err == nil && !info.IsDir() && info.Mode()&0o111 != 0 {
			return candidate, nil
		}
	}
	return "", fmt.Errorf("%w: %q in %s", exec.ErrNotFound, name, search)
}

// limitCaps takes from the calling thread, for good, all rights that a program
// started by it could get beyond keep.
func limitCaps(keep []uintptr) error {
	if keep == nil {
		keep = ContainerCaps()
	}
	kept := make(map[uintptr]bool, len(keep))
	for _, c := range keep {
		kept[c] = true
	}
	for c := uintptr(0); c <= unix.CAP_LAST_CAP; c++ {
		if kept[c] {
			continue
		}
		err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0)
		if errors.Is(err, unix.EPERM) && os.Geteuid() != 0 {
			break // an ordinary user, who has none to lose
		}
		if err != nil && !errors.Is(err, unix.EINVAL) { // EINVAL: a kernel without this one
			return fmt.Errorf("drop capability %d: %w", c, err)
		}
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("forbid new privileges: %w", err)
	}
	return nil
}
