// Package kubeinject is the command `meshctl kube-inject`.
package kubeinject

import (
	"bytes"
	"context"
	"errors"
	"os"

	"github.com/spf13/cobra"

	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/inject"
)

// Options of the command.
type Options struct {
	Env *env.Env

	Files          []string
	Output         string
	Revision       string
	MeshConfigFile string
	ValuesFile     string
	InjectConfig   string
	MeshConfigMap  string
	InjectMap      string
	Native         string
}

// NewCmd makes the command; run, if not nil, takes the place of its work.
func NewCmd(e *env.Env, run func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Env: e}
	cmd := &cobra.Command{
		Use:   "kube-inject -f FILE",
		Short: "Add sidecars to the workloads of files",
		Long: `Add the sidecar to every Pod, Deployment, StatefulSet, DaemonSet, ReplicaSet, Job,
CronJob and the like of files, and print the result. What is not a workload comes
out as it went in. It is what the webhook does to pods as they are made; use it
where there is no webhook.

What to add is read from the cluster. With --meshConfigFile and --valuesFile no
cluster is asked.`,
		Example: `  meshctl kube-inject -f deployment.yaml | kubectl apply -f -
  kubectl get deployment web -o yaml | meshctl kube-inject -f - | kubectl apply -f -
  meshctl kube-inject -f app.yaml --meshConfigFile mesh.yaml --valuesFile values.json`,
		Args: env.Args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(o.Files) == 0 {
				return exit.Usagef("kube-inject needs a file").Try("meshctl kube-inject -f FILE, or -f - for standard input")
			}
			if run != nil {
				return run(cmd.Context(), o)
			}
			return Run(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringArrayVarP(&o.Files, "filename", "f", nil, "`file`, folder, or - for standard input; may be repeated")
	f.StringVarP(&o.Output, "output", "o", "", "`file` to write to (default standard output)")
	f.StringVarP(&o.Revision, "revision", "r", "", "`name` of the control plane (default: the default one, or the only one)")
	f.StringVar(&o.MeshConfigFile, "meshConfigFile", "", "MeshConfig `file`, in place of the cluster's")
	f.StringVar(&o.ValuesFile, "valuesFile", "", "`file` with the values of injection, YAML or JSON, in place of the cluster's")
	f.StringVar(&o.InjectConfig, "injectConfigFile", "", "`file` with selectors and annotations in Istio's form (its templates are not used)")
	f.StringVar(&o.MeshConfigMap, "meshConfigMapName", "", "ConfigMap of the mesh's configuration (default istio, istio-REVISION)")
	f.StringVar(&o.InjectMap, "injectConfigMapName", "", "ConfigMap of the values of injection (default istio-sidecar-injector, …-REVISION)")
	f.StringVar(&o.Native, "nativeSidecars", "auto", "sidecars as init containers that keep running: `true|false`; auto: where the cluster has them")
	return cmd
}

// Run does it.
func Run(ctx context.Context, o *Options) error {
	files, err := o.Env.ReadFiles(o.Files, true)
	if err != nil {
		return err
	}
	in, err := o.inputs(ctx)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	var all []diag.Diagnostic
	for i, f := range files {
		text, ds := inject.Manifest(f.Name, f.Data, in)
		if i > 0 && !bytes.HasPrefix(text, []byte("---")) {
			out.WriteString("---\n")
		}
		out.Write(text)
		if len(text) > 0 && text[len(text)-1] != '\n' {
			out.WriteByte('\n')
		}
		all = append(all, ds...)
	}
	o.Env.SayFindings(all)
	if worst, any := diag.Worst(all); any && worst == diag.Error {
		return exit.Dataf("not every workload can be injected; nothing was written").Because(errors.New("the findings above"))
	}
	if o.Output == "" {
		_, err = o.Env.IO.Out.Write(out.Bytes())
		return err
	}
	if err := os.WriteFile(o.Output, out.Bytes(), 0o600); err != nil {
		return exit.Failuref("cannot write %s", o.Output).Because(err)
	}
	return nil
}
