// Package up is the command `meshctl up`.
package up

import (
	"context"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/inject"
	"github.com/meshctl/meshctl/internal/local"
	"github.com/meshctl/meshctl/internal/local/network"
)

// Options of the command.
type Options struct {
	Env *env.Env

	Paths      []string // of manifests; empty: the embedded Bookinfo
	Name       string
	Foreground bool
	HTTPPort   int
	HTTPSPort  int
	Publish    []string // SERVICE-PORT=HOST-PORT
	Address    string
	Closed     bool
	Network    string // auto, namespaces or explicit
	NoIngress  bool
	DataPlane  string // native or envoy
	Envoy      string // program; "": found
	Consul     string // address of an agent
	ConsulAuth string // file with its ACL token
	CA         string
	KeyRoots   string // file of roots for issuers of tokens
	CertTTL    time.Duration
	Timeout    time.Duration
	LogLevel   string
}

// NewCmd makes the command; run, if not nil, takes the place of its work.
func NewCmd(e *env.Env, run func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Env: e}
	var files []string
	cmd := &cobra.Command{
		Use:   "up [FOLDER|FILE...]",
		Short: "Start a whole mesh on this machine: no root, no cluster, no container engine",
		Long: `Start a mesh on this machine from ordinary Kubernetes manifests: every Deployment's
replicas run as processes in network namespaces of their own, each with a sidecar,
mutual TLS and an ingress gateway in front. Without a folder, the Bookinfo sample
that is built in is started.

The mesh runs on in the background until ` + "`meshctl down`" + `. It follows the folder:
an edited file takes effect at once, and a broken edit leaves the last good version
in force. A second up of the same folder only says what runs.

Where namespaces are forbidden the mesh runs without: pods share this machine's
loopback, programs reach others through HTTP_PROXY, and nothing is captured
(--network).`,
		Example: `  meshctl up                              # the built-in Bookinfo
  meshctl up samples/bookinfo             # a folder; meshctl-local.yaml in it maps images to programs
  meshctl up ./manifests --http-port 9000
  meshctl up --name staging ./manifests   # several meshes side by side
  meshctl up --dataplane envoy            # sidecars and gateway are stock Envoys
  meshctl up --foreground                 # stay, show what happens, end with Ctrl-C`,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Paths = slices.Concat(args, files)
			if err := o.check(); err != nil {
				return err
			}
			if run != nil {
				return run(cmd.Context(), o)
			}
			return Run(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringArrayVarP(&files, "filename", "f", nil, "`file` or folder; the same as an argument")
	f.StringVar(&o.Name, "name", local.DefaultName, "name of the mesh; its context is local:NAME")
	f.BoolVar(&o.Foreground, "foreground", false, "stay, show what happens, and end the mesh with Ctrl-C")
	f.IntVar(&o.HTTPPort, "http-port", 8080, "`port` of this machine for a gateway's port 80; when it is in use, the next free one")
	f.IntVar(&o.HTTPSPort, "https-port", 8443, "`port` of this machine for a gateway's port 443; when it is in use, the next free one")
	f.StringArrayVar(&o.Publish, "publish", nil, "`SERVICE-PORT=PORT`: where another port of a gateway appears; may be repeated")
	f.StringVar(&o.Address, "address", "127.0.0.1", "`address` of this machine to publish on")
	f.BoolVar(&o.Closed, "closed", false, "let nothing in the mesh reach addresses outside of it")
	f.StringVar(&o.Network, "network", networkAuto, "what connects the pods: `namespaces`, in which everything is captured; explicit, this machine's loopback and HTTP_PROXY; auto: namespaces where this machine allows them")
	f.BoolVar(&o.NoIngress, "no-ingress", false, "start without the ingress gateway")
	f.StringVar(&o.DataPlane, "dataplane", string(inject.Native), "what carries the traffic of pods whose annotation ("+inject.AnnotationDataPlane+") does not say: `native` or envoy")
	f.StringVar(&o.Envoy, "envoy", "", "`path` of a stock Envoy for pods that have one (default $MESH_ENVOY, or envoy in $PATH)")
	f.StringVar(&o.Consul, "consul", "", "`address` of a Consul agent, as http://127.0.0.1:8500, whose services are in the mesh as NAME.service.consul")
	f.StringVar(&o.ConsulAuth, "consul-token-file", "", "`file` with the ACL token for it")
	f.StringVar(&o.KeyRoots, "jwks-extra-root-ca", "", "`file` of certificates (PEM) by which the https servers of issuers of tokens are verified, besides this machine's")
	f.StringVar(&o.CA, "ca", "", "`folder` with ca-cert.pem and ca-key.pem to sign with, in place of a root of the mesh's own")
	f.DurationVar(&o.CertTTL, "cert-ttl", 24*time.Hour, "lifetime of workload certificates; they are renewed before it ends")
	f.DurationVar(&o.Timeout, "timeout", 2*time.Minute, "how long to wait until everything is ready")
	f.StringVar(&o.LogLevel, "log-level", "info", "of the mesh's own log: debug, info, warn or error")
	_ = cmd.RegisterFlagCompletionFunc("name", env.CompleteMeshes)
	_ = cmd.RegisterFlagCompletionFunc("network", cobra.FixedCompletions([]string{networkAuto, string(network.Namespaces), string(network.Explicit)}, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("dataplane", cobra.FixedCompletions([]string{string(inject.Native), string(inject.Envoy)}, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("log-level", cobra.FixedCompletions([]string{"debug", "info", "warn", "error"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// check refuses values that could only fail later.
func (o *Options) check() error {
	for name, port := range map[string]int{"http-port": o.HTTPPort, "https-port": o.HTTPSPort} {
		if port < 1 || port > 65535 {
			return exit.Usagef("--%s %d is not a port: want 1 to 65535", name, port)
		}
	}
	switch o.LogLevel {
	case "debug", "info", "warn", "error":
	default:
		return exit.Usagef("--log-level %q is not one of debug, info, warn, error", o.LogLevel)
	}
	if err := o.checkNetwork(); err != nil {
		return err
	}
	if _, err := inject.ParseDataPlane(o.DataPlane, inject.Native); err != nil {
		return exit.Usagef("--dataplane %q is not one of %s, %s", o.DataPlane, inject.Native, inject.Envoy)
	}
	if o.CertTTL < time.Second {
		return exit.Usagef("--cert-ttl %s is too short: want at least 1s", o.CertTTL)
	}
	if _, err := local.PathsOf(o.Name); err != nil {
		return exit.Usagef("--name is not usable").Because(err)
	}
	_, err := o.publishing()
	return err
}
