// Package gateways is the command `meshctl gateways`.
package gateways

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/inspection"
	"github.com/meshctl/meshctl/internal/cli/stdio"
	"github.com/meshctl/meshctl/internal/inspect"
)

// Options of the command.
type Options struct {
	Env *env.Env
	env.WorldFlags

	Name   string // of one gateway; "" for all
	Format stdio.Format
}

// NewCmd makes the command; run, if not nil, takes the place of its work.
func NewCmd(e *env.Env, run func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Env: e, Format: stdio.Formats(stdio.Wide, stdio.CSV)}
	cmd := &cobra.Command{
		Use:     "gateways [NAME[.NAMESPACE]]",
		Aliases: []string{"exposed"},
		Short:   "List what the mesh exposes: addresses, hosts, certificates, and where they lead",
		Long: `List every way into the mesh: Gateways of Istio's, Gateways of the Gateway API with
their ListenerSets, and Ingresses. Each line is one port for some hosts: where clients
find it, the certificate and until when it is good, and where its routes lead. What is
wrong follows its line: nobody serves it, no route, a certificate that is missing, for
other names, or about to expire, and a host that takes whatever name is asked for.

-o wide adds each route with the object that wrote it. It is about the running mesh, or
about files.`,
		Example: `  meshctl gateways
  meshctl gateways -o wide
  meshctl gateways bookinfo-gateway
  meshctl gateways --use-kube=false --files samples/bookinfo
  meshctl gateways -o jsonpath='{.items[*].ports[*].warnings}'`,
		Args: env.Args(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				o.Name = args[0]
			}
			if run != nil {
				return run(cmd.Context(), o)
			}
			return Run(cmd.Context(), o)
		},
	}
	o.Add(e, cmd)
	o.Format.AddFlag(cmd)
	return cmd
}

// Run does it.
func Run(ctx context.Context, o *Options) error {
	w, findings, err := inspection.Load(ctx, o.Env, o.WorldFlags)
	if err != nil {
		return err
	}
	all := inspect.New(w, findings).Exposures(o.Env.Now(), o.published(ctx, w.Running()))
	if o.Name != "" {
		var names []string
		for _, e := range all {
			names = append(names, e.Name+"."+e.Namespace)
		}
		all = slices.DeleteFunc(all, func(e *inspect.Exposure) bool {
			return o.Name != e.Name+"."+e.Namespace && (o.Name != e.Name || e.Namespace != o.Env.Namespace())
		})
		if len(all) == 0 {
			return inspection.NotFound("gateway", o.Name, o.Env.Namespace(), names)
		}
	}
	if err := o.Env.IO.Print(o.Format, stdio.Document{
		Kind: "GatewayList", Items: all, Table: func() stdio.Table { return table(all, o.Format.Is(stdio.Wide, stdio.CSV)) },
		Empty: "nothing is exposed: there is no Gateway and no Ingress",
	}); err != nil {
		return err
	}
	return nil
}

// published are the ports of a mesh on this machine, by namespace/service:port.
func (o *Options) published(ctx context.Context, running bool) map[string]string {
	if !o.UseMesh || !running {
		return nil
	}
	m, err := o.Env.Mesh(ctx)
	if err != nil || m.Cluster != nil {
		return nil
	}
	l, err := o.Env.Local(ctx)
	if err != nil {
		return nil
	}
	s, err := l.Status(ctx)
	if err != nil {
		return nil
	}
	out := map[string]string{}
	for _, p := range s.Publications {
		if p.Error == "" {
			out[p.Target] = p.Address
		}
	}
	return out
}

var titles = map[string]string{"istio": "Gateway", "gateway-api": "Gateway API", "ingress": "Ingress"}

// table has one line for each port of a gateway; with wide, one for each route.
func table(all []*inspect.Exposure, wide bool) stdio.Table {
	t := stdio.Table{
		Columns: []string{"NAMESPACE", "NAME", "KIND", "ADDRESS", "PORT", "PROTOCOL", "HOSTS", "TLS", "TO", "WORKLOADS", "MATCH", "ROUTE"},
		Wide:    map[int]bool{9: true, 10: true, 11: true},
	}
	for _, e := range all {
		head := []string{e.Namespace, e.Name, titles[e.API], few(e.Addresses, 2)}
		if len(e.Ports) == 0 {
			t.Add(append(head, "-", "-", "-", "-", "-", few(e.Workloads, 3), "-", "-")...)
		}
		for i, p := range e.Ports {
			row := append(slices.Clone(head), p.PortText(), p.Protocol, few(p.Hosts, 3), dash(p.TLS.Text(e.Namespace)))
			if !wide || len(p.Routes) == 0 {
				t.Add(append(row, few(p.Summary(), 3), few(e.Workloads, 3), "-", "-")...)
			} else {
				for _, r := range p.Routes {
					to := r.Answer
					if to == "" {
						to = strings.Join(r.To, ", ")
					}
					t.Add(append(slices.Clone(row), dash(to), few(e.Workloads, 3), dash(r.Match), r.Kind+" "+r.Name+"."+r.Namespace)...)
				}
			}
			warnings := p.Warnings
			if i == len(e.Ports)-1 {
				warnings = slices.Concat(warnings, e.Warnings)
			}
			note(&t, warnings)
		}
		if len(e.Ports) == 0 {
			note(&t, e.Warnings)
		}
	}
	return t
}

func note(t *stdio.Table, warnings []string) {
	if len(warnings) > 0 {
		t.Note("! " + strings.Join(warnings, "\n    ! "))
	}
}

// few joins the first of a list, and counts the rest.
func few(list []string, n int) string {
	switch {
	case len(list) == 0:
		return "-"
	case len(list) > n:
		return strings.Join(list[:n], ", ") + ", …"
	default:
		return strings.Join(list, ", ")
	}
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
