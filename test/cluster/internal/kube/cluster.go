// Package kube is a one-node Kubernetes: the files its programs read, the order
// they start in, and when it is ready.
//
//  1. certificates and kubeconfigs, written once (files.go)
//  2. etcd and the API server; containerd (start.go)
//  3. the node's own images, loaded into containerd (images.go)
//  4. kubelet, kube-proxy, controller manager, scheduler; CoreDNS is applied
//  5. ready: the node says so, and CoreDNS runs
//
// Everything is below one folder and inside one node (package node), so that
// Down can remove it however it got there.
package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/meshctl/meshctl/test/cluster/internal/node"
)

// DefaultPods is the network of pods where none is asked for.
const DefaultPods = "10.244.0.0/16"

// Names inside of the cluster.
const (
	nodeName = "node1"
	domain   = "cluster.local"
)

// Cluster is one on this machine.
type Cluster struct {
	Name     string
	Folder   string
	Programs string // the folder that programs.Builder returned
	Pods     string // network of the pods; clusters that are connected need different ones
	Family   Family
	Log      io.Writer
	link     int
	booted   time.Time
}

// state is what is remembered of a cluster, in cluster.json.
type state struct {
	Link     int       `json:"link"`
	Pods     string    `json:"pods"`
	Family   Family    `json:"family"`
	Programs string    `json:"programs"`
	Booted   time.Time `json:"booted"`
}

// At returns the cluster of that name, running or not.
func At(name string, log io.Writer) (*Cluster, error) {
	if len(name) == 0 || len(name) > 10 || strings.ContainsFunc(name, func(r rune) bool { return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789-", r) }) {
		return nil, fmt.Errorf("the name %q is not one to ten of a-z, 0-9 and -", name)
	}
	c := &Cluster{Name: name, Folder: filepath.Join("/tmp", name), Pods: DefaultPods, Family: IPv4, Log: log}
	b, err := os.ReadFile(c.path("cluster.json"))
	if errors.Is(err, os.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return nil, err
	}
	var s state
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, fmt.Errorf("reading %s: %w", c.path("cluster.json"), err)
	}
	c.link, c.Programs, c.booted = s.Link, s.Programs, s.Booted
	if s.Pods != "" {
		c.Pods = s.Pods
	}
	if s.Family != "" {
		c.Family = s.Family
	}
	return c, nil
}

// Kubeconfig is the path of the administrator's.
func (c *Cluster) Kubeconfig() string { return c.path("kubeconfig") }

func (c *Cluster) path(elem ...string) string {
	return filepath.Join(append([]string{c.Folder}, elem...)...)
}

func (c *Cluster) node() node.Node {
	return node.Node{Name: c.Name, Folder: c.Folder, Link: c.link, IPv6: c.Family != IPv4}
}

func (c *Cluster) say(format string, args ...any) { fmt.Fprintf(c.Log, format+"\n", args...) }

// Up makes the cluster and returns when it is ready. What a former one has left
// behind is taken away first; what fails half-way is left for a look at its logs.
func (c *Cluster) Up(ctx context.Context) error {
	if err := c.Down(ctx); err != nil {
		return fmt.Errorf("clearing what was left: %w", err)
	}
	link, err := node.FreeLink(ctx)
	if err != nil {
		return err
	}
	c.link = link
	for _, dir := range []string{"log", "pki", "conf", "etcd", "images"} {
		if err := os.MkdirAll(c.path(dir), 0o700); err != nil {
			return err
		}
	}
	if err := c.writeFiles(); err != nil {
		return err
	}
	return c.boot(ctx)
}

// remember stores what At reads.
func (c *Cluster) remember() error {
	b, err := json.MarshalIndent(state{Link: c.link, Pods: c.Pods, Family: c.Family, Programs: c.Programs, Booted: c.booted}, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(c.path("cluster.json"), b, 0o600)
}

// Reboot ends everything that runs, as a loss of power does, and starts it again
// on the same disk: the same objects, the same images.
func (c *Cluster) Reboot(ctx context.Context) error {
	if !exists(c.path("cluster.json")) {
		return fmt.Errorf("there is no cluster %s", c.Name)
	}
	if err := c.node().End(ctx); err != nil {
		return err
	}
	return c.boot(ctx)
}

// Connect joins two clusters: the pods of each reach the other's API server and load
// balancers, and its pods by their addresses unless the pods of both have the same range.
// What joins them goes when one of them ends.
func (c *Cluster) Connect(ctx context.Context, other *Cluster) error {
	if c.link == 0 || other.link == 0 {
		return fmt.Errorf("one of the clusters %s and %s is not up", c.Name, other.Name)
	}
	if c.Family == IPv6 || other.Family == IPv6 {
		return fmt.Errorf("one of the clusters %s and %s has IPv6 alone: clusters are connected by IPv4", c.Name, other.Name)
	}
	return c.node().Connect(ctx, other.node(), c.Pods, other.Pods)
}

// Down ends the cluster and removes all of it. Nothing is left, and it is no
// error when nothing was there.
func (c *Cluster) Down(ctx context.Context) error {
	if err := c.node().End(ctx); err != nil {
		return err // the folder stays: something may still be mounted in it
	}
	return os.RemoveAll(c.Folder)
}

// Status says what runs; it fails when the cluster is not all there.
func (c *Cluster) Status(ctx context.Context) error {
	if !exists(c.path("cluster.json")) {
		return fmt.Errorf("there is no cluster %s", c.Name)
	}
	pids, err := c.node().Processes()
	if err != nil {
		return err
	}
	var dead []string
	for _, name := range daemons {
		var pid int
		b, err := os.ReadFile(c.path("log", name+".pid"))
		if err == nil {
			_, err = fmt.Sscan(string(b), &pid)
		}
		if err != nil || !slices.Contains(pids, pid) {
			dead = append(dead, name)
		}
	}
	if len(dead) > 0 {
		return fmt.Errorf("%s: not running: %s (logs are in %s)", c.Name, strings.Join(dead, ", "), c.path("log"))
	}
	if err := c.ready(ctx); err != nil {
		return fmt.Errorf("%s: %w", c.Name, err)
	}
	c.say("%s is ready at %s, %d processes, KUBECONFIG=%s", c.Name, c.address(), len(pids), c.Kubeconfig())
	return nil
}

// Kubectl turns this process into kubectl.
func (c *Cluster) Kubectl(args []string) error {
	if !exists(c.path("cluster.json")) {
		return fmt.Errorf("there is no cluster %s", c.Name)
	}
	program := filepath.Join(c.Programs, "kubectl")
	// Of two variables of a name a program takes the first.
	env := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "KUBECONFIG=") })
	env = append(env, "KUBECONFIG="+c.Kubeconfig())
	if err := syscall.Exec(program, append([]string{program}, args...), env); err != nil {
		return fmt.Errorf("running %s: %w", program, err)
	}
	return nil
}

func exists(path string) bool { _, err := os.Stat(path); return err == nil }
