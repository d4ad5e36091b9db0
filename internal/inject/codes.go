package inject

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/meshctl/meshctl/internal/diag"
)

// Codes of findings about pods.
const (
	// CodeUnknownAnnotation: an annotation in the mesh's name that means nothing.
	CodeUnknownAnnotation = "MSH0401"
	// CodeBadAnnotation: an annotation whose value cannot be what was meant.
	CodeBadAnnotation = "MSH0402"
	// CodeUnsupported: something that Istio has and this mesh has not.
	CodeUnsupported = "MSH0403"
	// CodeConflict: what the pod has is in the way of what injection adds.
	CodeConflict = "MSH0404"
	// CodeWorkload: an object whose pods could not be looked at.
	CodeWorkload = "MSH0405"
	// CodeLeftAlone: a pod that gets no sidecar, with the reason.
	CodeLeftAlone = "MSH0406"
)

// refused is the effect of an Error.
const refused = "the pod is refused until this is put right"

// report collects findings about one pod.
type report struct {
	obj diag.Object
	ds  []diag.Diagnostic
}

func (r *report) add(code string, s diag.Severity, field, message, effect, fix string) {
	r.ds = append(r.ds, diag.Diagnostic{Code: code, Severity: s, Object: r.obj, Field: field, Message: message, Effect: effect, Fix: fix})
}

// refuse is a finding that keeps the pod from being made.
func (r *report) refuse(code, field, message, fix string) {
	r.add(code, diag.Error, field, message, refused, fix)
}

func (r *report) failed() bool {
	worst, any := diag.Worst(r.ds)
	return any && worst == diag.Error
}

func (r *report) sorted() []diag.Diagnostic {
	slices.SortStableFunc(r.ds, diag.Compare)
	return r.ds
}

func podRef(pod *corev1.Pod, namespace string) diag.Object {
	name := cmp.Or(pod.Name, pod.GenerateName)
	if name == "" {
		return diag.Object{Kind: "Pod", Namespace: namespace, Name: "(template)"}
	}
	return diag.Object{Kind: "Pod", Namespace: cmp.Or(pod.Namespace, namespace), Name: name}
}
