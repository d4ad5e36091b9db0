package analyze

import (
	networking "istio.io/api/networking/v1alpha3"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/resource"
)

// pod is a pod, what a template would make one of, or a workload outside of pods.
type pod struct {
	object      *resource.Object
	namespace   string
	labels      map[string]string
	annotations map[string]string
	spec        *corev1.PodSpec // nil outside of pods
	path        string          // of the template in the object, "" for a Pod
	running     bool            // a Pod that a cluster runs: whatever injects has been at it
}

// pods finds pods by their labels without looking at each.
type pods struct {
	all     []*pod
	byLabel map[labelKey][]*pod
	inSpace map[string][]*pod
}

// labelKey is one label; namespace is "" for all namespaces.
type labelKey struct{ namespace, key, value string }

func (w *world) indexPods() {
	x := &w.pods
	x.byLabel, x.inSpace = map[labelKey][]*pod{}, map[string][]*pod{}
	for _, o := range w.objects {
		p := podOf(o)
		if p == nil {
			continue
		}
		x.all = append(x.all, p)
		x.inSpace[p.namespace] = append(x.inSpace[p.namespace], p)
		for k, v := range p.labels {
			x.byLabel[labelKey{"", k, v}] = append(x.byLabel[labelKey{"", k, v}], p)
			x.byLabel[labelKey{p.namespace, k, v}] = append(x.byLabel[labelKey{p.namespace, k, v}], p)
		}
	}
}

// podOf is the pod that an object is or makes; nil when it makes none.
func podOf(o *resource.Object) *pod {
	made := func(t *corev1.PodTemplateSpec, path string) *pod {
		return &pod{object: o, namespace: o.Key.Namespace, labels: t.Labels, annotations: t.Annotations, spec: &t.Spec, path: path}
	}
	switch s := o.Spec.(type) {
	case *corev1.Pod:
		return &pod{
			object: o, namespace: o.Key.Namespace, labels: s.Labels, annotations: s.Annotations, spec: &s.Spec,
			running: s.UID != "" || s.Spec.NodeName != "" || s.Status.PodIP != "" || s.Status.Phase != "",
		}
	case *appsv1.Deployment:
		return made(&s.Spec.Template, "spec.template")
	case *appsv1.StatefulSet:
		return made(&s.Spec.Template, "spec.template")
	case *appsv1.DaemonSet:
		return made(&s.Spec.Template, "spec.template")
	case *appsv1.ReplicaSet:
		return made(&s.Spec.Template, "spec.template")
	case *batchv1.Job:
		return made(&s.Spec.Template, "spec.template")
	case *batchv1.CronJob:
		return made(&s.Spec.JobTemplate.Spec.Template, "spec.jobTemplate.spec.template")
	case *networking.WorkloadEntry:
		return &pod{object: o, namespace: o.Key.Namespace, labels: s.Labels}
	case *networking.WorkloadGroup:
		return &pod{object: o, namespace: o.Key.Namespace, labels: s.GetMetadata().GetLabels()}
	}
	return nil
}

// selected lists the pods that a selector selects in a namespace, or in all with "".
func (w *world) selected(namespace string, selector map[string]string) []*pod {
	candidates := w.pods.all
	if namespace != "" {
		candidates = w.pods.inSpace[namespace]
	}
	for k, v := range selector {
		if with := w.pods.byLabel[labelKey{namespace, k, v}]; len(with) < len(candidates) {
			candidates = with
		}
	}
	var out []*pod
	for _, p := range candidates {
		if mesh.Selects(selector, p.labels) {
			out = append(out, p)
		}
	}
	return out
}

// governed lists the pods that a policy of a namespace selects: those of the
// namespace, or of all namespaces for the root namespace.
func (w *world) governed(namespace string, selector map[string]string) []*pod {
	if namespace == w.root {
		namespace = ""
	}
	return w.selected(namespace, selector)
}

// anyPod reports whether a policy of a namespace selects a pod.
func (w *world) anyPod(namespace string, selector map[string]string) bool {
	return len(w.governed(namespace, selector)) > 0
}

// name is what the pod is called in messages.
func (p *pod) name() string {
	return p.object.Key.Kind.Kind + " " + p.namespace + "/" + p.object.Key.Name
}

// account is the service account that the pod runs as.
func (p *pod) account() string {
	if p.spec != nil && p.spec.ServiceAccountName != "" {
		return p.spec.ServiceAccountName
	}
	return "default"
}

// hasProxy reports whether the pod has a sidecar or gateway proxy written into it.
func (p *pod) hasProxy() bool {
	if p.spec == nil {
		return false
	}
	for _, list := range [][]corev1.Container{p.spec.Containers, p.spec.InitContainers} {
		for i := range list {
			if list[i].Name == proxyContainer {
				return true
			}
		}
	}
	return false
}

// proxyContainer is the name of the container of a sidecar or gateway.
const proxyContainer = "istio-proxy"
