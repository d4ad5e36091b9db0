package node

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
)

// UnavailableError says that this machine does not let us make the namespaces
// of a local mesh, why, and what the user can do about it.
type UnavailableError struct {
	Cause string // what forbids it, in words
	Fix   string // what to do, one or more commands
	Err   error  // the system call's error, may be nil
}

func (e *UnavailableError) Error() string {
	msg := "this machine forbids user namespaces: " + e.Cause
	if e.Err != nil {
		msg += " (" + e.Err.Error() + ")"
	}
	return msg
}

// Unwrap returns the system call's error.
func (e *UnavailableError) Unwrap() error { return e.Err }

// Explain turns the error of starting or setting up a node into an
// UnavailableError when the cause is a machine that forbids namespaces, and
// returns other errors unchanged. root is the file system root to look for
// the kernel's settings in ("/" outside of tests).
func Explain(err error, root string) error {
	if err == nil {
		return nil
	}
	var known *UnavailableError
	if errors.As(err, &known) {
		return err
	}
	if !errors.Is(err, syscall.EPERM) && !errors.Is(err, syscall.EACCES) && !errors.Is(err, syscall.ENOSYS) &&
		!errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EUSERS) && !errors.Is(err, syscall.EINVAL) {
		return err
	}
	setting := func(path string) string {
		b, readErr := os.ReadFile(root + "/proc/sys/" + path)
		if readErr != nil {
			return ""
		}
		return strings.TrimSpace(string(b))
	}
	switch {
	case setting("kernel/unprivileged_userns_clone") == "0":
		return &UnavailableError{
			Cause: "kernel.unprivileged_userns_clone is 0",
			Fix:   "sudo sysctl -w kernel.unprivileged_userns_clone=1",
			Err:   err,
		}
	case setting("kernel/apparmor_restrict_unprivileged_userns") == "1":
		return &UnavailableError{
			Cause: "AppArmor restricts unprivileged user namespaces (Ubuntu 23.10 and later)",
			Fix:   "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or give this program an AppArmor profile with the rule \"userns,\"",
			Err:   err,
		}
	case setting("user/max_user_namespaces") == "0":
		return &UnavailableError{
			Cause: "user.max_user_namespaces is 0",
			Fix:   "sudo sysctl -w user.max_user_namespaces=15000",
			Err:   err,
		}
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EUSERS):
		return &UnavailableError{
			Cause: "the limit of nested or simultaneous user namespaces is reached",
			Fix:   "sudo sysctl -w user.max_user_namespaces=15000, or stop other programs that use them",
			Err:   err,
		}
	case errors.Is(err, syscall.ENOSYS), errors.Is(err, syscall.EINVAL):
		return &UnavailableError{
			Cause: "the kernel is built without user namespaces (CONFIG_USER_NS)",
			Fix:   "use a kernel with CONFIG_USER_NS, CONFIG_NET_NS and CONFIG_PID_NS",
			Err:   err,
		}
	default:
		return &UnavailableError{
			Cause: "a security policy (a container's seccomp profile, SELinux or AppArmor) refuses them",
			Fix:   "outside of a container nothing is needed on most systems; inside Docker start it with --security-opt seccomp=unconfined --security-opt apparmor=unconfined",
			Err:   err,
		}
	}
}

// Check reports at once, without starting anything, settings that make a local
// mesh impossible. A nil result is no promise: policies show only on use.
func Check(root string) error {
	for path, fix := range map[string]string{
		"kernel/unprivileged_userns_clone": "sudo sysctl -w kernel.unprivileged_userns_clone=1",
		"user/max_user_namespaces":         "sudo sysctl -w user.max_user_namespaces=15000",
	} {
		b, err := os.ReadFile(root + "/proc/sys/" + path)
		if err != nil || strings.TrimSpace(string(b)) != "0" {
			continue
		}
		if path == "kernel/unprivileged_userns_clone" && os.Geteuid() == 0 {
			continue
		}
		return &UnavailableError{Cause: strings.ReplaceAll(path, "/", ".") + " is 0", Fix: fix}
	}
	for _, ns := range []string{"user", "net", "mnt", "pid"} {
		if _, err := os.Stat(root + "/proc/self/ns/" + ns); err != nil {
			return &UnavailableError{
				Cause: fmt.Sprintf("the kernel has no %s namespaces", ns),
				Fix:   "use a kernel with CONFIG_USER_NS, CONFIG_NET_NS and CONFIG_PID_NS",
			}
		}
	}
	return nil
}
