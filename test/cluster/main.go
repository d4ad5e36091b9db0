// Command cluster brings a real one-node Kubernetes up on this machine and takes
// it down again, for tests. It needs Linux, root, Go to build Kubernetes with, and
// some Debian packages, which it names when they are missing.
//
//	cluster up | down | reboot | status | build | packages
//	cluster connect OTHER
//	cluster load ARCHIVE.tar ...
//	cluster load-program FILE IMAGE [NAME ...]
//	cluster kubectl get pods -A
//
// What is up, and where: docs/testing.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/meshctl/meshctl/test/cluster/internal/kube"
	"github.com/meshctl/meshctl/test/cluster/internal/programs"
)

const usage = `usage: cluster [flags] COMMAND

commands:
  up                    build what is missing, start, wait until ready; print KUBECONFIG
  down                  end it and remove all of it
  connect OTHER         let this cluster and another reach each other, pods too if their --pods differ
  reboot                as if the power had failed: same disk, everything started again
  status                say what runs; fails unless all of it does
  load ARCHIVE.tar ...  put images, in OCI's or docker's form, on the node
  load-program FILE IMAGE [NAME ...]
                        the same of one static program, as its entry point; NAMEs lead to it, too
  kubectl ...           kubectl of the cluster's version, as its administrator
  build                 only build Kubernetes into the cache
  packages              print the Debian packages that are missing

flags:
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "cluster:", err)
		}
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	fs := flag.NewFlagSet("cluster", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.Usage = func() {
		fmt.Fprint(stderr, usage)
		fs.PrintDefaults()
	}
	name := fs.String("name", "meshkube", "which `cluster`; several can run at a time")
	pods := fs.String("pods", "", "with up: the `network` of the pods, "+kube.DefaultPods+" unless given; clusters that are connected need different ones")
	family := fs.String("ip-family", string(kube.IPv4), "with up: which IP `versions` pods and Services have: ipv4, ipv6 or dual")
	jobs := fs.String("p", "", "how many `jobs` the building may run at a time")
	if err := fs.Parse(args); err != nil {
		return err
	}
	c, err := kube.At(*name, stderr)
	if err != nil {
		return err
	}
	command := fs.Arg(0)
	if fs.NArg() > 1 && command != "connect" && command != "load" && command != "load-program" && command != "kubectl" {
		return fmt.Errorf("%s takes no arguments", command)
	}
	switch command {
	case "up":
		if *pods != "" {
			c.Pods = *pods
		}
		if c.Family, err = kube.ParseFamily(*family); err != nil {
			return err
		}
		return up(ctx, c, *jobs, stdout, stderr)
	case "down":
		return asRoot(func() error { return c.Down(ctx) })
	case "connect":
		if fs.NArg() != 2 {
			return errors.New("connect takes the name of another cluster")
		}
		other, err := kube.At(fs.Arg(1), stderr)
		if err != nil {
			return err
		}
		return asRoot(func() error { return c.Connect(ctx, other) })
	case "reboot":
		return asRoot(func() error { return c.Reboot(ctx) })
	case "status":
		return c.Status(ctx)
	case "load":
		for _, file := range fs.Args()[1:] {
			path, err := filepath.Abs(file)
			if err != nil {
				return err
			}
			if err := c.Load(ctx, path); err != nil {
				return err
			}
		}
		return nil
	case "load-program":
		if fs.NArg() < 3 {
			return errors.New("load-program takes a program, the name of the image, and names that lead to the program")
		}
		return c.LoadProgram(ctx, fs.Arg(1), fs.Arg(2), fs.Args()[3:]...)
	case "load-balancer": // `up` starts it inside the node
		return c.ServeLoadBalancers(ctx)
	case "kubectl":
		return c.Kubectl(fs.Args()[1:])
	case "build":
		_, err := build(ctx, *jobs, stderr)
		return err
	case "packages":
		fmt.Fprintln(stdout, strings.Join(programs.Missing(), " "))
		return nil
	default:
		fs.Usage()
		return flag.ErrHelp
	}
}

func up(ctx context.Context, c *kube.Cluster, jobs string, stdout, stderr io.Writer) error {
	return asRoot(func() error {
		if err := programs.CheckDebian(); err != nil {
			return err
		}
		if c.Status(ctx) != nil {
			folder, err := build(ctx, jobs, stderr)
			if err != nil {
				return err
			}
			c.Programs = folder
			if err := c.Up(ctx); err != nil {
				return err
			}
		}
		_, err := fmt.Fprintln(stdout, c.Kubeconfig())
		return err
	})
}

func build(ctx context.Context, jobs string, stderr io.Writer) (string, error) {
	source, err := findSource()
	if err != nil {
		return "", err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	return programs.Builder{Source: source, Cache: filepath.Join(cache, "meshctl-ci"), Jobs: jobs, Log: stderr}.Build(ctx)
}

// findSource looks for this module's folder: here, or from here upwards.
func findSource() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; ; dir = filepath.Dir(dir) {
		for _, d := range []string{dir, filepath.Join(dir, "test", "cluster")} {
			b, err := os.ReadFile(filepath.Join(d, "go.mod"))
			if err == nil && strings.HasPrefix(string(b), "module github.com/meshctl/meshctl/test/cluster\n") {
				return d, nil
			}
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("this is to be run in a checkout of meshctl: Kubernetes is built from test/cluster")
		}
	}
}

func asRoot(do func() error) error {
	if os.Geteuid() != 0 {
		return errors.New("only root can make a node: it has namespaces, cgroups and mounts of its own")
	}
	return do()
}
