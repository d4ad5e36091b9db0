package meshd

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/meshctl/meshctl/internal/collection"
	"github.com/meshctl/meshctl/internal/controlplane"
	"github.com/meshctl/meshctl/internal/controlplane/gatewayapi"
	"github.com/meshctl/meshctl/internal/controlplane/provision"
	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/inject"
	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/resource"
	"github.com/meshctl/meshctl/internal/resource/source"
)

// gatewayManager owns the fields of what serves a Gateway.
const gatewayManager = "istiod-gateways"

// Names of work that is not one Gateway's; a Gateway's has a slash.
const (
	classWork = "class" // look after the GatewayClass
	allWork   = "all"   // look after every Gateway
)

// gateways keeps what serves each Gateway of the Gateway API. It hears of changes
// as a sink before the control plane's; one replica writes.
type gateways struct {
	next source.Sink // set before the first Apply
	d    *discovery
	log  *slog.Logger

	mu       sync.Mutex
	classes  bool              // the cluster has GatewayClasses
	work     *worker           // nil while another replica writes
	problems map[string]string // by Gateway: why nothing serves it
	applied  map[string]mark   // what was written in this term
	deployed *deployed
}

func newGateways(d *discovery) *gateways {
	return &gateways{d: d, log: d.log.With("writer", "gateways"), problems: map[string]string{}, deployed: newDeployed()}
}

// followed is told by the source.
func (g *gateways) followed(k resource.Kind, yes bool) {
	if k != resource.KindGatewayClass {
		return
	}
	g.mu.Lock()
	g.classes = yes
	g.mu.Unlock()
	g.tell(classWork)
}

// Apply implements source.Sink.
func (g *gateways) Apply(src string, set []*resource.Object, deleted []resource.Key) {
	g.next.Apply(src, set, deleted)
	g.mu.Lock()
	var moved []string
	note := func(k resource.Key, o *resource.Object) {
		if name := g.deployed.take(k, o, g.cp().Mesh().Settings.ClusterDomain); name != "" {
			moved = append(moved, name)
		}
	}
	for _, k := range deleted {
		note(k, nil)
	}
	for _, o := range set {
		note(o.Key, o)
	}
	g.show(moved...)
	g.mu.Unlock()
	for _, o := range set {
		g.changed(o.Key, o)
	}
	for _, k := range deleted {
		g.changed(k, nil)
	}
}

// show tells the control plane what runs for Gateways, namespace/name. The caller
// holds the lock.
func (g *gateways) show(names ...string) {
	for _, name := range names {
		namespace, short, _ := strings.Cut(name, "/")
		if d := g.deployed.of(namespace, short, g.problems[name]); d != nil {
			g.cp().Deployed().Set(d)
		} else {
			g.cp().Deployed().Delete(name)
		}
	}
}

// Report implements source.Sink.
func (g *gateways) Report(src string, ds []diag.Diagnostic) { g.next.Report(src, ds) }

// changed wakes the Gateways that an object matters to.
func (g *gateways) changed(k resource.Key, o *resource.Object) {
	switch k.Kind {
	case resource.KindKubeGateway:
		g.tell(k.Namespace + "/" + k.Name)
	case resource.KindGatewayClass:
		g.tell(classWork)
		g.tell(allWork)
	case resource.KindListenerSet:
		if o == nil {
			g.tell(allWork) // whose it was is not known any more
			return
		}
		if s, ok := o.Spec.(*gwv1.ListenerSet); ok {
			g.tell(parentOf(s))
		}
	case resource.KindConfigMap, resource.KindProxyConfig, resource.KindNamespace:
		g.tell(allWork)
	}
}

func (g *gateways) tell(name string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.work != nil {
		g.work.add(name)
	}
}

// tellAll wakes the Gateways of a namespace, "" for all.
func (g *gateways) tellAll(namespace string) {
	for _, o := range g.cp().Objects() {
		if o.Key.Kind == resource.KindKubeGateway && (namespace == "" || o.Key.Namespace == namespace) {
			g.tell(o.Key.Namespace + "/" + o.Key.Name)
		}
	}
}

func (g *gateways) cp() *controlplane.ControlPlane { return g.d.core.ControlPlane }

// run works until ctx ends. What was made is followed, so that what somebody
// changed or deleted is put right.
func (g *gateways) run(ctx context.Context) {
	work := newWorker("gateways", g.d.log)
	g.mu.Lock()
	g.work, g.applied = work, map[string]mark{}
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		g.work = nil
		g.mu.Unlock()
	}()
	made := map[schema.GroupVersionResource]cache.Store{}
	var running sync.WaitGroup
	defer running.Wait()
	var follow []func(context.Context)
	for _, gvr := range provision.Resources() {
		store, run := g.follow(gvr, func(key string) { g.drifted(made[gvr], key) })
		made[gvr], follow = store, append(follow, run)
	}
	for _, run := range follow {
		running.Go(func() { run(ctx) })
	}
	defer collection.Subscribe(g.cp().Mesh().Config, func(uint64, []collection.Event[*mesh.MeshConfig]) { work.add(allWork) })()
	work.add(classWork)
	work.add(allWork)
	work.run(ctx, func(ctx context.Context, name string) error {
		switch name {
		case classWork:
			return g.keepClass(ctx)
		case allWork:
			g.tellAll("")
			return nil
		default:
			return g.keep(ctx, name, made)
		}
	})
}

// follow watches the metadata of what was made of one kind.
func (g *gateways) follow(gvr schema.GroupVersionResource, changed func(string)) (cache.Store, func(context.Context)) {
	client := g.d.metadata.Resource(gvr)
	return informer(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			o.LabelSelector = provision.Selector()
			return client.List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.LabelSelector = provision.Selector()
			return client.Watch(ctx, o)
		},
	}, &metav1.PartialObjectMetadata{}, cutManagedFields, changed)
}

func cutManagedFields(o any) (any, error) {
	if m, ok := o.(metav1.Object); ok {
		m.SetManagedFields(nil)
	}
	return o, nil
}

// drifted wakes the Gateway of an object that changed, all of its namespace when
// it is gone.
func (g *gateways) drifted(store cache.Store, key string) {
	if o, ok, _ := store.GetByKey(key); ok {
		if m, ok := o.(metav1.Object); ok {
			g.tell(m.GetNamespace() + "/" + m.GetLabels()[mesh.LabelGatewayName])
			return
		}
	}
	g.mu.Lock()
	for id := range g.applied {
		if _, object, _ := strings.Cut(id, " "); object == key {
			delete(g.applied, id)
		}
	}
	g.mu.Unlock()
	if namespace := keyNamespace(key); namespace != "" {
		g.tellAll(namespace)
	}
}

// keepClass makes the class that users name, where there is none of that name.
// What somebody changed in it stays.
func (g *gateways) keepClass(ctx context.Context) error {
	g.mu.Lock()
	there := g.classes
	g.mu.Unlock()
	if !there || g.cp().Object(resource.Key{Kind: resource.KindGatewayClass, Name: gatewayapi.ClassName}) != nil {
		return nil
	}
	gvr := schema.GroupVersionResource{Group: resource.GroupGatewayAPI, Version: "v1", Resource: "gatewayclasses"}
	class := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": gwv1.GroupVersion.String(), "kind": "GatewayClass", "metadata": map[string]any{"name": gatewayapi.ClassName},
		"spec": map[string]any{"controllerName": string(gatewayapi.ControllerName), "description": "Gateways of the mesh, each with a Deployment of its own."},
	}}
	_, err := g.d.dynamic.Resource(gvr).Create(ctx, class, metav1.CreateOptions{FieldManager: gatewayManager})
	switch {
	case err == nil:
		g.log.InfoContext(ctx, "GatewayClass made", "name", gatewayapi.ClassName)
		return nil
	case apierrors.IsAlreadyExists(err) || apierrors.IsNotFound(err):
		return nil
	default:
		return fmt.Errorf("make GatewayClass %s: %w", gatewayapi.ClassName, err)
	}
}

// keep applies what serves one Gateway.
func (g *gateways) keep(ctx context.Context, name string, made map[schema.GroupVersionResource]cache.Store) error {
	namespace, short, err := cache.SplitMetaNamespaceKey(name)
	if err != nil {
		return nil //nolint:nilerr // a label that names no Gateway
	}
	gw, class := g.gateway(namespace, short)
	if gw == nil || !provision.Managed(gw) || !g.mine(ctx, gw) {
		g.note(name, "")
		return nil
	}
	in, err := g.inputs(gw, class)
	var objects []provision.Object
	if err == nil {
		objects, err = provision.Objects(gw, in)
	}
	if err != nil { // of no use to try again before something changes
		g.note(name, err.Error())
		g.log.WarnContext(ctx, "nothing is deployed for a Gateway", "gateway", name, "reason", err)
		return nil
	}
	for _, step := range []func(context.Context, *gwv1.Gateway, provision.Object, cache.Store) error{g.check, g.apply} {
		for _, o := range objects {
			if err := step(ctx, gw, o, made[o.Resource]); err != nil {
				g.note(name, err.Error())
				return err
			}
		}
	}
	g.note(name, "")
	return nil
}

func (g *gateways) note(name, problem string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if problem == g.problems[name] {
		return
	}
	g.problems[name] = problem
	if problem == "" {
		delete(g.problems, name)
	}
	g.show(name)
}

// gateway is a Gateway with its class, nil when the class is not ours.
func (g *gateways) gateway(namespace, name string) (*gwv1.Gateway, *gwv1.GatewayClass) {
	o := g.cp().Object(resource.Key{Kind: resource.KindKubeGateway, Namespace: namespace, Name: name})
	if o == nil {
		return nil, nil
	}
	gw, ok := o.Spec.(*gwv1.Gateway)
	if !ok {
		return nil, nil
	}
	o = g.cp().Object(resource.Key{Kind: resource.KindGatewayClass, Name: string(gw.Spec.GatewayClassName)})
	if o == nil {
		return nil, nil
	}
	class, ok := o.Spec.(*gwv1.GatewayClass)
	if !ok || class.Spec.ControllerName != gatewayapi.ControllerName {
		return nil, nil
	}
	return gw, class
}

// mine reports whether this revision looks after a Gateway: by its own label,
// its namespace's, or as the default one.
func (g *gateways) mine(ctx context.Context, gw *gwv1.Gateway) bool {
	rev := gw.Labels[inject.LabelRevision]
	if rev == "" {
		if ns := g.cp().Object(resource.Key{Kind: resource.KindNamespace, Name: gw.Namespace}); ns != nil {
			rev = ns.Meta.Labels[inject.LabelRevision]
		}
	}
	if rev == "" {
		rev = "default"
	}
	if rev == g.d.o.revision {
		return true
	}
	// It may be a tag, which is a webhook that leads to a revision.
	hooks, err := g.d.client.AdmissionregistrationV1().MutatingWebhookConfigurations().List(ctx, metav1.ListOptions{LabelSelector: "istio.io/tag=" + rev})
	if err != nil {
		g.log.WarnContext(ctx, "whose a Gateway is cannot be found out", "gateway", gw.Namespace+"/"+gw.Name, "err", err)
		return false
	}
	for _, h := range hooks.Items {
		if h.Labels[inject.LabelRevision] == g.d.o.revision {
			return true
		}
	}
	return false
}

// inputs gathers what the objects depend on.
func (g *gateways) inputs(gw *gwv1.Gateway, class *gwv1.GatewayClass) (provision.Inputs, error) {
	if err := g.d.injection.known(); err != nil {
		return provision.Inputs{}, err // they are coming, and wake everything
	}
	in := provision.Inputs{Inject: g.d.injection.currentOf(g.cp(), g.d.atStart)()}
	var asked []resource.Key
	for _, o := range g.cp().Objects() {
		switch spec := o.Spec.(type) {
		case *corev1.ConfigMap:
			if o.Key.Namespace == g.d.o.namespace && o.Meta.Labels[provision.LabelDefaults] == class.Name {
				asked = append(asked, o.Key)
			}
		case *gwv1.ListenerSet:
			if parentOf(spec) == gw.Namespace+"/"+gw.Name {
				for _, l := range spec.Spec.Listeners {
					in.Ports = append(in.Ports, provision.Port{Name: string(l.Name), Number: l.Port, Protocol: l.Protocol})
				}
			}
		}
	}
	if p := class.Spec.ParametersRef; p != nil && p.Namespace != nil {
		asked = append(asked, resource.Key{Kind: resource.Kind{Group: string(p.Group), Kind: string(p.Kind)}, Namespace: string(*p.Namespace), Name: p.Name})
	}
	if i := gw.Spec.Infrastructure; i != nil && i.ParametersRef != nil {
		p := i.ParametersRef
		asked = append(asked, resource.Key{Kind: resource.Kind{Group: string(p.Group), Kind: string(p.Kind)}, Namespace: gw.Namespace, Name: p.Name})
	}
	for _, k := range asked {
		if k.Kind != resource.KindConfigMap {
			return in, fmt.Errorf("parametersRef: %s is not a ConfigMap", k.Kind)
		}
		o := g.cp().Object(k)
		if o == nil {
			return in, fmt.Errorf("parametersRef: there is no ConfigMap %s/%s with parameters", k.Namespace, k.Name)
		}
		if m, ok := o.Spec.(*corev1.ConfigMap); ok {
			in.Parameters = append(in.Parameters, m)
		}
	}
	return in, nil
}

// parentOf is the Gateway, as namespace/name, that a ListenerSet adds to.
func parentOf(s *gwv1.ListenerSet) string {
	p := s.Spec.ParentRef
	namespace := s.Namespace
	if p.Namespace != nil {
		namespace = string(*p.Namespace)
	}
	return namespace + "/" + string(p.Name)
}
