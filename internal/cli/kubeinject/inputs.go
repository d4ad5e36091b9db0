package kubeinject

import (
	"cmp"
	"context"
	"os"
	"strconv"

	"sigs.k8s.io/yaml"

	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/cli/injection"
	"github.com/meshctl/meshctl/internal/inject"
	"github.com/meshctl/meshctl/internal/kube"
	"github.com/meshctl/meshctl/internal/version"
)

// inputs are what the pods are made with: each part from its file, else from the cluster.
func (o *Options) inputs(ctx context.Context) (inject.Inputs, error) {
	in := inject.Inputs{Namespace: inject.Namespace{Name: o.Env.Namespace()}}
	var cluster *kube.Client
	connect := func() (*kube.Client, error) {
		if cluster != nil {
			return cluster, nil
		}
		c, _, err := o.Env.ConnectedCluster(ctx)
		if err != nil {
			return nil, err
		}
		if o.Revision == "" {
			if o.Revision, err = injection.Revision(ctx, c, o.Env.Settings.IstioNamespace); err != nil {
				return nil, err
			}
		}
		cluster = c
		return c, nil
	}
	if err := o.mesh(ctx, &in, connect); err != nil {
		return in, err
	}
	if err := o.values(ctx, &in, connect); err != nil {
		return in, err
	}
	if err := o.istioConfig(&in); err != nil {
		return in, err
	}
	in.Revision = cmp.Or(o.Revision, "default")
	if o.Native != "auto" {
		on, err := strconv.ParseBool(o.Native)
		if err != nil {
			return in, exit.Usagef("--nativeSidecars: %q is not auto, true or false", o.Native)
		}
		in.NativeSidecars = on
		return in, nil
	}
	if cluster == nil {
		return in, nil // offline: the way that works everywhere
	}
	var err error
	in.NativeSidecars, err = injection.NativeSidecars(ctx, cluster)
	return in, err
}

func (o *Options) mesh(ctx context.Context, in *inject.Inputs, connect func() (*kube.Client, error)) error {
	name := o.MeshConfigFile
	var text []byte
	if name != "" {
		b, err := os.ReadFile(name)
		if err != nil {
			return exit.Dataf("cannot read %s", name).Because(err)
		}
		text = b
	} else {
		c, err := connect()
		if err != nil {
			return o.offline(err)
		}
		name = cmp.Or(o.MeshConfigMap, injection.Name("istio", o.Revision))
		got, err := injection.ConfigMap(ctx, c, o.Env.Settings.IstioNamespace, name, "mesh")
		if err != nil {
			return err
		}
		text, name = []byte(got), "ConfigMap "+name
	}
	var err error
	in.Mesh, err = injection.Mesh(name, text)
	return err
}

func (o *Options) values(ctx context.Context, in *inject.Inputs, connect func() (*kube.Client, error)) error {
	name := o.ValuesFile
	var text []byte
	if name != "" {
		b, err := os.ReadFile(name)
		if err != nil {
			return exit.Dataf("cannot read %s", name).Because(err)
		}
		if text, err = yaml.YAMLToJSON(b); err != nil {
			return exit.Dataf("%s is neither YAML nor JSON", name).Because(err)
		}
	} else {
		c, err := connect()
		if err != nil {
			return o.offline(err)
		}
		name = cmp.Or(o.InjectMap, injection.Name("istio-sidecar-injector", o.Revision))
		got, err := injection.ConfigMap(ctx, c, o.Env.Settings.IstioNamespace, name, "values")
		if err != nil {
			return err
		}
		text, name = []byte(got), "ConfigMap "+name
	}
	var err error
	if in.Values, err = inject.ParseValues(text, version.Get()); err != nil {
		return exit.Dataf("%s cannot be used", name).Because(err)
	}
	return nil
}

// offline explains that no cluster can be asked; that one has no revision to go by is
// another thing.
func (o *Options) offline(err error) error {
	if exit.CodeOf(err) == exit.Usage {
		return err
	}
	return exit.New(exit.Unreachable, "what to add to workloads is read from a cluster, and none can be asked").Because(err).
		Try("meshctl kube-inject -f FILE --meshConfigFile MESH --valuesFile VALUES asks none")
}

// istioConfig takes what has a meaning here from a file in the form of Istio's own.
func (o *Options) istioConfig(in *inject.Inputs) error {
	if o.InjectConfig == "" {
		return nil
	}
	b, err := os.ReadFile(o.InjectConfig)
	if err != nil {
		return exit.Dataf("cannot read %s", o.InjectConfig).Because(err)
	}
	var c injection.IstioConfig
	if err := yaml.Unmarshal(b, &c); err != nil {
		return exit.Dataf("%s is no injection config", o.InjectConfig).Because(err)
	}
	if c.Policy == "disabled" {
		return exit.Dataf("%s: policy disabled is not supported: say which pods with neverInjectSelector", o.InjectConfig)
	}
	if len(c.Templates) > 0 {
		o.Env.IO.Sayf("%s: templates are not used: what is added is built in, and changed by values and annotations\n", o.InjectConfig)
	}
	w := &in.Values.Webhook
	w.AlwaysInjectSelector = append(w.AlwaysInjectSelector, c.AlwaysInjectSelector...)
	w.NeverInjectSelector = append(w.NeverInjectSelector, c.NeverInjectSelector...)
	for k, v := range c.InjectedAnnotations {
		if w.InjectedAnnotations == nil {
			w.InjectedAnnotations = map[string]string{}
		}
		w.InjectedAnnotations[k] = v
	}
	return nil
}
