package cni

import (
	"fmt"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/meshctl/meshctl/internal/capture"
)

// redirectIn writes the rules into a network namespace, given by its path.
func redirectIn(netns string, c capture.Config) error {
	return inNetns(netns, func() error {
		c.IPv6 = hasIPv6()
		_, err := capture.Install(c)
		return err
	})
}

// verifyIn reports whether the rules are there.
func verifyIn(netns string, _ capture.Config) error {
	return inNetns(netns, func() error {
		there, err := capture.Applied()
		if err == nil && !there {
			err = fmt.Errorf("the rules are not there")
		}
		return err
	})
}

// inNetns runs fn on a thread that is in another network namespace, and ends with it.
func inNetns(path string, fn func() error) error {
	ns, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open the pod's network namespace: %w", err)
	}
	defer func() { _ = ns.Close() }()
	done := make(chan error, 1)
	go func() {
		// Never unlocked: the thread is in a foreign namespace, and the runtime ends it.
		runtime.LockOSThread()
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("enter the pod's network namespace: %w", err)
			return
		}
		done <- fn()
	}()
	return <-done
}

// hasIPv6 reports whether an interface of this thread's namespace, other than
// loopback, has an IPv6 address.
func hasIPv6() bool {
	text, err := os.ReadFile("/proc/thread-self/net/if_inet6")
	if err != nil {
		return false
	}
	for line := range strings.SplitSeq(string(text), "\n") {
		if f := strings.Fields(line); len(f) == 6 && f[5] != "lo" {
			return true
		}
	}
	return false
}
