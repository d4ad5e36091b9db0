package node

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestLife makes a node, runs something in it that would not end by itself and
// that hides from its parent, and looks for what is left.
func TestLife(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can make a node")
	}
	folder, err := os.MkdirTemp("/tmp", "meshnode") // short, as sockets' names have to be
	if err != nil {
		t.Fatal(err)
	}
	link, err := FreeLink(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	n := Node{Name: "meshtest", Folder: folder, Link: link}
	t.Cleanup(func() { os.RemoveAll(folder) })
	if err := os.Mkdir(filepath.Join(folder, "log"), 0o700); err != nil {
		t.Fatal(err)
	}
	for round := range 2 {
		if err := n.Make(t.Context()); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		out, err := exec.CommandContext(t.Context(), "nsenter", "--net=/run/netns/meshtest", "ip", "-4", "-o", "addr").CombinedOutput()
		if err != nil || !strings.Contains(string(out), n.Address().String()) {
			t.Fatalf("addresses: %v\n%s", err, out)
		}
		if err := n.Start("hider", "sh", "-c", "mount -t tmpfs x /mnt; echo kept > /var/lib/kubelet/file; echo kept > /etc/meshtest; touch /run/lost; setsid sleep 1000 & sleep 1000"); err != nil {
			t.Fatal(err)
		}
		waitFor(t, "two sleeping processes", func() bool { pids, err := n.Processes(); return err == nil && len(pids) >= 3 })
		if exists("/etc/meshtest") || exists("/run/lost") {
			t.Error("the node wrote to the host's folders")
		}
		for _, f := range []string{"/var/lib/kubelet/file", "/etc/meshtest"} {
			if b, err := os.ReadFile(n.Disk(f)); err != nil || string(b) != "kept\n" {
				t.Errorf("%s on the node's disk: %q %v", f, b, err)
			}
		}
		for range 2 {
			if err := n.End(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if pids, err := n.Processes(); err != nil || len(pids) > 0 {
			t.Errorf("left: %v %v", pids, err)
		}
		left, err := filepath.Glob("/sys/fs/cgroup/*/meshtest")
		if err != nil || len(left) > 0 {
			t.Errorf("left: %v %v", left, err)
		}
		for _, path := range []string{"/run/netns/meshtest", "/sys/class/net/veth-meshtest", "/sys/fs/cgroup/meshtest"} {
			if exists(path) {
				t.Errorf("left: %s", path)
			}
		}
		if mounts, err := os.ReadFile("/proc/self/mountinfo"); err != nil || strings.Contains(string(mounts), folder) {
			t.Errorf("a mount is left (%v)", err)
		}
	}
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("no %s", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
