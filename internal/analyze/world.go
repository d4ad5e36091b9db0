package analyze

import (
	"cmp"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/resource"
)

const rootNamespace = "istio-system"

// world is all objects, in the forms that analyzers ask for.
type world struct {
	domain   string
	objects  []*resource.Object // in force: one per key
	context  map[diag.Object]bool
	pods     []pod
	services []*resource.Object
}

// pod is a pod, or what a template would make one of.
type pod struct {
	namespace string
	labels    map[string]string
}

func newWorld(in Input) *world {
	w := &world{domain: cmp.Or(in.ClusterDomain, "cluster.local"), context: map[diag.Object]bool{}}
	last := map[resource.Key]*resource.Object{}
	for _, o := range in.Context {
		last[o.Key] = o
		w.context[o.Ref()] = true
	}
	for _, o := range in.Objects {
		last[o.Key] = o
		delete(w.context, o.Ref())
	}
	for _, o := range last {
		w.objects = append(w.objects, o)
	}
	slices.SortFunc(w.objects, func(a, b *resource.Object) int { return cmp.Compare(a.Key.String(), b.Key.String()) })
	for _, o := range w.objects {
		if t, ok := template(o); ok {
			w.pods = append(w.pods, pod{o.Key.Namespace, t})
		}
		if e, ok := workloadEntry(o); ok {
			w.pods = append(w.pods, pod{o.Key.Namespace, e})
		}
		if o.Key.Kind == resource.KindService {
			w.services = append(w.services, o)
		}
	}
	return w
}

func (w *world) isContext(o diag.Object) bool { return w.context[o] }

// of lists the objects of a kind.
func (w *world) of(k resource.Kind) []*resource.Object {
	var out []*resource.Object
	for _, o := range w.objects {
		if o.Key.Kind == k {
			out = append(out, o)
		}
	}
	return out
}

// template is the labels of the pods that an object makes.
func template(o *resource.Object) (map[string]string, bool) {
	switch s := o.Spec.(type) {
	case *corev1.Pod:
		return s.Labels, true
	case *appsv1.Deployment:
		return s.Spec.Template.Labels, true
	case *appsv1.StatefulSet:
		return s.Spec.Template.Labels, true
	case *appsv1.DaemonSet:
		return s.Spec.Template.Labels, true
	case *appsv1.ReplicaSet:
		return s.Spec.Template.Labels, true
	case *batchv1.Job:
		return s.Spec.Template.Labels, true
	case *batchv1.CronJob:
		return s.Spec.JobTemplate.Spec.Template.Labels, true
	}
	return nil, false
}

// anyPod reports whether a selector selects a pod of a namespace, or of any with
// "" or the root namespace.
func (w *world) anyPod(namespace string, selector map[string]string) bool {
	return slices.ContainsFunc(w.pods, func(p pod) bool {
		return (namespace == "" || namespace == rootNamespace || p.namespace == namespace) && mesh.Selects(selector, p.labels)
	})
}

// duplicates reports objects that are given more than once.
func (w *world) duplicates(in Input) []diag.Diagnostic {
	var out []diag.Diagnostic
	first := map[resource.Key]*resource.Object{}
	for _, o := range in.Objects {
		if prev := first[o.Key]; prev != nil && prev.Hash != o.Hash {
			out = append(out, diag.Diagnostic{
				Code: resource.CodeDuplicate, Severity: diag.Warning, Object: o.Ref(), Pos: o.Pos,
				Message: "the object is also in " + prev.Pos.String(), Effect: "the last one counts here",
				Fix: "look at one of the files at a time, or delete one of the objects",
			})
		}
		first[o.Key] = o
	}
	return out
}

// finding is a Diagnostic about a field of an object.
func finding(o *resource.Object, code string, severity diag.Severity, field string, p mesh.Problem) diag.Diagnostic {
	return diag.Diagnostic{
		Code: code, Severity: severity, Object: o.Ref(), Pos: o.At(field), Field: field,
		Message: p.Message, Effect: p.Effect, Fix: p.Fix,
	}
}
