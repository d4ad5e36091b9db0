// Package localtest runs tests inside the namespaces of a local mesh, as root
// and as an ordinary user. It is for tests only.
//
//	func TestX(t *testing.T) {
//		localtest.InNode(t, func(t *testing.T) { … }) // t runs in a fresh node
//	}
//
// When namespaces are not available on the machine the test fails; it never
// skips silently.
package localtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/meshctl/meshctl/internal/local/node"
)

// envPart tells the re-executed test binary which part it plays.
const envPart = "MESH_LOCALTEST"

const (
	partUser = "user" // an ordinary user outside of any namespace
	partNode = "node" // process 1 of a node
)

// Nobody is the ordinary user that tests started by root also run as.
const Nobody = 65534

// InNode runs body in a node of its own: once as the user who runs the tests
// and, when that is root, once more as an ordinary user.
func InNode(t *testing.T, body func(t *testing.T)) {
	t.Helper()
	if !inNode(t, body) {
		AsEachUser(t, func(t *testing.T) { inNewNode(t) })
	}
}

// InOneNode is InNode for the user who runs the tests alone: the body needs files
// that others may not be able to read.
func InOneNode(t *testing.T, body func(t *testing.T)) {
	t.Helper()
	if !inNode(t, body) {
		inNewNode(t)
	}
}

// inNode runs body when this process is a node already.
func inNode(t *testing.T, body func(t *testing.T)) bool {
	t.Helper()
	if os.Getenv(envPart) != partNode {
		return false
	}
	if err := node.Setup(node.DefaultNetwork(), "node"); err != nil {
		t.Fatalf("set up node: %v", node.Explain(err, "/"))
	}
	body(t)
	return true
}

// AsEachUser runs body as the user who runs the tests and, when that is root,
// runs the whole test again as an ordinary user.
func AsEachUser(t *testing.T, body func(t *testing.T)) {
	t.Helper()
	if os.Geteuid() != 0 {
		body(t)
		return
	}
	again := topTest(t)
	t.Run("root", func(t *testing.T) {
		t.Parallel()
		body(t)
	})
	t.Run("ordinary user", func(t *testing.T) {
		t.Parallel()
		attrs := &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: Nobody, Gid: Nobody}}
		rerun(t, again, CopySelf(t), partUser, attrs)
	})
}

// CopySelf copies the test binary to a directory that any user can read and
// returns its path. The directory is writable for Nobody and goes with the test.
func CopySelf(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "lt")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if os.Geteuid() == 0 {
		if err := os.Chown(dir, Nobody, Nobody); err != nil {
			t.Fatal(err)
		}
	}
	exe := filepath.Join(dir, "test")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// Another process writes the file: a descriptor open for writing here could
	// be inherited by a child started meanwhile, and then exec says "busy".
	if out, err := exec.Command("install", "-m", "0755", self, exe).CombinedOutput(); err != nil {
		t.Fatalf("copy test binary: %v: %s", err, out)
	}
	return exe
}

func topTest(t *testing.T) string {
	name, _, _ := strings.Cut(t.Name(), "/")
	return name
}

func inNewNode(t *testing.T) {
	attrs, err := node.Attributes()
	if err != nil {
		t.Fatal(err)
	}
	rerun(t, topTest(t), "/proc/self/exe", partNode, attrs)
}

// rerun runs one test in a child and fails when it fails or did not run.
func rerun(t *testing.T, test, exe, part string, attrs *syscall.SysProcAttr) {
	t.Helper()
	cmd := exec.Command(exe, "-test.run=^"+test+"$", "-test.v", "-test.timeout=2m")
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), envPart+"="+part, "HOME=/", "XDG_RUNTIME_DIR=")
	cmd.SysProcAttr = attrs
	type result struct {
		out []byte
		err error
	}
	done := make(chan result, 1)
	go func() {
		runtime.LockOSThread() // a node dies with the thread that started it
		out, err := cmd.CombinedOutput()
		done <- result{out, err}
	}()
	r := <-done
	if r.err != nil {
		t.Fatalf("%s: %v\n%s", part, node.Explain(r.err, "/"), r.out)
	}
	if !strings.Contains(string(r.out), "--- PASS: "+test) || strings.Contains(string(r.out), "--- SKIP") {
		t.Fatalf("%s: the test did not run:\n%s", part, r.out)
	}
}
