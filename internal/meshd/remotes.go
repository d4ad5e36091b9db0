package meshd

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/meshctl/meshctl/internal/controlplane"
	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/identity"
	"github.com/meshctl/meshctl/internal/resource"
	"github.com/meshctl/meshctl/internal/resource/source"
	"github.com/meshctl/meshctl/internal/resource/source/kube"
)

// labelRemote marks the Secrets of the root namespace whose every key is the ID of a
// remote cluster, and the value a kubeconfig that leads there.
const labelRemote = "istio/multiCluster"

// remoteReport is the name under which findings about those Secrets are reported.
const remoteReport = "remote clusters"

// remotes follows the remote clusters that Secrets name: it starts their sources,
// replaces and ends them, and checks the tokens of their pods. A cluster that cannot
// be reached leaves what was last known of it in force.
type remotes struct {
	client    kubernetes.Interface
	namespace string // the root namespace, here and there
	home      string // ID of the cluster this process is in
	sink      source.Sink
	arrived   func(context.Context) error // returns when what was applied is propagated
	tokens    identity.TokenVerifier      // of home
	patience  time.Duration               // how long readiness waits for a cluster
	log       *slog.Logger

	managed  *prometheus.GaugeVec
	timeouts prometheus.Counter

	mu       sync.Mutex
	listed   bool // the Secrets have been read once
	given    bool // the wait is over
	clusters map[string]*remote
	refused  map[string]refusal // by Secret and key
}

// refusal is why a key of a Secret is not a cluster.
type refusal struct {
	id, secret string
	finding    diag.Diagnostic
}

// remote is one remote cluster. Its fields are guarded by remotes.mu.
type remote struct {
	id, secret string // namespace/name
	hash       [sha256.Size]byte
	tokens     identity.TokenVerifier
	sink       *remoteSink
	synced     bool
	late       bool // it was not read within the patience
	troubles   []diag.Diagnostic
	stop       func() // ends the source, and waits for its end
}

func newRemotes(o discoveryOptions, client kubernetes.Interface, log *slog.Logger) *remotes {
	return &remotes{
		client: client, namespace: o.namespace, home: o.cluster, patience: o.patience, log: log,
		clusters: map[string]*remote{}, refused: map[string]refusal{},
		managed: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "istiod_managed_clusters", Help: "Clusters whose workloads are in the mesh, by type."}, []string{"cluster_type"}),
		timeouts: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "remote_cluster_sync_timeouts_total", Help: "Remote clusters that could not be read within --remote-cluster-timeout.",
		}),
	}
}

// Describe implements prometheus.Collector.
func (r *remotes) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(r, ch) }

// Collect implements prometheus.Collector.
func (r *remotes) Collect(ch chan<- prometheus.Metric) {
	r.managed.Collect(ch)
	r.timeouts.Collect(ch)
	desc := prometheus.NewDesc("meshctl_remote_cluster_up", "Whether a remote cluster has been read and its API server answers.", []string{"cluster"}, nil)
	for _, s := range r.status() {
		up := 0.0
		if s.Status == controlplane.ClusterSynced {
			up = 1
		}
		if s.Secret != "" {
			ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, up, s.ID)
		}
	}
}

// run follows the Secrets until ctx ends.
func (r *remotes) run(ctx context.Context) error {
	changed := make(chan struct{}, 1)
	tell := func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	api := r.client.CoreV1().Secrets(r.namespace)
	narrow := func(o metav1.ListOptions) metav1.ListOptions { o.LabelSelector = labelRemote + "=true"; return o }
	store, informer := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: &cache.ListWatch{
			ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
				return api.List(ctx, narrow(o))
			},
			WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
				return api.Watch(ctx, narrow(o))
			},
		},
		ObjectType: &corev1.Secret{},
		Handler: cache.ResourceEventHandlerFuncs{
			AddFunc: func(any) { tell() }, UpdateFunc: func(any, any) { tell() }, DeleteFunc: func(any) { tell() },
		},
	})
	var running sync.WaitGroup
	defer running.Wait()
	defer r.end()
	running.Go(func() { informer.RunWithContext(ctx) })
	running.Go(func() { // an empty list makes no event
		if cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
			tell()
		}
	})
	over := time.NewTimer(r.patience)
	defer over.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-over.C:
			r.mu.Lock()
			r.given = true
			r.mu.Unlock()
		case <-changed:
			if informer.HasSynced() {
				r.bring(ctx, secretsOf(store.List()))
			}
		}
	}
}

// secretsOf are Secrets in the order in which they compete for an ID: the oldest first.
func secretsOf(items []any) []*corev1.Secret {
	var out []*corev1.Secret
	for _, i := range items {
		if s, ok := i.(*corev1.Secret); ok {
			out = append(out, s)
		}
	}
	slices.SortFunc(out, func(a, b *corev1.Secret) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	return out
}

// bring makes what runs what the Secrets say.
func (r *remotes) bring(ctx context.Context, secrets []*corev1.Secret) {
	wanted := map[string]string{} // ID: the Secret
	refused := map[string]refusal{}
	for _, s := range secrets {
		for _, id := range slices.Sorted(maps.Keys(s.Data)) {
			refuse := func(fix, effect, message string, a ...any) {
				refused[s.Name+"/"+id] = refusal{id, s.Namespace + "/" + s.Name, diag.Diagnostic{
					Code: resource.CodeSource, Severity: diag.Error, Field: "data." + id,
					Object:  diag.Object{Kind: "Secret", Namespace: s.Namespace, Name: s.Name},
					Message: fmt.Sprintf(message, a...), Effect: effect, Fix: fix,
				}}
			}
			switch first, taken := wanted[id]; {
			case id == r.home:
				refuse("name the cluster by the ID that its own control plane has", "the key is not used: the cluster is not read twice",
					"cluster %s is the one that this control plane runs in", id)
				continue
			case taken:
				refuse("remove one of the two", "the older Secret counts", "cluster %s is in Secret %s already", id, first)
				continue
			}
			wanted[id] = s.Name
			if err := r.follow(ctx, id, s.Namespace+"/"+s.Name, s.Data[id]); err != nil {
				effect := "the workloads of cluster " + id + " are not in the mesh"
				if r.known(id) {
					effect = "cluster " + id + " is read with the kubeconfig before"
				}
				refuse("make it again: meshctl create-remote-secret --context CLUSTER --name "+id, effect, "the kubeconfig of cluster %s is refused: %v", id, err)
			}
		}
	}
	for _, c := range r.all() {
		if _, still := wanted[c.id]; !still {
			c.stop()
			r.mu.Lock()
			delete(r.clusters, c.id)
			r.mu.Unlock()
			c.sink.forget(c.id)
			r.log.InfoContext(ctx, "a remote cluster has left the mesh", "cluster", c.id)
		}
	}
	r.mu.Lock()
	for k, v := range refused {
		if r.refused[k].finding != v.finding {
			r.log.WarnContext(ctx, "a remote cluster is not followed", "secret", v.secret, "key", v.id, "reason", v.finding.Message, "effect", v.finding.Effect)
		}
	}
	r.refused, r.listed = refused, true
	r.managed.WithLabelValues("local").Set(1)
	r.managed.WithLabelValues("remote").Set(float64(len(r.clusters)))
	r.mu.Unlock()
	r.report()
}

// follow makes a kubeconfig the one that leads to a cluster.
func (r *remotes) follow(ctx context.Context, id, secret string, text []byte) error {
	hash := sha256.Sum256(text)
	before := r.find(id)
	if before != nil && before.hash == hash {
		r.mu.Lock()
		before.secret = secret
		r.mu.Unlock()
		return nil
	}
	config, err := remoteConfig(text)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return errors.New("no client can be made of it") //nolint:nilerr // what is wrong would quote the secret
	}
	now := &remote{id: id, secret: secret, hash: hash, tokens: newTokenReviewer(client.AuthenticationV1().TokenReviews(), time.Now)}
	s, err := kube.New(kube.Options{
		Config: config, Cluster: id, Remote: true, Namespace: r.namespace, Logger: r.log,
		Troubled: func(ds []diag.Diagnostic) { r.troubled(now, ds) },
	})
	if err != nil {
		return errors.New("no client can be made of it") //nolint:nilerr // what is wrong would quote the secret
	}
	now.sink = &remoteSink{next: r.sink, keys: map[resource.Key]struct{}{}}
	if before != nil {
		before.stop()
		now.sink = before.sink
	}
	running, cancel := context.WithCancel(ctx)
	now.sink.begin(func() {
		if err := r.arrived(running); err != nil {
			r.log.WarnContext(ctx, "what a remote cluster has is not in the mesh", "cluster", id, "err", err)
			return
		}
		r.read(now)
	})
	var ended sync.WaitGroup
	now.stop = func() { cancel(); ended.Wait() }
	r.mu.Lock()
	r.clusters[id] = now
	r.mu.Unlock()
	r.log.InfoContext(ctx, "a remote cluster is followed", "cluster", id, "secret", secret, "server", config.Host)
	ended.Go(func() {
		if err := s.Run(running, now.sink); err != nil {
			r.log.WarnContext(ctx, "a remote cluster is no longer followed", "cluster", id, "err", err)
		}
	})
	ended.Go(func() { r.hurry(running, now) })
	return nil
}

// hurry notes that a cluster was not read in time.
func (r *remotes) hurry(ctx context.Context, c *remote) {
	t := time.NewTimer(r.patience)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return
	case <-t.C:
	}
	r.mu.Lock()
	c.late = !c.synced
	late, why := c.late, reason(c.troubles)
	r.mu.Unlock()
	if late {
		r.timeouts.Inc()
		r.log.WarnContext(ctx, "a remote cluster could not be read in time; it is tried again", "cluster", c.id, "after", r.patience.String(), "reason", why)
		r.report()
	}
}

func (r *remotes) read(c *remote) {
	r.mu.Lock()
	c.synced = true
	r.mu.Unlock()
	r.report()
}

func (r *remotes) troubled(c *remote, ds []diag.Diagnostic) {
	r.mu.Lock()
	c.troubles = ds
	synced := c.synced
	r.mu.Unlock()
	if !synced { // afterwards the source reports them itself
		r.report()
	}
}

func reason(ds []diag.Diagnostic) string {
	if len(ds) == 0 {
		return ""
	}
	return ds[0].Message
}

// report says what is wrong with the Secrets, and with clusters that have not been read.
func (r *remotes) report() {
	r.mu.Lock()
	var out []diag.Diagnostic
	for _, v := range r.refused {
		out = append(out, v.finding)
	}
	for _, c := range r.clusters {
		if c.synced {
			continue
		}
		for _, d := range c.troubles {
			d.Effect = "the workloads of cluster " + c.id + " are not in the mesh yet"
			if c.sink.any() {
				d.Effect = "what was read of cluster " + c.id + " before stays in force"
			}
			out = append(out, d)
		}
	}
	r.mu.Unlock()
	slices.SortFunc(out, diag.Compare)
	r.sink.Report(remoteReport, out)
}

// status is what becomes of each cluster, home first.
func (r *remotes) status() []controlplane.ClusterStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []controlplane.ClusterStatus
	for _, c := range r.clusters {
		s := controlplane.ClusterStatus{ID: c.id, Secret: c.secret, Status: controlplane.ClusterSyncing, Reason: reason(c.troubles)}
		switch {
		case c.synced && len(c.troubles) > 0:
			s.Status = controlplane.ClusterUnreachable
		case c.synced:
			s.Status = controlplane.ClusterSynced
		case c.late:
			s.Status = controlplane.ClusterTimeout
			s.Reason = cmp.Or(s.Reason, "its API server has not answered; what leads there from this cluster may drop connections")
		}
		out = append(out, s)
	}
	for _, v := range r.refused {
		out = append(out, controlplane.ClusterStatus{ID: v.id, Secret: v.secret, Status: controlplane.ClusterRefused, Reason: v.finding.Message})
	}
	slices.SortFunc(out, func(a, b controlplane.ClusterStatus) int {
		return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Secret, b.Secret))
	})
	return out
}

// ready is nil once every cluster has been read, or the wait for them is over.
func (r *remotes) ready() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.given {
		return nil
	}
	if !r.listed {
		return fmt.Errorf("the Secrets of remote clusters have not been read yet")
	}
	for _, id := range slices.Sorted(maps.Keys(r.clusters)) {
		if !r.clusters[id].synced {
			return fmt.Errorf("remote cluster %s has not been read yet", id)
		}
	}
	r.given = true // clusters that come later are not waited for
	return nil
}

// verifier is who checks the tokens of pods of a cluster; "" is home.
func (r *remotes) verifier(id string) (identity.TokenVerifier, error) {
	if id == "" || id == r.home {
		return r.tokens, nil
	}
	if c := r.find(id); c != nil {
		return c.tokens, nil
	}
	return nil, fmt.Errorf("cluster %.100q is not one of the mesh: this one is %s, others are named by Secrets with the label %s=true", id, r.home, labelRemote)
}

func (r *remotes) known(id string) bool { return r.find(id) != nil }

func (r *remotes) find(id string) *remote {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.clusters[id]
}

func (r *remotes) all() []*remote {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Collect(maps.Values(r.clusters))
}

// end ends all sources; what they found stays in force.
func (r *remotes) end() {
	for _, c := range r.all() {
		c.stop()
	}
}

// remoteSink remembers what of a cluster is in force, over the lives of the sources
// that read it: what a new one does not find any more goes, and all of it when the
// cluster leaves the mesh.
type remoteSink struct {
	next source.Sink

	mu    sync.Mutex
	keys  map[resource.Key]struct{}
	first func() // called after the first Apply of a source; nil after that
}

// begin makes the next Apply that of a new source, which holds everything.
func (s *remoteSink) begin(read func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.first = read
}

func (s *remoteSink) any() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.keys) > 0
}

// Apply implements source.Sink.
func (s *remoteSink) Apply(src string, set []*resource.Object, deleted []resource.Key) {
	s.mu.Lock()
	first := s.first
	s.first = nil
	if first != nil {
		gone := maps.Clone(s.keys)
		for _, o := range set {
			delete(gone, o.Key)
		}
		deleted = append(slices.Clip(deleted), slices.Collect(maps.Keys(gone))...)
	}
	for _, k := range deleted {
		delete(s.keys, k)
	}
	for _, o := range set {
		s.keys[o.Key] = struct{}{}
	}
	s.mu.Unlock()
	s.next.Apply(src, set, deleted)
	if first != nil {
		first()
	}
}

// Report implements source.Sink.
func (s *remoteSink) Report(src string, ds []diag.Diagnostic) { s.next.Report(src, ds) }

// forget takes everything of the cluster out of the mesh.
func (s *remoteSink) forget(id string) {
	name := kube.SourceName(id)
	s.Report(name, nil)
	s.mu.Lock()
	all := slices.Collect(maps.Keys(s.keys))
	clear(s.keys)
	s.mu.Unlock()
	s.next.Apply(name, nil, all)
}
