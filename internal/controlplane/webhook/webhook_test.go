package webhook_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"

	"github.com/meshctl/meshctl/internal/analyze"
	"github.com/meshctl/meshctl/internal/controlplane/webhook"
	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/inject"
	"github.com/meshctl/meshctl/internal/resource"
)

func mesh() inject.Inputs {
	return inject.Inputs{Mesh: resource.DefaultMeshConfig(), Values: inject.DefaultValues("1.0.0"), Revision: "canary"}
}

func review(kind, operation, object string) string {
	group, version, name := "", "v1", kind
	if g, rest, ok := strings.Cut(kind, "/"); ok {
		group, name = g, rest
	}
	return `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u1","namespace":"shop","operation":"` + operation +
		`","kind":{"group":"` + group + `","version":"` + version + `","kind":"` + name + `"},"object":` + object + `}}`
}

// ask posts a review, and returns the response of a well-formed answer.
func ask(t *testing.T, h http.Handler, path, body string) *admissionv1.AdmissionResponse {
	t.Helper()
	code, text := post(t, h, path, "application/json", strings.NewReader(body))
	if code != http.StatusOK {
		t.Fatalf("%d %s", code, text)
	}
	var got admissionv1.AdmissionReview
	if err := json.Unmarshal(text, &got); err != nil || got.Response == nil || got.Response.UID != "u1" || got.Kind != "AdmissionReview" {
		t.Fatalf("%v: %s", err, text)
	}
	return got.Response
}

func post(t *testing.T, h http.Handler, path, contentType string, body io.Reader) (int, []byte) {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, body)
	r.Header.Set("Content-Type", contentType)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code, w.Body.Bytes()
}

const plainPod = `{"apiVersion":"v1","kind":"Pod","metadata":{"generateName":"a-"},"spec":{"containers":[{"name":"a","image":"a"}]}}`

func TestInject(t *testing.T) {
	t.Parallel()
	var outcomes []webhook.Outcome
	h := webhook.Inject(webhook.InjectInputs{Current: mesh, Done: func(o webhook.Outcome) { outcomes = append(outcomes, o) }})
	got := ask(t, h, "/inject/cluster/c2/net/n2?timeout=10s", review("Pod", "CREATE", plainPod))
	if !got.Allowed || got.PatchType == nil || *got.PatchType != admissionv1.PatchTypeJSONPatch {
		t.Fatalf("%+v", got)
	}
	var ops []inject.Operation
	if err := json.Unmarshal(got.Patch, &ops); err != nil || len(ops) == 0 {
		t.Fatalf("%v: %s", err, got.Patch)
	}
	for _, want := range []string{`"value":"c2"`, `"value":"n2"`, `"canary"`, "istio-init", "namespaces/shop/pods/a"} {
		if !strings.Contains(string(got.Patch), want) {
			t.Errorf("%s is not in the patch %s", want, got.Patch)
		}
	}
	with := func(annotation string) string {
		return strings.Replace(plainPod, `"generateName":"a-"`, `"generateName":"a-","annotations":{`+annotation+`}`, 1)
	}
	if got := ask(t, h, "/inject", review("Pod", "CREATE", with(`"sidecar.istio.io/inject":"false"`))); !got.Allowed || got.Patch != nil {
		t.Errorf("not wanted: %+v", got)
	}
	got = ask(t, h, "/inject", review("Pod", "CREATE", with(`"sidecar.istio.io/proxyCPU":"much","sidecar.istio.io/foo":"x"`)))
	if got.Allowed || got.Patch != nil || !strings.Contains(got.Result.Message, `annotation sidecar.istio.io/proxyCPU: "much" is not a quantity`) ||
		len(got.Warnings) != 1 || !strings.Contains(got.Warnings[0], "there is no annotation sidecar.istio.io/foo") {
		t.Errorf("refused: %+v", got)
	}
	for _, other := range []string{review("Pod", "UPDATE", plainPod), review("Pod", "DELETE", "null"), review("ConfigMap", "CREATE", "{}")} {
		if got := ask(t, h, "/inject", other); !got.Allowed || got.Patch != nil {
			t.Errorf("%s: %+v", other, got)
		}
	}
	if got := ask(t, h, "/inject", review("Pod", "CREATE", `{"spec":{"containers":3}}`)); got.Allowed || got.Result.Code != http.StatusBadRequest {
		t.Errorf("not a pod: %+v", got)
	}
	if len(outcomes) != 7 || outcomes[0] != webhook.OutcomeInjected || outcomes[1] != webhook.OutcomeSkipped || outcomes[2] != webhook.OutcomeRefused || outcomes[6] != webhook.OutcomeFailed {
		t.Errorf("outcomes %v", outcomes)
	}
}

func TestEnvelopesThatAreRefused(t *testing.T) {
	t.Parallel()
	h := webhook.Inject(webhook.InjectInputs{Current: mesh})
	for name, tc := range map[string]struct {
		contentType, body string
		code              int
	}{
		"not JSON":           {"application/json", "{", 400},
		"not a review":       {"application/json", `{"kind":"Pod","apiVersion":"v1"}`, 400},
		"of an old version":  {"application/json", `{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1beta1","request":{}}`, 400},
		"without a request":  {"application/json", `{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1"}`, 400},
		"another type":       {"text/plain", review("Pod", "CREATE", plainPod), 415},
		"deep":               {"application/json", strings.Repeat(`{"a":`, 20000), 400},
		"more than may come": {"application/json", `{"a":"` + strings.Repeat("x", 8<<20) + `"}`, 413},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if code, text := post(t, h, "/inject", tc.contentType, strings.NewReader(tc.body)); code != tc.code {
				t.Errorf("%d %s", code, text)
			}
			// Without a length that says so before.
			if code, text := post(t, h, "/inject", tc.contentType, io.MultiReader(strings.NewReader(tc.body))); code != tc.code {
				t.Errorf("of unknown length: %d %s", code, text)
			}
		})
	}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/inject", nil)
	w := httptest.NewRecorder()
	if h.ServeHTTP(w, r); w.Code != http.StatusMethodNotAllowed {
		t.Errorf("GET: %d", w.Code)
	}
}

func TestAPanicIsOneFailedAnswer(t *testing.T) {
	t.Parallel()
	h := webhook.Inject(webhook.InjectInputs{Current: func() inject.Inputs { panic("boom") }})
	for range 40 { // more than are worked on at once: each gives its place back
		if code, _ := post(t, h, "/inject", "application/json", strings.NewReader(review("Pod", "CREATE", plainPod))); code != http.StatusInternalServerError {
			t.Fatalf("%d", code)
		}
	}
}

const (
	vs = "networking.istio.io/VirtualService"
	// As the API server sends it, with what it has added.
	reviews = `{"apiVersion":"networking.istio.io/v1","kind":"VirtualService","metadata":{"name":"reviews","namespace":"shop","uid":"x","generation":1,
 "creationTimestamp":"2026-01-01T00:00:00Z","managedFields":[{"manager":"kubectl","operation":"Apply","apiVersion":"networking.istio.io/v1","time":"2026-01-01T00:00:00Z",
 "fieldsType":"FieldsV1","fieldsV1":{"f:spec":{"f:hosts":{}}}}]},"spec":{"hosts":["reviews"],"http":[{"route":[{"destination":{"host":"reviews","subset":"v1"}}]}]},
 "status":{"conditions":[{"type":"Reconciled"}]}}`
)

func TestValidate(t *testing.T) {
	t.Parallel()
	alone := webhook.Validate(webhook.ValidateInputs{})
	if got := ask(t, alone, "/validate", review(vs, "CREATE", reviews)); !got.Allowed || len(got.Warnings) != 0 {
		t.Errorf("good: %+v", got)
	}
	wrong := strings.Replace(strings.Replace(reviews, `"subset"`, `"subsett"`, 1), `"hosts":["reviews"]`, `"hosts":[]`, 1)
	got := ask(t, alone, "/validate", review(vs, "UPDATE", wrong))
	if got.Allowed || got.Result.Code != 422 || !strings.Contains(got.Result.Message, "did you mean subset?") {
		t.Errorf("wrong: %+v", got.Result)
	}
	for name, body := range map[string]string{
		"a deletion":          review(vs, "DELETE", "null"),
		"a kind of another's": review("example.com/Widget", "CREATE", `{"apiVersion":"example.com/v1","kind":"Widget"}`),
		"one that is left":    review("rbac.authorization.k8s.io/Role", "CREATE", `{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"Role"}`),
		"a status":            strings.Replace(review(vs, "UPDATE", wrong), `"operation"`, `"subResource":"status","operation"`, 1),
	} {
		if got := ask(t, alone, "/validate", body); !got.Allowed {
			t.Errorf("%s: %+v", name, got.Result)
		}
	}
	world, ds := resource.Decode("world.yaml", []byte(`
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: shop}
spec: {ports: [{port: 80, name: http}]}
`), resource.Options{})
	if worst, any := diag.Worst(ds); any && worst == diag.Error {
		t.Fatal(ds)
	}
	beside := webhook.Validate(webhook.ValidateInputs{Beside: func(ctx context.Context, o *resource.Object) ([]diag.Diagnostic, error) {
		return analyze.Run(ctx, analyze.Input{Objects: []*resource.Object{o}, Context: world})
	}})
	got = ask(t, beside, "/validate", review(vs, "CREATE", reviews))
	if !got.Allowed || len(got.Warnings) == 0 || !strings.Contains(strings.Join(got.Warnings, "\n"), "v1") {
		t.Errorf("a subset that is not there: %+v", got)
	}
	for _, w := range got.Warnings {
		if len(w) > 256 {
			t.Errorf("a warning of %d bytes", len(w))
		}
	}
}

func FuzzReview(f *testing.F) {
	f.Add([]byte(review("Pod", "CREATE", plainPod)), true)
	f.Add([]byte(review(vs, "CREATE", reviews)), false)
	injectHandler := webhook.Inject(webhook.InjectInputs{Current: mesh})
	validateHandler := webhook.Validate(webhook.ValidateInputs{})
	f.Fuzz(func(t *testing.T, body []byte, pods bool) {
		h := validateHandler
		if pods {
			h = injectHandler
		}
		code, text := post(t, h, "/inject", "application/json", bytes.NewReader(body))
		if code == http.StatusInternalServerError {
			t.Fatalf("panic: %s", text)
		}
		if code == http.StatusOK && !json.Valid(text) {
			t.Fatalf("not JSON: %s", text)
		}
	})
}
