package workload

import (
	"context"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	networking "istio.io/api/networking/v1alpha3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/resource"
)

// CreateOptions of `workload group create`.
type CreateOptions struct {
	Env *env.Env

	Name           string
	Labels         []string
	Annotations    []string
	Ports          []string
	ServiceAccount string
}

func newCreate(e *env.Env, run func(context.Context, *CreateOptions) error) *cobra.Command {
	o := &CreateOptions{Env: e}
	cmd := &cobra.Command{
		Use:   "create --name NAME",
		Short: "Print a WorkloadGroup",
		Long: `Print a WorkloadGroup as YAML; nothing is changed. Labels are what Services and
policies select the machines by.`,
		Example: `  meshctl workload group create --name ratings --namespace bookinfo --labels app=ratings,version=v1 \
      --ports http=9080 --serviceAccount bookinfo-ratings | kubectl apply -f -`,
		Args: env.Args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if run != nil {
				return run(cmd.Context(), o)
			}
			return o.print()
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Name, "name", "", "`name` of the group")
	f.StringSliceVarP(&o.Labels, "labels", "l", nil, "labels of its machines: `key=value,…`")
	f.StringSliceVarP(&o.Annotations, "annotations", "a", nil, "annotations of its machines: `key=value,…`")
	f.StringSliceVarP(&o.Ports, "ports", "p", nil, "ports by name: `http=9080,…`")
	f.StringVarP(&o.ServiceAccount, "serviceAccount", "s", "default", "service account that its machines run as")
	return cmd
}

func (o *CreateOptions) print() error {
	if o.Name == "" {
		return exit.Usagef("workload group create needs a name").Try("meshctl workload group create --name NAME")
	}
	g := &networking.WorkloadGroup{
		Metadata: &networking.WorkloadGroup_ObjectMeta{},
		Template: &networking.WorkloadEntry{ServiceAccount: o.ServiceAccount},
	}
	var err error
	if g.Metadata.Labels, err = pairs("--labels", o.Labels); err != nil {
		return err
	}
	if g.Metadata.Annotations, err = pairs("--annotations", o.Annotations); err != nil {
		return err
	}
	ports, err := pairs("--ports", o.Ports)
	if err != nil {
		return err
	}
	for name, text := range ports {
		n, err := strconv.ParseUint(text, 10, 16)
		if err != nil || n == 0 {
			return exit.Usagef("--ports: %s=%s has no port", name, text).Try("--ports http=9080")
		}
		if g.Template.Ports == nil {
			g.Template.Ports = map[string]uint32{}
		}
		g.Template.Ports[name] = uint32(n)
	}
	if len(g.Metadata.Labels)+len(g.Metadata.Annotations) == 0 {
		g.Metadata = nil
	}
	obj, err := resource.FromSpec(resource.KindWorkloadGroup, metav1.ObjectMeta{Name: o.Name, Namespace: o.Env.Namespace()}, g)
	if err != nil {
		return exit.Dataf("the group is not valid").Because(err)
	}
	for _, d := range resource.Validate(obj) {
		if d.Severity == diag.Error {
			return exit.Dataf("the group is not valid: %s: %s", d.Field, d.Message)
		}
	}
	text, err := resource.Encode(obj, resource.YAML)
	if err != nil {
		return err
	}
	_, err = o.Env.IO.Out.Write(text)
	return err
}

// pairs reads key=value.
func pairs(flag string, given []string) (map[string]string, error) {
	var out map[string]string
	for _, p := range given {
		k, v, ok := strings.Cut(p, "=")
		if !ok || k == "" {
			return nil, exit.Usagef("%s: %q is not key=value", flag, p)
		}
		if out == nil {
			out = map[string]string{}
		}
		out[k] = v
	}
	return out, nil
}
