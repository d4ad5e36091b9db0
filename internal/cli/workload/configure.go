package workload

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	networking "istio.io/api/networking/v1alpha3"

	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/machine"
	"github.com/meshctl/meshctl/internal/resource"
)

// ConfigureOptions of `workload entry configure`.
type ConfigureOptions struct {
	Env *env.Env

	File, Name     string
	Output         string
	ClusterID      string
	AutoRegister   bool
	CaptureDNS     bool
	InternalIP     string
	ExternalIP     string
	IngressIP      string
	IngressService string
	TokenSeconds   int64
	Revision       string
}

func newConfigure(e *env.Env, run func(context.Context, *ConfigureOptions) error) *cobra.Command {
	o := &ConfigureOptions{Env: e}
	cmd := &cobra.Command{
		Use:   "configure (--name NAME | -f FILE) -o FOLDER",
		Short: "Write the files by which a machine joins the mesh",
		Long: `Write the files that a machine of a WorkloadGroup needs: who it is (cluster.env), how
its proxy works (mesh.yaml), whom it believes (root-cert.pem), how it proves once who
it is (istio-token), and where the control plane is (hosts).

The token is a secret, and good for a short time: with it the machine gets a
certificate, which it renews by itself for as long as it is connected.`,
		Example: `  meshctl workload entry configure --name ratings -n bookinfo -o ratings-vm --autoregister
  meshctl workload entry configure -f group.yaml -o ratings-vm --ingressIP 192.0.2.10
  meshctl workload entry configure --context local --name ratings -o ratings-vm --autoregister`,
		Args: env.Args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(); err != nil {
				return err
			}
			if run != nil {
				return run(cmd.Context(), o)
			}
			return Configure(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringVarP(&o.File, "file", "f", "", "`file` with the WorkloadGroup, - for standard input")
	f.StringVar(&o.Name, "name", "", "`name` of the WorkloadGroup in the mesh")
	f.StringVarP(&o.Output, "output", "o", "", "`folder` to write to")
	f.StringVar(&o.ClusterID, "clusterID", "", "`name` of the cluster (default the control plane's)")
	f.BoolVar(&o.AutoRegister, "autoregister", false, "the machine gets a WorkloadEntry when it connects")
	f.BoolVar(&o.CaptureDNS, "capture-dns", true, "the machine's questions for names are answered with names of the mesh")
	f.StringVar(&o.InternalIP, "internalIP", "", "`address` of the machine (default the one it reaches the control plane from)")
	f.StringVar(&o.ExternalIP, "externalIP", "", "`address` at which others reach the machine, without --internalIP")
	f.StringVar(&o.IngressIP, "ingressIP", "", "`address` at which the machine reaches the control plane")
	f.StringVar(&o.IngressService, "ingressService", "istio-eastwestgateway", "`service` whose address that is, in the namespace of the control plane")
	f.Int64Var(&o.TokenSeconds, "tokenDuration", 3600, "how long the token is good for, in `seconds`")
	f.StringVarP(&o.Revision, "revision", "r", "", "revision of the control plane")
	return cmd
}

func (o *ConfigureOptions) check() error {
	switch {
	case (o.Name == "") == (o.File == ""):
		return exit.Usagef("entry configure needs one of --name and --file").Try("meshctl workload entry configure --name GROUP -o FOLDER")
	case o.Output == "":
		return exit.Usagef("entry configure needs a folder to write to").Try("meshctl workload entry configure … -o FOLDER")
	case o.TokenSeconds < 600:
		return exit.Usagef("--tokenDuration %d: a token is good for 600 seconds at least", o.TokenSeconds)
	}
	for flag, v := range map[string]string{"--internalIP": o.InternalIP, "--externalIP": o.ExternalIP, "--ingressIP": o.IngressIP} {
		if _, err := netip.ParseAddr(v); v != "" && err != nil {
			return exit.Usagef("%s: %q is not an IP address", flag, v)
		}
	}
	return nil
}

// home is the mesh that the machine joins.
type home interface {
	// group finds a WorkloadGroup; what is like it is named when it is not there.
	group(ctx context.Context, namespace, name string) (*resource.Object, error)
	// join gives what only the mesh has.
	join(ctx context.Context, o *ConfigureOptions, namespace, account string) (joining, error)
}

// joining is what only the mesh has.
type joining struct {
	token     string
	root      string
	discovery string // host:port
	address   string // of that host; "" when it is not known
	cluster   string
	domain    string // trust domain
	meshID    string
	network   string
	config    map[string]any // defaultConfig of the mesh config
	warnings  []string
}

// Configure does it.
func Configure(ctx context.Context, o *ConfigureOptions) error {
	h, err := o.home(ctx)
	if err != nil {
		return err
	}
	group, err := o.group(ctx, h)
	if err != nil {
		return err
	}
	spec, err := resource.SpecOf[*networking.WorkloadGroup](group)
	if err != nil {
		return err
	}
	account := spec.GetTemplate().GetServiceAccount()
	if account == "" {
		account = "default"
	}
	j, err := h.join(ctx, o, group.Key.Namespace, account)
	if err != nil {
		return err
	}
	files, err := o.files(group, spec, account, j)
	if err != nil {
		return err
	}
	if err := write(o.Output, files); err != nil {
		return err
	}
	for _, w := range j.warnings {
		o.Env.IO.Sayf("warning: %s\n", w)
	}
	o.report(group, account)
	return nil
}

func (o *ConfigureOptions) report(group *resource.Object, account string) {
	o.Env.IO.Printf("%s holds the files of a machine of WorkloadGroup %s/%s, which runs as %s\n", o.Output, group.Key.Namespace, group.Key.Name, account)
	o.Env.IO.Printf("the token in %s is good until %s\n", machine.FileToken, o.Env.Now().Add(time.Duration(o.TokenSeconds)*time.Second).Format("2006-01-02 15:04:05 MST"))
	name := filepath.Base(filepath.Clean(o.Output))
	o.Env.IO.Sayf("next:  copy the folder to the machine, then there, as root:\n       meshproxy capture --config %s\n       meshproxy proxy sidecar --config %s\n", name, name)
}

// home decides between a mesh on this machine and a cluster.
func (o *ConfigureOptions) home(ctx context.Context) (home, error) {
	m, err := o.Env.Mesh(ctx)
	if err != nil {
		return nil, err
	}
	if m.Cluster == nil {
		l, err := o.Env.Local(ctx)
		if err != nil {
			return nil, err
		}
		return localHome{l}, nil
	}
	client, _, err := o.Env.ConnectedCluster(ctx)
	if err != nil {
		return nil, err
	}
	return clusterHome{client, o.Env.Settings.IstioNamespace}, nil
}

// group reads the WorkloadGroup from a file or from the mesh.
func (o *ConfigureOptions) group(ctx context.Context, h home) (*resource.Object, error) {
	if o.File == "" {
		return h.group(ctx, o.Env.Namespace(), o.Name)
	}
	files, err := o.Env.ReadFiles([]string{o.File}, false)
	if err != nil {
		return nil, err
	}
	var found []*resource.Object
	for _, f := range files {
		objects, ds := resource.Decode(f.Name, f.Data, resource.Options{DefaultNamespace: o.Env.Namespace()})
		for _, x := range objects {
			if x.Key.Kind == resource.KindWorkloadGroup {
				found = append(found, x)
				ds = append(ds, resource.Validate(x)...)
			}
		}
		if worst, any := diag.Worst(ds); any && worst == diag.Error {
			o.Env.SayFindings(ds)
			return nil, exit.Dataf("%s holds a WorkloadGroup that cannot be used", o.File).Because(errors.New("the findings above"))
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return nil, exit.Dataf("%s holds no WorkloadGroup", o.File).Try("meshctl workload group create --name NAME > %s", o.File)
	default:
		return nil, exit.Dataf("%s holds %d WorkloadGroups, and the files are for one", o.File, len(found)).Try("meshctl workload entry configure --name %s …", found[0].Key.Name)
	}
}

// missingGroup says that a group is not there, and what is like it.
func missingGroup(namespace, name string, there []string) error {
	e := exit.Dataf("there is no WorkloadGroup %s/%s", namespace, name)
	if len(there) > 0 {
		e = e.Because(errors.New("namespace " + namespace + " has " + strings.Join(there, ", ")))
		if near := resource.Nearest(name, there); near != "" {
			e = e.Try("did you mean: --name %s?", near)
		}
	}
	return e.Try("meshctl workload group create --name %s -n %s --serviceAccount ACCOUNT | kubectl apply -f -", name, namespace)
}

// write puts the files into a folder. The token is for the owner alone.
func write(dir string, files map[string]string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return exit.Failuref("cannot make the folder %s", dir).Because(err)
	}
	for name, text := range files {
		mode := os.FileMode(0o644)
		if name == machine.FileToken {
			mode = 0o600
		}
		path := filepath.Join(dir, name)
		if err := errors.Join(os.WriteFile(path, []byte(text), mode), os.Chmod(path, mode)); err != nil {
			return exit.Failuref("cannot write %s", path).Because(err)
		}
	}
	return nil
}
