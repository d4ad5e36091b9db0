package checkinject

import (
	"context"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/cli/injection"
	"github.com/meshctl/meshctl/internal/inject"
	"github.com/meshctl/meshctl/internal/kube"
)

// find is the pod that is meant: one that runs, that which a template makes, or one
// that has nothing but labels.
func (o *Options) find(ctx context.Context, c *kube.Client) (*corev1.Pod, *inject.Owner, error) {
	namespace := o.Env.Namespace()
	if o.Env.Settings.Namespace == "" && c.Namespace != "" {
		namespace = c.Namespace
	}
	if o.Labels != "" {
		set, err := labels.ConvertSelectorToLabelsMap(o.Labels)
		if err != nil {
			return nil, nil, exit.Usagef("-l %q: want labels such as app=web,version=v1", o.Labels).Because(err)
		}
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "labels", Namespace: namespace, Labels: set}}
		pod.Spec.Containers = []corev1.Container{{Name: "app"}}
		return pod, nil, nil
	}
	kind, name, ok := strings.Cut(o.Target, "/")
	if !ok {
		kind, name = "pod", kind
	}
	if before, ns, ok := strings.Cut(name, "."); ok && o.Env.Settings.Namespace == "" {
		name, namespace = before, ns
	}
	plural, known := typed[strings.ToLower(kind)]
	if !known {
		return nil, nil, errUnknownType(kind)
	}
	if plural == "pods" {
		pod := &corev1.Pod{}
		err := injection.Get(ctx, c, injection.Pods, namespace, name, pod)
		if apierrors.IsNotFound(err) {
			return nil, nil, notThere(c, "pod", namespace, name)
		}
		if err != nil {
			return nil, nil, c.Explain(err, "read pod "+namespace+"/"+name)
		}
		return pod, nil, nil
	}
	return template(ctx, c, plural, namespace, name)
}

// template is the pod that a workload makes.
func template(ctx context.Context, c *kube.Client, plural, namespace, name string) (*corev1.Pod, *inject.Owner, error) {
	gvr := schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: plural}
	path := []string{"spec", "template"}
	switch plural {
	case "jobs":
		gvr.Group = "batch"
	case "cronjobs":
		gvr.Group, path = "batch", []string{"spec", "jobTemplate", "spec", "template"}
	}
	u, err := c.Dynamic.Resource(gvr).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil, notThere(c, strings.TrimSuffix(plural, "s"), namespace, name)
	}
	if err != nil {
		return nil, nil, c.Explain(err, "read "+plural+" "+namespace+"/"+name)
	}
	at, _, err := unstructured.NestedMap(u.Object, path...)
	if err != nil {
		return nil, nil, exit.Dataf("%s/%s has no template of pods", plural, name).Because(err)
	}
	pod := &corev1.Pod{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(at, pod); err != nil {
		return nil, nil, exit.Dataf("the template of %s/%s is not understood", plural, name).Because(err)
	}
	pod.Namespace, pod.GenerateName = namespace, name+"-"
	return pod, &inject.Owner{APIVersion: u.GetAPIVersion(), Kind: u.GetKind(), Name: name}, nil
}
