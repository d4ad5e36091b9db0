package meshd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/go-logr/logr"
	meshv1 "istio.io/api/mesh/v1alpha1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"

	"github.com/meshctl/meshctl/internal/controlplane/jwks"
	"github.com/meshctl/meshctl/internal/controlplane/register"
	"github.com/meshctl/meshctl/internal/resource/source/consul"
	"github.com/meshctl/meshctl/internal/resource/source/kube"
)

// ConfigMaps that the control plane reads, one of each for every revision.
const (
	meshConfigMap     = "istio"
	injectorConfigMap = "istio-sidecar-injector"
)

// Leases of the writers.
const (
	leaseRootCerts = "istio-leader"
	leaseStatuses  = "istio-status-leader"   // one for each revision
	leaseWebhooks  = "istio-webhooks-leader" // one for each revision
	leaseGateways  = "istio-gateways-leader" // one for each revision
)

// discovery is the control plane of a cluster.
type discovery struct {
	o      discoveryOptions
	log    *slog.Logger
	client kubernetes.Interface
	// dynamic reaches kinds that client has no types for.
	dynamic dynamic.Interface
	// metadata reaches the metadata of any kind.
	metadata metadata.Interface
	core     *Core
	source   *kube.Source
	consul   *consul.Source // may be nil
	remotes  *remotes

	atStart   *meshv1.MeshConfig
	native    bool // the cluster knows native sidecars
	injection *injection
	gateways  *gateways
	counters  *counters
}

// runDiscovery serves until ctx ends and sessions are drained. In order: the API
// server, what the start depends on (mesh config, certificate authority), the
// core, and then everything at once: source, ports, and the writers of the
// replica that is elected.
func runDiscovery(ctx context.Context, o discoveryOptions, log *slog.Logger) error {
	klog.SetSlogLogger(log.With("component", "client"))
	ctx = klog.NewContext(ctx, logr.FromSlogHandler(log.With("component", "client").Handler()))
	config, err := clientConfig(o.kubeconfig)
	if err != nil {
		return err
	}
	d := &discovery{o: o, log: log.With("component", "meshd"), counters: newCounters()}
	if d.client, err = kubernetes.NewForConfig(config); err != nil {
		return fmt.Errorf("make a client of the cluster: %w", err)
	}
	if d.dynamic, err = dynamic.NewForConfig(config); err != nil {
		return fmt.Errorf("make a client of the cluster: %w", err)
	}
	if d.metadata, err = metadata.NewForConfig(config); err != nil {
		return fmt.Errorf("make a client of the cluster: %w", err)
	}
	d.gateways = newGateways(d)
	if d.source, err = kube.New(kube.Options{
		Config: config, Cluster: o.cluster, Namespace: o.namespace, Revision: o.revision, Logger: log,
		ConfigMaps: []string{o.revisioned(meshConfigMap), o.revisioned(injectorConfigMap)},
		Followed:   d.gateways.followed,
	}); err != nil {
		return err
	}
	if d.consul, err = o.consul.source(log); err != nil {
		return err
	}
	d.remotes = newRemotes(o, d.client, log.With("component", "meshd"))
	set, err := d.settings(ctx, log)
	if err != nil {
		return err
	}
	if d.core, err = NewCore(set); err != nil {
		return err
	}
	d.core.FetchKeys(jwks.Options{Blocked: o.blocked, Roots: o.roots})
	d.core.RegisterMachines(register.Options{Store: &machines{d.dynamic}, Instance: o.pod, Alive: d.alive, Grace: o.grace})
	d.atStart = set.MeshConfig
	d.gateways.next = d.core.ControlPlane.Sink()
	d.injection = newInjection(o, d.native, d.gateways, d.log)
	if o.webhook != "" {
		d.core.Require(d.injection.known)
		d.core.Show("GET /injection", d.injection.gate(http.HandlerFunc(d.injection.page)))
	}
	d.remotes.sink = d.core.ControlPlane.Sink()
	d.remotes.arrived = func(ctx context.Context) error {
		_, err := d.core.ControlPlane.Flush(ctx)
		return err
	}
	d.core.ControlPlane.Remotes(d.remotes.status)
	d.core.Require(d.remotes.ready)
	d.core.Collect(d.counters.collectors()...)
	d.core.Collect(d.remotes)
	return d.run(ctx)
}

// clientConfig leads to the cluster. The limits on requests are for the writers;
// following objects takes hardly any.
func clientConfig(kubeconfig string) (*rest.Config, error) {
	var config *rest.Config
	var err error
	if kubeconfig != "" {
		config, err = clientcmd.BuildConfigFromFlags("", kubeconfig)
	} else {
		config, err = rest.InClusterConfig()
	}
	if errors.Is(err, rest.ErrNotInCluster) {
		return nil, errors.New("this process does not run in a cluster: give --kubeconfig FILE, or --files FOLDER to run without one")
	}
	if err != nil {
		return nil, fmt.Errorf("find the cluster: %w", err)
	}
	config.UserAgent = "meshd"
	config.QPS, config.Burst = 50, 100
	return config, nil
}

// run starts what serves and writes, and ends it in the order that clients notice
// least: writers first, so that another replica takes over; then readiness, a
// moment later the sessions; then the rest.
func (d *discovery) run(ctx context.Context) error {
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	writing, stopWriting := context.WithCancel(ctx)
	defer stopWriting()
	failed := make(chan error, 8)
	var running sync.WaitGroup
	start := func(ctx context.Context, run func(context.Context) error) {
		running.Go(func() {
			if err := run(ctx); err != nil && ctx.Err() == nil {
				failed <- err
			}
		})
	}
	start(work, d.core.Run)
	select {
	case <-d.core.Ready():
	case err := <-failed:
		return err
	}
	stop, err := d.listen(work)
	if err != nil {
		return err
	}
	defer stop()
	start(work, func(ctx context.Context) error { return d.source.Run(ctx, d.injection) })
	start(work, d.remotes.run)
	if d.consul != nil {
		start(work, func(ctx context.Context) error { return d.consul.Run(ctx, d.core.ControlPlane.Sink()) })
	}
	d.write(func(lease string, work func(context.Context)) {
		e := elections{client: d.client, namespace: d.o.namespace, identity: d.o.pod, log: d.log}
		start(writing, func(ctx context.Context) error { return e.lead(ctx, lease, work) })
	})
	select {
	case <-ctx.Done():
		err = d.end()
	case err = <-failed:
	}
	stopWriting()
	cancel()
	stop()
	running.Wait()
	return err
}

// write starts the writers, each under its Lease.
func (d *discovery) write(lead func(lease string, work func(context.Context))) {
	s := &statuses{client: d.dynamic, cp: d.core.ControlPlane, log: d.log}
	gs := &gatewayStatuses{client: d.dynamic, cp: d.core.ControlPlane, log: d.log}
	lead(d.o.revisioned(leaseStatuses), func(ctx context.Context) {
		select { // what has not been read yet must not be taken for well
		case <-d.core.ControlPlane.Ready():
			var running sync.WaitGroup
			running.Go(func() { s.run(ctx) })
			running.Go(func() { gs.run(ctx) })
			running.Wait()
		case <-ctx.Done():
		}
	})
	lead(d.o.revisioned(leaseGateways), func(ctx context.Context) {
		select { // a ListenerSet or parameters that have not been read yet would be missing
		case <-d.core.ControlPlane.Ready():
			d.gateways.run(ctx)
		case <-ctx.Done():
		}
	})
	certs := &rootCerts{client: d.client, roots: d.core.CA.Roots, log: d.log}
	lead(leaseRootCerts, certs.run)
	if d.o.webhook != "" {
		b := &bundles{client: d.client, namespace: d.o.namespace, revision: d.o.revision, roots: d.core.CA.Roots, log: d.log}
		lead(d.o.revisioned(leaseWebhooks), b.run)
	}
}

// end drains what is served.
func (d *discovery) end() error {
	d.log.Info("ending", "drain", d.o.drain.String())
	d.core.leaving.Store(true)
	t := time.NewTimer(d.o.drain)
	defer t.Stop()
	<-t.C
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := d.core.Drain(ctx); err != nil {
		d.log.Warn("not all sessions have ended", "err", err)
	}
	return nil
}

// listen opens all ports; the result closes them.
func (d *discovery) listen(ctx context.Context) (func(), error) {
	var servers []Server
	stop := sync.OnceFunc(func() {
		for _, s := range servers {
			s.Stop()
		}
	})
	for _, p := range []struct {
		addr  string
		serve func(net.Listener) Server
	}{
		{d.o.monitoring, d.core.ServeMonitoring},
		{d.o.ready, d.core.ServeReadiness},
		{d.o.secure, d.core.ServeSecure},
		{d.o.plain, d.core.ServePlain},
		{d.o.webhook, func(ln net.Listener) Server { return d.core.ServeWebhooks(ln, d.webhooks()) }},
	} {
		if p.addr == "" {
			continue
		}
		var lc net.ListenConfig
		ln, err := lc.Listen(ctx, "tcp", p.addr)
		if err != nil {
			stop()
			return nil, fmt.Errorf("listen on %s: %w", p.addr, err)
		}
		servers = append(servers, p.serve(ln))
		d.log.InfoContext(ctx, "listening", "addr", ln.Addr().String())
	}
	return stop, nil
}
