package meshd

import (
	"bytes"
	"context"
	"log/slog"
	"sync"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// bundles keeps the root certificate in the webhook configurations of this
// revision, without which the API server would not trust the webhooks. One
// replica runs it.
type bundles struct {
	client    kubernetes.Interface
	namespace string // of the control plane's Service
	revision  string
	roots     func() []byte
	log       *slog.Logger
}

// run works until ctx ends.
func (b *bundles) run(ctx context.Context) {
	api := b.client.AdmissionregistrationV1()
	var running sync.WaitGroup
	running.Go(func() {
		keepBundles(ctx, b, api.MutatingWebhookConfigurations(), "sidecar-injector", &admissionv1.MutatingWebhookConfiguration{},
			func(c *admissionv1.MutatingWebhookConfiguration) (out []*admissionv1.WebhookClientConfig) {
				for i := range c.Webhooks {
					out = append(out, &c.Webhooks[i].ClientConfig)
				}
				return out
			})
	})
	running.Go(func() {
		keepBundles(ctx, b, api.ValidatingWebhookConfigurations(), "istiod", &admissionv1.ValidatingWebhookConfiguration{},
			func(c *admissionv1.ValidatingWebhookConfiguration) (out []*admissionv1.WebhookClientConfig) {
				for i := range c.Webhooks {
					out = append(out, &c.Webhooks[i].ClientConfig)
				}
				return out
			})
	})
	running.Wait()
}

// webhookAPI is what the clients of both kinds of configuration C have in common.
type webhookAPI[C, L runtime.Object] interface {
	List(context.Context, metav1.ListOptions) (L, error)
	Watch(context.Context, metav1.ListOptions) (watch.Interface, error)
	Get(context.Context, string, metav1.GetOptions) (C, error)
	Update(context.Context, C, metav1.UpdateOptions) (C, error)
}

// keepBundles follows one kind, those with the label app and this revision's.
func keepBundles[C, L runtime.Object](ctx context.Context, b *bundles, api webhookAPI[C, L], app string, empty C, webhooks func(C) []*admissionv1.WebhookClientConfig) {
	labels := "app=" + app + ",istio.io/rev=" + b.revision
	q := newWorker("webhooks of "+app, b.log)
	_, follow := informer(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			o.LabelSelector = labels
			return api.List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.LabelSelector = labels
			return api.Watch(ctx, o)
		},
	}, empty, nil, q.add)
	var running sync.WaitGroup
	running.Go(func() { follow(ctx) })
	q.run(ctx, func(ctx context.Context, name string) error {
		c, err := api.Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return ignoreGone(err)
		}
		changed := false
		for _, w := range webhooks(c) {
			changed = b.fill(w) || changed
		}
		if !changed {
			return nil
		}
		if _, err = api.Update(ctx, c, metav1.UpdateOptions{FieldManager: fieldManager}); err != nil {
			return ignoreGone(err)
		}
		b.log.InfoContext(ctx, "root certificate written into a webhook configuration", "name", name)
		return nil
	})
	running.Wait()
}

// fill sets the bundle of a webhook that the control plane's own Service serves;
// one behind a URL is somebody else's to trust.
func (b *bundles) fill(c *admissionv1.WebhookClientConfig) bool {
	if c.Service == nil || c.Service.Namespace != b.namespace || bytes.Equal(c.CABundle, b.roots()) {
		return false
	}
	c.CABundle = b.roots()
	return true
}

func ignoreGone(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
