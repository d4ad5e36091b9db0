package meshd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	meshv1 "istio.io/api/mesh/v1alpha1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/identity"
	"github.com/meshctl/meshctl/internal/inject"
	"github.com/meshctl/meshctl/internal/resource"
)

// labelNetwork on the root namespace names the network of a cluster.
const labelNetwork = "topology.istio.io/network"

// settings reads what must be known before anything is served. It tries until it
// succeeds: the API server may not be there yet, a right may come a moment later,
// and a mesh config that is broken must be repaired. To serve with defaults in
// its place would give workloads identities of another trust domain.
func (d *discovery) settings(ctx context.Context, log *slog.Logger) (Settings, error) {
	set := Settings{
		ClusterDomain: "cluster.local", Namespace: d.o.namespace, Account: d.o.revisioned("istiod"),
		Instance: d.o.pod, Cluster: d.o.cluster, MeshConfigMap: d.o.revisioned(meshConfigMap),
		Sources: []string{d.source.Name()}, Logger: log,
		Tokens:   newTokenReviewer(d.client.AuthenticationV1().TokenReviews(), time.Now),
		TokensOf: d.remotes.verifier, RemoteCluster: d.remotes.known,
	}
	d.remotes.tokens = set.Tokens
	if d.consul != nil {
		set.Sources = append(set.Sources, d.consul.Name())
	}
	err := d.insist(ctx, "read the mesh config", func(ctx context.Context) (err error) {
		set.MeshConfig, err = d.meshConfig(ctx)
		return err
	})
	if err != nil {
		return set, err
	}
	set.TrustDomain = set.MeshConfig.GetTrustDomain()
	err = d.insist(ctx, "read the root namespace", func(ctx context.Context) error {
		ns, err := d.client.CoreV1().Namespaces().Get(ctx, d.o.namespace, metav1.GetOptions{})
		if err != nil {
			return fmt.Errorf("namespace %s: %w", d.o.namespace, err)
		}
		set.Network = ns.Labels[labelNetwork]
		return nil
	})
	if err != nil {
		return set, err
	}
	err = d.insist(ctx, "read the cluster's version", func(context.Context) error {
		info, err := d.client.Discovery().ServerVersion()
		if err == nil {
			d.native = inject.NativeSidecars(info.GitVersion)
		}
		return err
	})
	if err != nil {
		return set, err
	}
	err = d.insist(ctx, "load the certificate authority", func(ctx context.Context) (err error) {
		var ca *identity.CA
		ca, err = secretCA(ctx, d.client, d.o.namespace, set.TrustDomain, d.log)
		set.CA = ca
		return err
	})
	return set, err
}

// meshConfig reads the mesh config at the start; none means the defaults.
func (d *discovery) meshConfig(ctx context.Context) (*meshv1.MeshConfig, error) {
	name := d.o.revisioned(meshConfigMap)
	config := resource.DefaultMeshConfig()
	m, err := d.client.CoreV1().ConfigMaps(d.o.namespace).Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		d.log.WarnContext(ctx, "no mesh config, defaults apply", "namespace", d.o.namespace, "config_map", name)
	case err != nil:
		return nil, fmt.Errorf("ConfigMap %s/%s: %w", d.o.namespace, name, err)
	default:
		var ds []diag.Diagnostic
		if config, ds = resource.DecodeMeshConfig("", []byte(m.Data["mesh"])); config == nil {
			var all error
			for _, f := range ds {
				all = errors.Join(all, f)
			}
			return nil, fmt.Errorf("ConfigMap %s/%s, key mesh: %w", d.o.namespace, name, all)
		}
	}
	config.RootNamespace = d.o.namespace
	return config, nil
}

// insist calls step until it succeeds or ctx ends.
func (d *discovery) insist(ctx context.Context, what string, step func(context.Context) error) error {
	for pause := time.Second; ; pause = min(2*pause, 15*time.Second) {
		try, cancel := context.WithTimeout(ctx, 30*time.Second)
		err := step(try)
		cancel()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		d.log.WarnContext(ctx, "cannot start yet", "step", what, "err", err, "again_in", pause.String())
		t := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		case <-t.C:
		}
	}
}
