package kube

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/meshctl/meshctl/test/cluster/internal/archive"
)

// The images that the node needs before it can pull any. Their host does not
// exist: nobody is asked for them.
const (
	pauseImage   = "meshkube.test/pause:1"
	corednsImage = "meshkube.test/coredns:1"
)

// loadOwnImages is a no-op for containerd when it has them already.
func (c *Cluster) loadOwnImages(ctx context.Context) error {
	if err := wait(ctx, "containerd", func(ctx context.Context) error {
		return c.ctr(ctx, nil, "version")
	}); err != nil {
		return c.failed(err)
	}
	for name, program := range map[string]string{pauseImage: "pause", corednsImage: "coredns"} {
		file := c.path("images", program+".tar")
		if err := archive.Write(file, name, filepath.Join(c.Programs, program)); err != nil {
			return err
		}
		if err := c.Load(ctx, file); err != nil {
			return err
		}
	}
	return nil
}

// LoadProgram puts an image of one static program on the node, called reference;
// links are names under which the program is found in it, too.
func (c *Cluster) LoadProgram(ctx context.Context, program, reference string, links ...string) error {
	dir, err := os.MkdirTemp("", "meshkube-image-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "image.tar")
	if err := archive.Write(file, reference, program, links...); err != nil {
		return err
	}
	return c.Load(ctx, file)
}

// Load imports the images of an archive, OCI's or docker's, into the node.
func (c *Cluster) Load(ctx context.Context, file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	// By its standard input, since the node may not see the file.
	if err := c.ctr(ctx, f, "images", "import", "-"); err != nil {
		return fmt.Errorf("loading %s: %w", file, err)
	}
	return nil
}

func (c *Cluster) ctr(ctx context.Context, stdin io.Reader, args ...string) error {
	return c.node().Run(ctx, stdin, append([]string{"ctr", "--namespace", "k8s.io"}, args...)...)
}

// applyDNS asks for CoreDNS; again when the API server was not ready for it.
func (c *Cluster) applyDNS(ctx context.Context) error {
	manifest, err := c.render("coredns.yaml")
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, filepath.Join(c.Programs, "kubectl"), "--kubeconfig="+c.Kubeconfig(),
		"apply", "--server-side", "--force-conflicts", "-f", "-")
	cmd.Stdin = bytes.NewReader(manifest)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("applying CoreDNS: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}
