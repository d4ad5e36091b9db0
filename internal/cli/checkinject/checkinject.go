// Package checkinject is the command `meshctl check-inject`.
package checkinject

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"

	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/cli/injection"
	"github.com/meshctl/meshctl/internal/cli/stdio"
	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/inject"
	"github.com/meshctl/meshctl/internal/kube"
)

// Options of the command.
type Options struct {
	Env *env.Env

	Target string
	Labels string
	Format stdio.Format
}

// NewCmd makes the command; run, if not nil, takes the place of its work.
func NewCmd(e *env.Env, run func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Env: e, Format: stdio.Formats()}
	cmd := &cobra.Command{
		Use:   "check-inject [TYPE/]NAME",
		Short: "Say which webhook injects a pod, or why none does",
		Long: `Say for a pod, or for the pods of a workload, which webhook of the cluster injects
them, and why the others do not; and what injection would say about them. The exit
code is 79 when the pod would be refused, or asked for twice.`,
		Example: `  meshctl check-inject details-v1-7b65fdf7f5-rqpz2
  meshctl check-inject deployment/details-v1 -n bookinfo
  meshctl check-inject -l app=details`,
		Args: env.Args(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				o.Target = args[0]
			}
			if (o.Target == "") == (o.Labels == "") {
				return exit.Usagef("check-inject needs a pod, a workload or -l LABELS, and only one of them").Try("meshctl check-inject deployment/NAME")
			}
			if run != nil {
				return run(cmd.Context(), o)
			}
			return Run(cmd.Context(), o)
		},
	}
	cmd.Flags().StringVarP(&o.Labels, "labels", "l", "", "`labels` of a pod that need not be there, such as app=web,version=v1")
	o.Format.AddFlag(cmd)
	return cmd
}

// row is what is said of one webhook.
type row struct {
	Webhook  string `json:"webhook"`
	Revision string `json:"revision"`
	Injected bool   `json:"injected"`
	Reason   string `json:"reason"`
}

// result is what is said of a pod.
type result struct {
	Namespace string            `json:"namespace"`
	Pod       string            `json:"pod"`
	Webhooks  []row             `json:"webhooks"`
	Decision  *inject.Decision  `json:"decision,omitempty"`
	Findings  []diag.Diagnostic `json:"findings"`
}

// Run does it.
func Run(ctx context.Context, o *Options) error {
	c, _, err := o.Env.ConnectedCluster(ctx)
	if err != nil {
		return err
	}
	pod, owner, err := o.find(ctx, c)
	if err != nil {
		return err
	}
	var ns corev1.Namespace
	if err := injection.Get(ctx, c, injection.Namespaces, "", pod.Namespace, &ns); err != nil {
		return c.Explain(err, "read namespace "+pod.Namespace)
	}
	injectors, err := injection.Injectors(ctx, c)
	if err != nil {
		return err
	}
	r := result{Namespace: pod.Namespace, Pod: pod.Name, Webhooks: []row{}, Findings: []diag.Diagnostic{}}
	var by *injection.Injector
	for _, i := range injectors {
		yes, why := i.Selects(&ns, pod.Labels)
		if yes && !i.Trusted {
			why += "; it has no certificate yet, so the pod cannot be made"
		}
		r.Webhooks = append(r.Webhooks, row{i.Name, i.Revision, yes, why})
		if yes {
			by = &i
		}
	}
	if by != nil {
		in, err := injection.FromCluster(ctx, c, o.Env.Settings.IstioNamespace, by.Revision)
		if err != nil {
			return err
		}
		in.Namespace, in.Owner = inject.Namespace{Name: pod.Namespace}, owner
		got, ds := inject.Mutate(pod, in)
		r.Decision, r.Findings = &got.Decision, append(r.Findings, ds...)
	}
	return o.print(r)
}

func (o *Options) print(r result) error {
	asked := 0
	t := stdio.Table{Columns: []string{"WEBHOOK", "REVISION", "INJECTED", "REASON"}}
	for _, w := range r.Webhooks {
		mark := "✘"
		if w.Injected {
			mark = "✔"
			asked++
		}
		t.Add(w.Webhook, w.Revision, mark, w.Reason)
	}
	err := o.Env.IO.Print(o.Format, stdio.Document{
		Value: r, Table: func() stdio.Table { return t },
		Empty: "there is no injection webhook in the cluster: no mesh is installed, or only a remote one's",
	})
	if err != nil {
		return err
	}
	if !o.Format.IsStructured() {
		o.say(r, asked)
	}
	if worst, any := diag.Worst(r.Findings); asked > 1 || any && worst == diag.Error {
		return exit.Silent(exit.Findings)
	}
	return nil
}

func (o *Options) say(r result, asked int) {
	o.Env.SayFindings(r.Findings)
	worst, any := diag.Worst(r.Findings)
	switch {
	case asked > 1:
		o.Env.IO.Sayf("%d webhooks are asked for this pod; the first one to answer injects it\n", asked)
	case asked == 0:
	case any && worst == diag.Error:
		o.Env.IO.Sayf("the pod would be refused\n")
	case !r.Decision.Inject:
		o.Env.IO.Sayf("the webhook leaves the pod alone: %s\n", r.Decision.Reason)
	}
}

// typed are the kinds that can be named, as the arguments write them.
var typed = map[string]string{
	"pod": "pods", "po": "pods", "deployment": "deployments", "deploy": "deployments", "statefulset": "statefulsets", "sts": "statefulsets",
	"daemonset": "daemonsets", "ds": "daemonsets", "replicaset": "replicasets", "rs": "replicasets", "job": "jobs", "cronjob": "cronjobs", "cj": "cronjobs",
}

func errUnknownType(name string) error {
	return exit.Usagef("%q is no type of workload", name).Because(fmt.Errorf("known are pod, deployment, statefulset, daemonset, replicaset, job and cronjob"))
}

func notThere(c *kube.Client, kind, namespace, name string) error {
	return exit.New(exit.Data, "there is no %s %s in namespace %s of %s", kind, name, namespace, c.Name()).Try("name another namespace with -n")
}
