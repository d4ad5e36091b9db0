package meshd

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// The root certificate as pods mount it.
const (
	rootConfigMap = "istio-ca-root-cert"
	rootKey       = "root-cert.pem"
)

// fieldManager is who owns the fields that the control plane writes.
const fieldManager = "istiod"

// rootCerts keeps the root certificate in a ConfigMap of every namespace. One
// replica runs it.
type rootCerts struct {
	client kubernetes.Interface
	roots  func() []byte
	log    *slog.Logger
}

// run works until ctx ends: a namespace that appears, and a ConfigMap that
// somebody changed or deleted, is put right.
func (r *rootCerts) run(ctx context.Context) {
	q := newWorker("root certificates", r.log)
	namespaces, followNamespaces := informer(
		cache.NewListWatchFromClient(r.client.CoreV1().RESTClient(), "namespaces", "", fields.Everything()),
		&corev1.Namespace{}, cutNamespace, q.add)
	maps, followMaps := informer(
		cache.NewListWatchFromClient(r.client.CoreV1().RESTClient(), "configmaps", "", fields.OneTermEqualSelector("metadata.name", rootConfigMap)),
		&corev1.ConfigMap{}, cutRoot, func(key string) { q.add(keyNamespace(key)) })
	var running sync.WaitGroup
	running.Go(func() { followNamespaces(ctx) })
	running.Go(func() { followMaps(ctx) })
	q.run(ctx, func(ctx context.Context, namespace string) error {
		o, exists, err := namespaces.GetByKey(namespace)
		if err != nil || !exists {
			return err
		}
		if ns, ok := o.(*corev1.Namespace); !ok || ns.Status.Phase == corev1.NamespaceTerminating {
			return nil
		}
		if o, exists, err = maps.GetByKey(namespace + "/" + rootConfigMap); err != nil {
			return err
		}
		if m, ok := o.(*corev1.ConfigMap); exists && ok && m.Data[rootKey] == string(r.roots()) {
			return nil
		}
		return r.write(ctx, namespace)
	})
	running.Wait()
}

func (r *rootCerts) write(ctx context.Context, namespace string) error {
	m := applycorev1.ConfigMap(rootConfigMap, namespace).
		WithLabels(map[string]string{"istio.io/config": "true"}).
		WithData(map[string]string{rootKey: string(r.roots())})
	_, err := r.client.CoreV1().ConfigMaps(namespace).Apply(ctx, m, metav1.ApplyOptions{FieldManager: fieldManager, Force: true})
	switch {
	case err == nil:
		r.log.DebugContext(ctx, "root certificate written", "namespace", namespace)
		return nil
	case apierrors.IsNotFound(err) || apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return nil // the namespace is going away
	default:
		return fmt.Errorf("write ConfigMap %s/%s: %w", namespace, rootConfigMap, err)
	}
}

func cutNamespace(o any) (any, error) {
	n, ok := o.(*corev1.Namespace)
	if !ok {
		return o, nil
	}
	return &corev1.Namespace{ObjectMeta: nameOnly(&n.ObjectMeta), Status: corev1.NamespaceStatus{Phase: n.Status.Phase}}, nil
}

func cutRoot(o any) (any, error) {
	m, ok := o.(*corev1.ConfigMap)
	if !ok {
		return o, nil
	}
	return &corev1.ConfigMap{ObjectMeta: nameOnly(&m.ObjectMeta), Data: m.Data}, nil
}

func nameOnly(m *metav1.ObjectMeta) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: m.Name, Namespace: m.Namespace, UID: m.UID, ResourceVersion: m.ResourceVersion}
}

func keyNamespace(key string) string {
	namespace, _, err := cache.SplitMetaNamespaceKey(key)
	if err != nil {
		return ""
	}
	return namespace
}
