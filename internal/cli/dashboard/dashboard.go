// Package dashboard is the command `meshctl dashboard`: it leads a port of this
// machine to a web page of the mesh, and opens it.
package dashboard

import (
	"context"
	"net"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/cli/stdio"
)

// Options of the command.
type Options struct {
	Env *env.Env

	Port      int
	Address   string
	Browser   bool
	AdminPort int
	Selector  string
}

// NewCmd makes the command with all below it.
func NewCmd(e *env.Env) *cobra.Command {
	o := &Options{Env: e}
	all := false
	cmd := &cobra.Command{
		Use:     "dashboard",
		Aliases: []string{"dash", "d"},
		Short:   "Open Kiali, Grafana, a proxy's own page and others in a browser",
		Long: `Lead a port of this machine to a web page in the mesh, and open it, until Ctrl-C. What
is looked for may be in any namespace: its Service or label counts, and a pod that is
ready. When the pod goes, the next one takes its place. For one that is not installed
the page of the control plane is opened, and how to install it is said.`,
		Example: `  meshctl dashboard kiali
  meshctl dashboard proxy productpage-v1
  meshctl dashboard controlplane --browser=false --port 9000
  meshctl dashboard --all`,
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case len(args) > 0:
				return exit.Usagef("there is no dashboard %q", args[0]).Try("one of: %s, proxy, controlplane, mesh", strings.Join(names(), ", "))
			case !all:
				return cmd.Help()
			}
			return o.all(cmd.Context())
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "print the addresses of all that are there")
	f := cmd.PersistentFlags()
	f.IntVarP(&o.Port, "port", "p", 0, "`port` of this machine (default that of the page, or any when it is in use)")
	f.StringVar(&o.Address, "address", "localhost", "`address` of this machine to listen on")
	f.BoolVar(&o.Browser, "browser", true, "open a browser; false: only print the URL")
	for _, t := range tools() {
		cmd.AddCommand(o.forTool(t))
	}
	cmd.AddCommand(o.forProxy(), o.forControlPlane())
	return cmd
}

func (o *Options) forTool(t tool) *cobra.Command {
	cmd := &cobra.Command{
		Use: t.name, Short: "Open " + t.title, Args: env.Args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			m, err := o.Env.Mesh(cmd.Context())
			if err != nil {
				return err
			}
			t.fixed = cmd.Flags().Changed("ui-port")
			err = o.open(cmd.Context(), o.pageOf(m, t))
			if !missing(err) {
				return err
			}
			return o.instead(cmd.Context(), m, err)
		},
	}
	cmd.Flags().IntVar(&t.port, "ui-port", t.port, "`port` of the pod that has the page, whatever its Service says")
	return cmd
}

func (o *Options) pageOf(m *env.Mesh, t tool) page {
	return page{name: t.name, port: t.port, path: t.path, find: func(ctx context.Context) (way, error) {
		return findTool(ctx, m, t, o.preferred())
	}}
}

// instead opens what the control plane shows of itself in place of a page that is not
// installed. It still ends with the code of that error: what was asked for is not there.
func (o *Options) instead(ctx context.Context, m *env.Mesh, err error) error {
	url, serve, builtinErr := o.listen(ctx, o.controlPlane(m), o.Port)
	if builtinErr != nil {
		return err
	}
	exit.Print(o.Env.IO.Err, err, func(s string) string { return o.Env.IO.ErrPaint(stdio.Bold, s) })
	o.Env.IO.Sayf("opened instead: what the control plane itself shows\n")
	if err := o.show(ctx, url, serve); err != nil {
		return err
	}
	return exit.Silent(exit.CodeOf(err))
}

func (o *Options) forProxy() *cobra.Command {
	cmd := &cobra.Command{
		Use: "proxy [POD]", Aliases: []string{"envoy"}, Short: "Open the admin page of a pod's proxy",
		Example: `  meshctl dashboard proxy productpage-v1
  meshctl dashboard proxy deploy/reviews-v1 -n default
  meshctl dashboard proxy -l app=reviews`,
		Args:              env.Args(0, 1),
		ValidArgsFunction: o.Env.CompletePods,
		RunE: func(cmd *cobra.Command, args []string) error {
			if (len(args) == 1) == (o.Selector != "") {
				return exit.Usagef("say whose proxy: one POD, or labels with -l").Try("meshctl get pods -o wide")
			}
			selector, err := env.ParseSelector(o.Selector)
			if err != nil {
				return err
			}
			m, err := o.Env.Mesh(cmd.Context())
			if err != nil {
				return err
			}
			return o.open(cmd.Context(), page{name: "proxy", port: o.AdminPort, path: "/", find: func(ctx context.Context) (way, error) {
				if len(args) == 0 {
					return o.labelled(ctx, m, selector)
				}
				p, err := o.Env.FindPod(ctx, m, args[0])
				if err == nil && p.Proxy == "none" {
					err = exit.Failuref("pod %s.%s has no proxy", p.Name, p.Namespace).Try("meshctl get pods -o wide")
				}
				return toPod(m, p, o.AdminPort), err
			}})
		},
	}
	cmd.Flags().StringVarP(&o.Selector, "selector", "l", "", "of a pod with these `labels`, one that is ready before others")
	cmd.Flags().IntVar(&o.AdminPort, "proxy-admin-port", 15000, "`port` of the proxy's admin interface")
	return cmd
}

// labelled is the way to a pod with a proxy that has the labels.
func (o *Options) labelled(ctx context.Context, m *env.Mesh, selector labels.Selector) (way, error) {
	pods, err := m.ProxiesLabelled(ctx, o.Env.Settings.Namespace, selector)
	if err != nil {
		return way{}, err
	}
	return toPod(m, pods[max(0, slices.IndexFunc(pods, usable))], o.AdminPort), nil
}

// forControlPlane opens what the control plane shows of itself. ControlZ is the page
// of Istio's own control plane for the same end.
func (o *Options) forControlPlane() *cobra.Command {
	cmd := &cobra.Command{
		Use: "controlplane", Aliases: []string{"istiod-debug", "controlz", "mesh"}, Short: "Open what the control plane holds: proxies, services, objects",
		Args: env.Args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			m, err := o.Env.Mesh(cmd.Context())
			if err != nil {
				return err
			}
			return o.open(cmd.Context(), o.controlPlane(m))
		},
	}
	o.Env.RevisionFlag(cmd)
	return cmd
}

// open serves one page until ctx ends.
func (o *Options) open(ctx context.Context, p page) error {
	url, serve, err := o.listen(ctx, p, o.Port)
	if err != nil {
		return err
	}
	return o.show(ctx, url, serve)
}

// show prints and opens a URL, and serves it until ctx ends.
func (o *Options) show(ctx context.Context, url string, serve func(context.Context) error) error {
	o.Env.IO.Printf("%s\n", url)
	if o.Browser {
		o.browse(ctx, url)
	}
	o.Env.IO.Sayf("Ctrl-C ends it\n")
	return serve(ctx)
}

// all serves every page that is there.
func (o *Options) all(ctx context.Context) error {
	m, err := o.Env.Mesh(ctx)
	if err != nil {
		return err
	}
	if o.Port != 0 {
		return exit.Usagef("--port is for one page, and --all opens several")
	}
	pages := []page{o.controlPlane(m)}
	for _, t := range tools() {
		pages = append(pages, o.pageOf(m, t))
	}
	var serving []func(context.Context) error
	var absent []string
	code := exit.Unreachable // of the first that cannot be opened
	for _, p := range pages {
		url, serve, err := o.listen(ctx, p, 0)
		if missing(err) {
			absent = append(absent, p.name)
			continue
		}
		if err != nil {
			if p.name == pages[0].name {
				code = exit.CodeOf(err)
			}
			o.Env.IO.Sayf("%s: %v\n", p.name, err)
			continue
		}
		o.Env.IO.Printf("%-14s %s\n", p.name, url)
		serving = append(serving, serve)
	}
	if len(absent) > 0 {
		o.Env.IO.Sayf("not installed: %s\n", strings.Join(absent, ", "))
	}
	if len(serving) == 0 {
		return exit.New(code, "no page of the mesh can be opened").Try("meshctl check")
	}
	o.Env.IO.Sayf("Ctrl-C ends them\n")
	done := make(chan error, len(serving))
	for _, s := range serving {
		go func() { done <- s(ctx) }()
	}
	for range serving {
		err = <-done
	}
	return err
}

// preferred are the namespaces that are looked at first.
func (o *Options) preferred() []string {
	return []string{o.Env.Settings.IstioNamespace, o.Env.Namespace()}
}

// browse opens a browser; where there is none, the URL has been printed.
func (o *Options) browse(ctx context.Context, url string) {
	program := map[string]string{"darwin": "open", "windows": "explorer"}[runtime.GOOS]
	if program == "" {
		program = "xdg-open"
	}
	path, err := exec.LookPath(program)
	if err != nil {
		o.Env.IO.Sayf("there is no %s to open a browser with: open the address by hand\n", program)
		return
	}
	cmd := exec.CommandContext(context.WithoutCancel(ctx), path, url) // the browser outlives this
	if err := cmd.Start(); err != nil {
		o.Env.IO.Sayf("cannot open a browser: %v\n", err)
		return
	}
	go func() { _ = cmd.Wait() }()
}

func hostPort(address string, port int) string { return net.JoinHostPort(address, strconv.Itoa(port)) }
