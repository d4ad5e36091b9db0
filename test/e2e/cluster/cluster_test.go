//go:build e2e

package cluster

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meshctl/meshctl/internal/testenv/wait"
)

// Folders of manifests.
const (
	samples    = "../../../samples/bookinfo"
	networking = samples + "/networking"
)

// patience is how long anything may take that ends by itself; the machine may be
// busy with other things.
const patience = 3 * time.Minute

// cluster is the one under test.
type cluster struct {
	bin  string // folder with the programs
	name string
	node string // address of its node
}

// start brings a cluster up, or finds one, and puts the images on its node.
func start(t *testing.T) *cluster {
	t.Helper()
	bin := os.Getenv("MESH_BIN")
	if bin == "" {
		t.Fatal("MESH_BIN is not set: run `make e2e-cluster`")
	}
	c := &cluster{bin: bin, name: cmp.Or(os.Getenv("MESH_CLUSTER"), "meshe2e")}
	if _, err := c.try(t, "cluster", "--name", c.name, "status"); err != nil {
		t.Cleanup(func() { c.stop(t) })
		t.Log(c.run(t, "cluster", "--name", c.name, "up"))
	}
	c.load(t)
	return c
}

// load puts the images on the node, and finds its address.
func (c *cluster) load(t *testing.T) {
	t.Helper()
	archives, err := filepath.Glob(filepath.Join(c.bin, "images", "*.tar"))
	if err != nil || len(archives) == 0 {
		t.Fatalf("there are no images in %s (%v): run `make images`", c.bin, err)
	}
	c.run(t, "cluster", append([]string{"--name", c.name, "load"}, archives...)...)
	// The first one, where the node has an address of each IP version.
	c.node, _, _ = strings.Cut(c.kubectl(t, "get", "nodes", "-o", `jsonpath={.items[0].status.addresses[?(@.type=="InternalIP")].address}`), " ")
}

// stop takes the cluster down; the context of the test is over by then.
func (c *cluster) stop(t *testing.T) {
	if t.Failed() {
		c.tell(t)
	}
	out, err := exec.Command(filepath.Join(c.bin, "cluster"), "--name", c.name, "down").CombinedOutput()
	if err != nil {
		t.Errorf("taking the cluster down: %v\n%s", err, out)
	}
}

// tell shows what somebody who looks for a failure would look at first.
func (c *cluster) tell(t *testing.T) {
	for _, args := range [][]string{
		{"get", "pods", "-A", "-o", "wide"},
		{"get", "events", "-A", "--field-selector", "type=Warning"},
		{"logs", "-n", "istio-system", "-l", "app=istiod", "--tail", "40"},
	} {
		out, err := exec.Command(filepath.Join(c.bin, "cluster"), append([]string{"--name", c.name, "kubectl"}, args...)...).CombinedOutput()
		t.Logf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// try runs a program of MESH_BIN and returns what it printed on standard output;
// the error has the rest.
func (c *cluster) try(t *testing.T, program string, args ...string) (string, error) {
	t.Helper()
	return c.tryWithin(t, 2*patience, program, args...)
}

func (c *cluster) tryWithin(t *testing.T, limit time.Duration, program string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	cmd := c.command(ctx, program, args...)
	var out, talk bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &talk
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w\n%s%s", program, strings.Join(args, " "), err, out.String(), talk.String())
	}
	return out.String(), nil
}

// run is try that must succeed.
func (c *cluster) run(t *testing.T, program string, args ...string) string {
	t.Helper()
	out, err := c.try(t, program, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// code runs a program and returns all that it printed, and its exit code.
func (c *cluster) code(t *testing.T, program string, args ...string) (string, int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := c.command(ctx, program, args...)
	out, err := cmd.CombinedOutput()
	var ended *exec.ExitError
	if err != nil && !errors.As(err, &ended) {
		t.Fatalf("%s %v: %v", program, args, err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// command is a program of MESH_BIN that is led to the cluster.
func (c *cluster) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(c.bin, program), args...)
	cmd.Env = append(os.Environ(), "NO_COLOR=1", "KUBECONFIG="+filepath.Join("/tmp", c.name, "kubeconfig"), "MESHCTL_CONTEXT="+c.name)
	return cmd
}

// meshctl runs it against the cluster.
func (c *cluster) meshctl(t *testing.T, args ...string) {
	t.Helper()
	began := time.Now()
	out := c.run(t, "meshctl", args...)
	t.Logf("$ meshctl %s  (%s)\n%s", strings.Join(args, " "), time.Since(began).Round(100*time.Millisecond), out)
}

func (c *cluster) kubectl(t *testing.T, args ...string) string {
	t.Helper()
	return c.run(t, "cluster", append([]string{"--name", c.name, "kubectl"}, args...)...)
}

// get decodes what kubectl finds.
func (c *cluster) get(t *testing.T, into any, args ...string) {
	t.Helper()
	out := c.kubectl(t, append(append([]string{"get"}, args...), "-o", "json")...)
	if err := json.Unmarshal([]byte(out), into); err != nil {
		t.Fatalf("kubectl get %v: %v", args, err)
	}
}

// apply applies files of the sample's folder networking and takes them back at
// the end of the step.
func (c *cluster) apply(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		c.kubectl(t, "apply", "-f", filepath.Join(networking, name+".yaml"))
		t.Cleanup(func() { c.takeBack(t, name) })
	}
}

// takeBack deletes what is in a file of that folder; the context of the test may
// be over.
func (c *cluster) takeBack(t *testing.T, name string) {
	t.Helper()
	c.kubectlAfter(t, "delete", "--ignore-not-found", "-f", filepath.Join(networking, name+".yaml"))
}

// kubectlAfter is kubectl when the context of the test may be over.
func (c *cluster) kubectlAfter(t *testing.T, args ...string) {
	t.Helper()
	out, err := exec.Command(filepath.Join(c.bin, "cluster"), append([]string{"--name", c.name, "kubectl"}, args...)...).CombinedOutput()
	if err != nil {
		t.Errorf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// applyText does so with a manifest in the test.
func (c *cluster) applyText(t *testing.T, manifest string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "manifest.yaml")
	if err := os.WriteFile(file, []byte(manifest), 0o600); err != nil {
		t.Fatal(err)
	}
	c.kubectl(t, "apply", "-f", file)
	t.Cleanup(func() { c.kubectlAfter(t, "delete", "--ignore-not-found", "-f", file) })
}

// ended waits until no pod of a namespace is about to end any more.
func (c *cluster) ended(t *testing.T, namespace string) {
	t.Helper()
	eventually(t, "the end of the old pods", func() error {
		if left := c.kubectl(t, "get", "pods", "-n", namespace, "-o", `jsonpath={range .items[?(@.metadata.deletionTimestamp)]}{.metadata.name}{" "}{end}`); left != "" {
			return fmt.Errorf("there are %s", left)
		}
		return nil
	})
}

// phase is nil when all pods with a label are in a phase.
func (c *cluster) phase(t *testing.T, label, want string) error {
	t.Helper()
	out := c.kubectl(t, "get", "pods", "-n", "default", "-l", label, "-o", "jsonpath={.items[*].status.phase}")
	for got := range strings.FieldsSeq(out) {
		if got != want {
			return fmt.Errorf("a pod is %s", got)
		}
	}
	return nil
}

// rolledOut waits until all Deployments of a namespace are.
func (c *cluster) rolledOut(t *testing.T, namespace string) {
	t.Helper()
	for d := range strings.FieldsSeq(c.kubectl(t, "get", "deployments", "-n", namespace, "-o", "name")) {
		c.kubectl(t, "rollout", "status", "-n", namespace, d, "--timeout", patience.String())
	}
}

// nodePort is the port of the node that leads to a port of a service.
func (c *cluster) nodePort(t *testing.T, namespace, service string, port int) int {
	t.Helper()
	var s struct {
		Spec struct {
			Ports []struct{ Port, NodePort int }
		}
	}
	c.get(t, &s, "service", "-n", namespace, service)
	i := slices.IndexFunc(s.Spec.Ports, func(p struct{ Port, NodePort int }) bool { return p.Port == port })
	if i < 0 || s.Spec.Ports[i].NodePort == 0 {
		t.Fatalf("%s/%s has no nodePort for %d: %+v", namespace, service, port, s.Spec.Ports)
	}
	return s.Spec.Ports[i].NodePort
}

// eventually waits until check finds nothing wrong.
func eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	wait.For(t, patience, what, check)
}
