// Package programs has what a cluster is made of: Kubernetes' own programs, built
// from their module and kept in a cache that is keyed by their version, and
// Debian packages, which it does not install but tells apart when missing.
package programs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Names of the programs of Kubernetes, and of those that go into images.
var (
	kubernetes = []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl"}
	ours       = []string{"pause", "coredns"}
)

// Builder builds what the cache lacks.
type Builder struct {
	Source string // the folder of the module test/cluster
	Cache  string // the folder for all versions
	Jobs   string // -p of go build; empty: its own choice
	Log    io.Writer
}

// Build returns the folder with all programs, at once when they are there already.
func (b Builder) Build(ctx context.Context) (string, error) {
	version, err := b.version(ctx)
	if err != nil {
		return "", err
	}
	folder := filepath.Join(b.Cache, "kube-"+version, "bin")
	if complete(folder) {
		return folder, nil
	}
	began := time.Now()
	fmt.Fprintf(b.Log, "building Kubernetes %s into %s (once; some ten minutes on two cores)\n", version, folder)
	part := filepath.Join(b.Cache, "kube-"+version, "part")
	if err := os.MkdirAll(part, 0o755); err != nil {
		return "", err
	}
	number := strings.SplitN(strings.TrimPrefix(version, "v"), ".", 3)
	if len(number) != 3 {
		return "", fmt.Errorf("the version of Kubernetes is %q, which is not like v1.2.3", version)
	}
	const variable = "-X k8s.io/component-base/version."
	ldflags := "-s -w " + variable + "gitVersion=" + version + " " + variable + "gitMajor=" + number[0] + " " + variable + "gitMinor=" + number[1]
	var packages []string
	for _, p := range kubernetes {
		packages = append(packages, "k8s.io/kubernetes/cmd/"+p)
	}
	if err := b.goBuild(ctx, b.Source, ldflags, part, packages...); err != nil {
		return "", err
	}
	if err := b.goBuild(ctx, filepath.Join(b.Source, "coredns"), "-s -w", part, "."); err != nil {
		return "", err
	}
	if err := b.goBuild(ctx, b.Source, "-s -w", part, "./pause"); err != nil {
		return "", err
	}
	if err := os.RemoveAll(folder); err != nil {
		return "", err
	}
	if err := os.Rename(part, folder); err != nil {
		return "", err
	}
	fmt.Fprintf(b.Log, "built in %s\n", time.Since(began).Round(time.Second))
	return folder, nil
}

// version is that of Kubernetes in go.mod.
func (b Builder) version(ctx context.Context) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Version}}", "k8s.io/kubernetes")
	cmd.Dir = b.Source
	out, err := cmd.Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return "", fmt.Errorf("asking for the version of Kubernetes: %w: %s", err, exit.Stderr)
	}
	return strings.TrimSpace(string(out)), err
}

func (b Builder) goBuild(ctx context.Context, dir, ldflags, out string, packages ...string) error {
	args := []string{"build", "-trimpath", "-buildvcs=false", "-ldflags", ldflags, "-o", out + string(filepath.Separator)}
	if b.Jobs != "" {
		args = append(args, "-p", b.Jobs)
	}
	cmd := exec.CommandContext(ctx, "go", append(args, packages...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	cmd.Stdout, cmd.Stderr = b.Log, b.Log
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("building %s: %w", strings.Join(packages, " "), err)
	}
	return nil
}

func complete(folder string) bool {
	for _, p := range append(append([]string{}, kubernetes...), ours...) {
		if _, err := os.Stat(filepath.Join(folder, p)); err != nil {
			return false
		}
	}
	return true
}
