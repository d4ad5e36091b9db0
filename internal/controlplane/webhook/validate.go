package webhook

import (
	"context"
	"log/slog"
	"net/http"

	admissionv1 "k8s.io/api/admission/v1"

	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/resource"
)

// ValidateInputs are what Validate needs.
type ValidateInputs struct {
	// Beside finds what is doubtful about a resource beside those in force, such as
	// a reference to what is not there; it becomes warnings. It has to keep to a
	// time of its own. nil: resources are judged by themselves.
	Beside func(context.Context, *resource.Object) ([]diag.Diagnostic, error)
	// Done hears the outcome of each request; may be nil.
	Done   func(Outcome)
	Logger *slog.Logger
}

// Validate answers /validate: a resource of ours that does not fit its kind is
// refused; what refers to something that is not there is a warning, for that may
// come next.
func Validate(in ValidateInputs) http.Handler {
	busy := make(chan struct{}, 1) // one analysis at a time
	return newReviewer(func(r *http.Request, req *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		resp, outcome := in.answer(r.Context(), req, busy)
		if in.Done != nil {
			in.Done(outcome)
		}
		return resp
	}, in.Logger)
}

func (in ValidateInputs) answer(ctx context.Context, req *admissionv1.AdmissionRequest, busy chan struct{}) (*admissionv1.AdmissionResponse, Outcome) {
	if req.Operation != admissionv1.Create && req.Operation != admissionv1.Update || req.SubResource != "" || len(req.Object.Raw) == 0 {
		return allow(nil), OutcomeSkipped
	}
	info := resource.InfoOf(resource.Kind{Group: req.Kind.Group, Kind: req.Kind.Kind})
	if info == nil || info.IsTolerated() {
		return allow(nil), OutcomeSkipped
	}
	objects, ds := resource.Decode("", req.Object.Raw, resource.Options{DefaultNamespace: req.Namespace})
	for _, o := range objects {
		ds = append(ds, resource.Validate(o)...)
	}
	if worst, any := diag.Worst(ds); any && worst == diag.Error {
		return refuse(ds), OutcomeRefused
	}
	if in.Beside != nil && len(objects) == 1 {
		select {
		case busy <- struct{}{}:
			ds = append(ds, in.beside(ctx, objects[0])...)
			<-busy
		default: // others are being looked at; this one gets no warnings of that kind
		}
	}
	return allow(unique(ds)), OutcomePassed
}

// beside is what is doubtful about an object beside those in force.
func (in ValidateInputs) beside(ctx context.Context, o *resource.Object) []diag.Diagnostic {
	found, err := in.Beside(ctx, o)
	if err != nil {
		if in.Logger != nil {
			in.Logger.DebugContext(ctx, "object not looked at beside others", "resource", o.Key.String(), "err", err)
		}
		return nil
	}
	var ds []diag.Diagnostic
	for _, d := range found {
		if d.Severity >= diag.Warning {
			d.Severity = diag.Warning
			ds = append(ds, d)
		}
	}
	return ds
}

func unique(ds []diag.Diagnostic) []diag.Diagnostic {
	var out []diag.Diagnostic
	seen := map[string]bool{}
	for _, d := range ds {
		if l := line(d); !seen[l] {
			seen[l] = true
			out = append(out, d)
		}
	}
	return out
}
