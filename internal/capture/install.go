package capture

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Install puts the rules of c into force in the calling thread's network namespace:
// as nftables, or, where the kernel has none and iptables' programs are there, by
// iptables-restore. It says which. Installing twice is the same as once.
func Install(c Config) (how string, err error) {
	how, err = install(c)
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		err = fmt.Errorf("%w: this needs the capability NET_ADMIN, or a CNI plugin that does it (values pilot.cni.enabled)", err)
	}
	return how, err
}

func install(c Config) (how string, err error) {
	if c.IPv6 && c.Mode != None {
		if err := addPassthroughAddress(); err != nil {
			return "", err
		}
	}
	err = Apply(c)
	switch {
	case err == nil:
		return "nftables", nil
	case !lacksNftables(err):
		return "", err
	}
	if _, lookErr := exec.LookPath("iptables-restore"); lookErr != nil {
		return "", fmt.Errorf("%w: the kernel has no nftables, and there is no iptables-restore here", err)
	}
	return "iptables-restore", restore(c)
}

// lacksNftables tells an absent kernel module from a mistake of ours.
func lacksNftables(err error) bool {
	for _, e := range []error{unix.EPROTONOSUPPORT, unix.EOPNOTSUPP, unix.EAFNOSUPPORT, unix.ENOENT, unix.EINVAL} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// Uninstall takes away what Install has put into force for c.
func Uninstall(c Config) error {
	err := Delete()
	if err == nil || !lacksNftables(err) {
		return err
	}
	if _, lookErr := exec.LookPath("iptables-restore"); lookErr != nil {
		return nil //nolint:nilerr // nothing can have been put into force either
	}
	return unrestore(c)
}

// restorer is a program that reads RestoreText.
type restorer struct {
	family Family
	name   string
}

func restorers() []restorer {
	return []restorer{{IPv4, "iptables-restore"}, {IPv6, "ip6tables-restore"}}
}

// unrestore takes away the rules of both IP versions, whichever there are.
func unrestore(c Config) error {
	c.IPv6 = true
	tables, err := Tables(c)
	if err != nil {
		return err
	}
	for _, p := range restorers() {
		if text := CleanupText(tables, p.family); text != "" {
			_ = feed(p.name, text) // fails when there are none
		}
	}
	return nil
}

const restoreTimeout = 30 * time.Second

// restore feeds the rules to iptables' own programs, after taking away those of an
// earlier run.
func restore(c Config) error {
	tables, err := Tables(c)
	if err != nil {
		return err
	}
	if err := unrestore(c); err != nil {
		return err
	}
	for _, p := range restorers() {
		text := RestoreText(tables, p.family)
		if text == "" {
			continue
		}
		if err := feed(p.name, text); err != nil {
			return err
		}
	}
	return nil
}

func feed(program, text string) error {
	ctx, cancel := context.WithTimeout(context.Background(), restoreTimeout)
	defer cancel()
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, program, "--noflush", "--wait=20")
	cmd.Stdin, cmd.Stderr = strings.NewReader(text), &stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("run %s: %w: %s", program, err, strings.TrimSpace(stderr.String()))
	}
	return nil
}
