package analyze

import (
	"context"

	networking "istio.io/api/networking/v1alpha3"
	security "istio.io/api/security/v1beta1"
	telemetry "istio.io/api/telemetry/v1alpha1"

	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/resource"
)

// selection is a selector and where it is written.
type selection struct {
	labels   map[string]string
	field    string
	code     string
	severity diag.Severity
}

// selectionOf finds the selector of an object that has one.
func selectionOf(o *resource.Object) (selection, bool) {
	policy := func(labels map[string]string) (selection, bool) {
		return selection{labels, "spec.selector.matchLabels", codeNoWorkload, diag.Warning}, len(labels) > 0
	}
	switch s := o.Spec.(type) {
	case *security.AuthorizationPolicy:
		return policy(s.GetSelector().GetMatchLabels())
	case *security.PeerAuthentication:
		return policy(s.GetSelector().GetMatchLabels())
	case *security.RequestAuthentication:
		return policy(s.GetSelector().GetMatchLabels())
	case *telemetry.Telemetry:
		l := s.GetSelector().GetMatchLabels()
		return selection{l, "spec.selector.matchLabels", codeNotFound, diag.Error}, len(l) > 0
	case *networking.Sidecar:
		l := s.GetWorkloadSelector().GetLabels()
		return selection{l, "spec.workloadSelector.labels", codeNotFound, diag.Error}, len(l) > 0
	}
	return selection{}, false
}

// policySelectors reports objects that apply to nothing.
func policySelectors(_ context.Context, w *world) ([]diag.Diagnostic, error) {
	var out []diag.Diagnostic
	for _, o := range w.objects {
		s, ok := selectionOf(o)
		if !ok || w.anyPod(o.Key.Namespace, s.labels) {
			continue
		}
		standard := false
		for _, l := range standardGateways() {
			standard = standard || o.Key.Namespace == rootNamespace && mesh.Selects(s.labels, l)
		}
		if standard {
			continue
		}
		out = append(out, finding(o, s.code, s.severity, s.field, mesh.Problem{
			Message: "no workload in namespace " + o.Key.Namespace + " has the labels " + labelText(s.labels),
			Effect:  "the object applies to nothing", Fix: "correct the labels or the namespace",
		}))
	}
	return out, nil
}

// workloadEntry is the labels of a workload outside of pods.
func workloadEntry(o *resource.Object) (map[string]string, bool) {
	switch s := o.Spec.(type) {
	case *networking.WorkloadEntry:
		return s.Labels, true
	case *networking.WorkloadGroup:
		return s.GetMetadata().GetLabels(), true
	}
	return nil, false
}
