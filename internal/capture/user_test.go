package capture_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/meshctl/meshctl/internal/capture"
	"github.com/meshctl/meshctl/internal/capture/command"
	"github.com/meshctl/meshctl/internal/local/localtest"
)

// envHelper makes the test binary be a program of a pod.
const envHelper = "MESH_CAPTURE_HELPER"

func TestMain(m *testing.M) {
	switch args := strings.Fields(os.Getenv(envHelper)); {
	case len(args) > 1 && args[0] == "ask":
		_, _ = io.WriteString(os.Stdout, askOnce(args[1]))
	case len(args) > 0 && args[0] == "capture":
		os.Exit(command.Main(args[1:], os.Stdout, os.Stderr))
	default:
		os.Exit(m.Run())
	}
}

// as runs a part of this program in the pod as a user, and returns what it prints
// and its exit code.
func (p *pod) as(user int, part string) (string, int) {
	p.t.Helper()
	var out bytes.Buffer
	cmd := exec.CommandContext(p.t.Context(), "/proc/self/exe")
	cmd.Env = append(os.Environ(), envHelper+"="+part)
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(user), Gid: uint32(user), NoSetGroups: true}}
	var exit *exec.ExitError
	// The child is in the network namespace of the thread that starts it.
	p.in(func() error {
		if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
			return err
		}
		return nil
	})
	return strings.TrimSpace(out.String()), cmd.ProcessState.ExitCode()
}

// askOnce calls "ADDRESS", or "FROM>ADDRESS", and returns what is answered.
func askOnce(call string) string {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	var d net.Dialer
	from, addr, ok := strings.Cut(call, ">")
	if ok {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
	} else {
		addr = call
	}
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	b, err := io.ReadAll(c)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// Users of a pod: the sidecar's, as injection sets it, and an application's.
func TestCaptureByUser(t *testing.T) {
	t.Parallel()
	localtest.InNode(t, func(t *testing.T) {
		if !mapped(int(capture.DefaultProxyID)) {
			return // an ordinary user's namespace has no second user; root's, where this runs too, has
		}
		here := func(fn func() error) {
			if err := fn(); err != nil {
				t.Fatal(err)
			}
		}
		serve(t, here, "node", "10.244.0.1:80")
		p := newPod(t, "10.244.1.1")
		const app, sidecar = 1000, int(capture.DefaultProxyID)
		if out, code := p.as(sidecar, "capture --check --probe-timeout 1s"); code != 126 || !strings.Contains(out, "not redirected") {
			t.Errorf("check before: %d %s", code, out)
		}
		if out, code := p.as(app, "capture"); code != 1 || !strings.Contains(out, "NET_ADMIN") {
			t.Errorf("without rights: %d %s", code, out)
		}
		p.in(func() error {
			for range 2 {
				c := capture.Default()
				c.IPv6 = true
				if how, err := capture.Install(c); err != nil || how != "nftables" {
					return fmt.Errorf("install: %s: %w", how, err)
				}
			}
			if there, err := capture.Applied(); !there || err != nil {
				t.Errorf("applied: %v, %v", there, err)
			}
			return nil
		})
		if out, code := p.as(sidecar, "capture --check"); code != 0 {
			t.Errorf("check after: %d %s", code, out)
		}
		for name, addr := range map[string]string{"out": ":15001", "in": ":15006", "app": ":8080", "local": "127.0.0.1:9090"} {
			serve(t, p.in, name, addr)
		}
		for _, s := range []struct {
			name, addr, want string
			user             int
		}{
			{"the application's is redirected", "10.244.0.1:80", "out 10.244.0.1:80", app},
			{"root's as well", "10.244.0.1:80", "out 10.244.0.1:80", 0},
			{"the sidecar's is not", "10.244.0.1:80", "node none", sidecar},
			{"localhost is untouched", "127.0.0.1:9090", "local none", sidecar},
			{"a call of itself through the sidecar", "10.244.1.1:8080", "in 10.244.1.1:8080", sidecar},
			{"a call of itself without", "10.244.1.1:8080", "app none", app},
			{"what the sidecar passes on by 127.0.0.6", "127.0.0.6>10.244.1.1:8080", "app none", sidecar},
			{"what the sidecar passes on by ::6", "::6>[fd00::1]:8080", "app none", sidecar},
			{"IPv6", "[fd00::99]:80", "out [fd00::99]:80", app},
		} {
			if got, _ := p.as(s.user, "ask "+s.addr); got != s.want {
				t.Errorf("%s: got %q, want %q", s.name, got, s.want)
			}
		}
		if out, code := p.as(0, "capture --cleanup"); code != 0 {
			t.Errorf("cleanup: %s", out)
		}
	})
}

// mapped reports whether a user exists in this user namespace.
func mapped(id int) bool {
	b, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return false
	}
	for line := range strings.SplitSeq(string(b), "\n") {
		f := strings.Fields(line)
		if len(f) != 3 {
			continue
		}
		first, err1 := strconv.Atoi(f[0])
		size, err2 := strconv.Atoi(f[2])
		if err1 == nil && err2 == nil && id >= first && id-first < size {
			return true
		}
	}
	return false
}
