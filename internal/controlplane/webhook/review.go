package webhook

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"runtime/debug"
	"strings"
	"unicode/utf8"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meshctl/meshctl/internal/diag"
)

// Bounds.
const (
	maxBody       = 7 << 20 // the object and its predecessor, each at most what etcd stores
	maxAtOnce     = 32
	maxWarning    = 256 // the API server cuts longer ones
	maxWarnings   = 10
	maxRefusals   = 20
	reviewVersion = "admission.k8s.io/v1"
)

// judge answers one question. The response's UID is filled in by the caller.
type judge func(*http.Request, *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse

// reviewer is the handler around a judge.
type reviewer struct {
	judge judge
	slots chan struct{}
	log   *slog.Logger
}

func newReviewer(j judge, log *slog.Logger) http.Handler {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &reviewer{judge: j, slots: make(chan struct{}, maxAtOnce), log: log}
}

func (v *reviewer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	select {
	case v.slots <- struct{}{}:
		defer func() { <-v.slots }()
	case <-r.Context().Done():
		return
	}
	defer func() {
		if p := recover(); p != nil {
			v.log.ErrorContext(r.Context(), "admission request not answered", "err", fmt.Sprint(p), "stack", string(debug.Stack()))
			http.Error(w, "internal error", http.StatusInternalServerError)
		}
	}()
	req, status, err := read(w, r)
	if err != nil {
		v.log.WarnContext(r.Context(), "admission request not understood", "err", err)
		http.Error(w, err.Error(), status)
		return
	}
	resp := v.judge(r, req)
	resp.UID = req.UID
	b, err := json.Marshal(admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: reviewVersion, Kind: "AdmissionReview"}, Response: resp,
	})
	if err != nil {
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(b)
}

// read takes the request out of its envelope.
func read(w http.ResponseWriter, r *http.Request) (*admissionv1.AdmissionRequest, int, error) {
	if r.Method != http.MethodPost {
		return nil, http.StatusMethodNotAllowed, errors.New("use POST")
	}
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/json" {
		return nil, http.StatusUnsupportedMediaType, errors.New("want application/json")
	}
	if r.ContentLength > maxBody {
		return nil, http.StatusRequestEntityTooLarge, fmt.Errorf("more than %d bytes", maxBody)
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			return nil, http.StatusRequestEntityTooLarge, err
		}
		return nil, http.StatusBadRequest, err
	}
	return parse(body)
}

func parse(body []byte) (*admissionv1.AdmissionRequest, int, error) {
	var review admissionv1.AdmissionReview
	if err := json.Unmarshal(body, &review); err != nil {
		return nil, http.StatusBadRequest, fmt.Errorf("not an AdmissionReview: %w", err)
	}
	switch {
	case review.APIVersion != reviewVersion || review.Kind != "AdmissionReview":
		return nil, http.StatusBadRequest, fmt.Errorf("want an AdmissionReview of %s, not %q of %q", reviewVersion, review.Kind, review.APIVersion)
	case review.Request == nil:
		return nil, http.StatusBadRequest, errors.New("an AdmissionReview without request")
	}
	return review.Request, http.StatusOK, nil
}

func allow(ds []diag.Diagnostic) *admissionv1.AdmissionResponse {
	return &admissionv1.AdmissionResponse{Allowed: true, Warnings: warnings(ds)}
}

// refuse says all that is wrong; what is only doubtful goes along as warnings.
func refuse(ds []diag.Diagnostic) *admissionv1.AdmissionResponse {
	var lines []string
	for _, d := range ds {
		if d.Severity == diag.Error {
			lines = append(lines, line(d))
		}
	}
	if n := len(lines); n > maxRefusals {
		lines = append(lines[:maxRefusals], fmt.Sprintf("and %d more", n-maxRefusals))
	}
	return &admissionv1.AdmissionResponse{
		Warnings: warnings(ds),
		Result: &metav1.Status{
			Status: metav1.StatusFailure, Reason: metav1.StatusReasonInvalid, Code: http.StatusUnprocessableEntity,
			Message: strings.Join(lines, "\n"),
		},
	}
}

// line is a finding without its object, which the API server names.
func line(d diag.Diagnostic) string {
	text := d.Message
	if d.Field != "" && !strings.Contains(d.Message, d.Field) {
		text = d.Field + ": " + text
	}
	if d.Fix != "" {
		text += " (" + d.Fix + ")"
	}
	return text + " [" + d.Code + "]"
}

func warnings(ds []diag.Diagnostic) []string {
	var all []string
	for _, d := range ds {
		if d.Severity != diag.Warning {
			continue
		}
		if len(all) == maxWarnings {
			return append(all, "and more; meshctl analyze says all")
		}
		all = append(all, cut(line(d), maxWarning))
	}
	return all
}

// cut shortens a text to n bytes, at the end of a letter.
func cut(text string, n int) string {
	if len(text) <= n {
		return text
	}
	const dots = "…"
	end := n - len(dots)
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + dots
}
