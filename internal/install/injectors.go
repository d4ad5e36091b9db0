package install

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/meshctl/meshctl/internal/inject"
	"github.com/meshctl/meshctl/internal/kube"
)

// injectors are the control plane's pods that inject by the values of a release. They
// follow the ConfigMap, so that pods that start a moment after it has been applied may
// still get what was there before: and keep it.
type injectors struct {
	i         *Installer
	namespace string
	selector  string // of their pods
	digest    string // of the values that they are to use; "" if there is nothing to ask
	unasked   int    // how often one could not be asked
}

// injectorConfigMap begins the name of the ConfigMap with the values, before the revision.
const injectorConfigMap = "istio-sidecar-injector"

// monitoringPort is where a control plane has its page /injection.
const monitoringPort = 15014

// attempts are how often one that does not answer is asked.
const attempts = 5

// injectorsOf finds in a component what injects, and by which values it should.
func (i *Installer) injectorsOf(objects []Object) *injectors {
	out := &injectors{i: i}
	for _, o := range objects {
		switch {
		case o.GetKind() == "ConfigMap" && strings.HasPrefix(o.GetName(), injectorConfigMap):
			if values, ok, _ := unstructured.NestedString(o.Object, "data", "values"); ok {
				out.digest = inject.ValuesDigest(values)
			}
		case o.GetKind() == "Deployment":
			labels, _, _ := unstructured.NestedStringMap(o.Object, "spec", "selector", "matchLabels")
			if labels["app"] == "istiod" {
				out.namespace = o.GetNamespace()
				out.selector = metav1.FormatLabelSelector(&metav1.LabelSelector{MatchLabels: labels})
			}
		}
	}
	if out.selector == "" {
		out.digest = ""
	}
	return out
}

// outdated are those that use other values still. Who may not ask, or finds a control
// plane that does not answer the question, goes by the Deployment alone.
func (s *injectors) outdated(ctx context.Context) []Unready {
	if s.digest == "" || s.unasked >= attempts {
		return nil
	}
	pods, err := s.i.list(ctx, podKind, s.namespace, s.selector)
	if err != nil {
		s.unasked = attempts
		return nil
	}
	return s.ask(pods, func(p *unstructured.Unstructured) (string, error) { return s.i.valuesOf(ctx, p) })
}

// ask asks pods for the digest of their values.
func (s *injectors) ask(pods []*unstructured.Unstructured, valuesOf func(*unstructured.Unstructured) (string, error)) []Unready {
	var out []Unready
	for _, p := range pods {
		if p.GetDeletionTimestamp() != nil {
			continue
		}
		has, err := valuesOf(p)
		var k *kube.Error
		switch {
		case errors.As(err, &k) && k.Kind == kube.Forbidden, errors.Is(err, errNoPage):
			s.unasked = attempts
			return nil
		case err != nil:
			s.unasked++
			out = append(out, Unready{ID: IDOf(p), Reason: fmt.Sprintf("it does not say by which values it injects: %v", err)})
		case has != s.digest:
			out = append(out, Unready{
				ID: IDOf(p), Reason: "it injects by the values that were in force before",
				Hint: fmt.Sprintf("kubectl -n %s logs %s, which says so if the new ones are broken", p.GetNamespace(), p.GetName()),
			})
		}
	}
	return out
}

// errNoPage is a control plane of another make or an older version.
var errNoPage = errors.New("it has no page /injection")

const askTimeout = 5 * time.Second

// valuesOf asks a pod of the control plane for the digest of the values it injects by.
func (i *Installer) valuesOf(ctx context.Context, pod *unstructured.Unstructured) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	f, err := i.Client.Forward(ctx, pod.GetNamespace(), pod.GetName())
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	t := f.Transport(monitoringPort)
	defer t.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://istiod/injection", nil)
	if err != nil {
		return "", err
	}
	resp, err := (&http.Client{Transport: t}).Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	switch {
	case resp.StatusCode == http.StatusNotFound:
		return "", errNoPage
	case err != nil:
		return "", err
	case resp.StatusCode != http.StatusOK:
		return "", fmt.Errorf("%s: %s", resp.Status, strings.TrimSpace(string(body)))
	}
	return strings.TrimSpace(string(body)), nil
}
