package provision

import (
	"errors"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/inject"
)

// pod is the gateway's pod, complete: the webhook has nothing to add, so that a
// gateway can run in any namespace, and a new version of the mesh replaces it.
func pod(gw *gwv1.Gateway, in Inputs) (corev1.PodTemplateSpec, error) {
	name := Name(gw)
	account, _ := account(gw)
	meta := metav1.ObjectMeta{Namespace: gw.Namespace, Labels: labels(gw), Annotations: annotations(gw)}
	maps.Copy(meta.Labels, map[string]string{
		inject.NameInject: "true", inject.LabelRevision: revision(in),
		"service.istio.io/canonical-name": name, "service.istio.io/canonical-revision": "latest",
	})
	if n := gw.Labels[annTopology]; n != "" {
		meta.Labels[annTopology] = n
	}
	maps.Copy(meta.Annotations, map[string]string{
		"inject.istio.io/templates": "gateway",
		"prometheus.io/path":        "/stats/prometheus", "prometheus.io/port": "15020", "prometheus.io/scrape": "true",
	})
	bare := &corev1.Pod{ObjectMeta: meta, Spec: corev1.PodSpec{
		ServiceAccountName: account,
		// Listeners' ports are bound as they are, 80 and 443 too, by a process without rights.
		SecurityContext: &corev1.PodSecurityContext{
			RunAsNonRoot: new(true), Sysctls: []corev1.Sysctl{{Name: "net.ipv4.ip_unprivileged_port_start", Value: "0"}},
		},
		Containers: []corev1.Container{{
			Name: inject.ProxyContainer, Image: "auto",
			Ports: []corev1.ContainerPort{{Name: statusPortName, ContainerPort: statusPort, Protocol: corev1.ProtocolTCP}},
		}},
	}}
	in.Inject.Namespace = inject.Namespace{Name: gw.Namespace}
	in.Inject.CheckNamespace = false
	in.Inject.Owner = &inject.Owner{APIVersion: "apps/v1", Kind: "Deployment", Name: name}
	r, findings := inject.Mutate(bare, in.Inject)
	if !r.Decision.Inject {
		return corev1.PodTemplateSpec{}, fmt.Errorf("no pod can be made: %s", r.Decision.Reason)
	}
	if r.Pod == nil {
		return corev1.PodTemplateSpec{}, refusal(findings)
	}
	// Nobody has to look at it again.
	r.Pod.Labels[inject.NameInject] = "false"
	r.Pod.Namespace = ""
	return corev1.PodTemplateSpec{ObjectMeta: r.Pod.ObjectMeta, Spec: r.Pod.Spec}, nil
}

func refusal(findings []diag.Diagnostic) error {
	var all error
	for _, d := range findings {
		if d.Severity == diag.Error {
			all = errors.Join(all, errors.New(d.Message))
		}
	}
	if all == nil {
		all = errors.New("injection refuses the gateway's pod")
	}
	return all
}

func revision(in Inputs) string {
	if in.Inject.Revision == "" {
		return "default"
	}
	return in.Inject.Revision
}
