package webhook

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/url"
	"strings"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/inject"
)

// InjectInputs are what Inject needs.
type InjectInputs struct {
	// Current is the mesh at the time of a request. Namespace, Cluster and Network are
	// filled in from the request.
	Current func() inject.Inputs
	// Done hears the outcome of each request; may be nil.
	Done   func(Outcome)
	Logger *slog.Logger
}

// Outcome is what became of a request.
type Outcome string

// Outcomes.
const (
	OutcomeInjected Outcome = "injected"
	OutcomeSkipped  Outcome = "skipped"
	OutcomeRefused  Outcome = "refused"
	OutcomeFailed   Outcome = "failed" // not understood
	OutcomePassed   Outcome = "passed" // validation
)

// Inject answers /inject, and /inject/cluster/NAME/net/NAME, with what is to be added
// to a pod. A pod that cannot be injected as its annotations ask is refused: without
// its sidecar it would be outside of the mesh it was meant for.
func Inject(in InjectInputs) http.Handler {
	return newReviewer(func(r *http.Request, req *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		resp, outcome := in.answer(r.URL, req)
		if in.Done != nil {
			in.Done(outcome)
		}
		if in.Logger != nil {
			in.Logger.DebugContext(r.Context(), "pod", "namespace", req.Namespace, "outcome", string(outcome), "operation", string(req.Operation))
		}
		return resp
	}, in.Logger)
}

func (in InjectInputs) answer(path *url.URL, req *admissionv1.AdmissionRequest) (*admissionv1.AdmissionResponse, Outcome) {
	if req.Operation != admissionv1.Create || req.Kind.Kind != "Pod" || req.SubResource != "" {
		return allow(nil), OutcomeSkipped
	}
	now := in.Current()
	now.Namespace = inject.Namespace{Name: req.Namespace}
	now.CheckNamespace = false // the webhook's selectors have
	now.Cluster, now.Network = parameters(path)
	got, ds, err := inject.MutateJSON(req.Object.Raw, now)
	switch {
	case err != nil:
		return &admissionv1.AdmissionResponse{Result: &metav1.Status{
			Status: metav1.StatusFailure, Reason: metav1.StatusReasonBadRequest, Code: http.StatusBadRequest, Message: err.Error(),
		}}, OutcomeFailed
	case got.Pod == nil:
		return refuse(ds), OutcomeRefused
	case len(got.Patch) == 0:
		return allow(ds), OutcomeSkipped
	}
	patch, err := json.Marshal(got.Patch)
	if err != nil {
		return refuse([]diag.Diagnostic{{Severity: diag.Error, Message: err.Error()}}), OutcomeFailed
	}
	resp := allow(ds)
	resp.Patch, resp.PatchType = patch, new(admissionv1.PatchTypeJSONPatch)
	return resp, OutcomeInjected
}

// parameters are the pairs in the path after /inject; a slash in a value is written
// --slash--, as Istio's clients do.
func parameters(u *url.URL) (cluster, network string) {
	_, rest, _ := strings.Cut(u.EscapedPath(), "/inject/")
	parts := strings.Split(rest, "/")
	for i := 0; i+1 < len(parts); i += 2 {
		value, err := url.PathUnescape(parts[i+1])
		if err != nil {
			continue
		}
		value = strings.ReplaceAll(value, "--slash--", "/")
		switch parts[i] {
		case "cluster":
			cluster = value
		case "net":
			network = value
		}
	}
	return cluster, network
}
