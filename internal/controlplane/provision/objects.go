package provision

import (
	"fmt"
	"maps"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/meshctl/meshctl/internal/mesh"
)

// builder makes one object after the other; the first error ends it.
type builder struct {
	gw    *gwv1.Gateway
	name  string
	ports []Port
	over  map[string][]string // patches by key
	out   []Object
	err   error
}

func (b *builder) meta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace: b.gw.Namespace, Name: name, Labels: labels(b.gw), Annotations: annotations(b.gw),
		OwnerReferences: []metav1.OwnerReference{{
			APIVersion: gwv1.GroupVersion.String(), Kind: "Gateway", Name: b.gw.Name, UID: b.gw.UID,
		}},
	}
}

// selector is what no patch changes: a Deployment's cannot be.
func (b *builder) selector() map[string]string {
	return map[string]string{mesh.LabelGatewayName: b.gw.Name}
}

// target is what scales and is protected.
func (b *builder) target() autoscalingv2.CrossVersionObjectReference {
	return autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: b.name}
}

func (b *builder) account(name string) {
	b.add(keyAccount, accounts, &corev1.ServiceAccount{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ServiceAccount"}, ObjectMeta: b.meta(name),
	})
}

// deployment leaves the number of replicas to whoever scales it.
func (b *builder) deployment(pod corev1.PodTemplateSpec) {
	b.add(keyDeployment, deployments, &appsv1.Deployment{
		TypeMeta: metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"}, ObjectMeta: b.meta(b.name),
		Spec: appsv1.DeploymentSpec{Selector: &metav1.LabelSelector{MatchLabels: b.selector()}, Template: pod},
	})
}

func (b *builder) service() {
	kind := corev1.ServiceTypeLoadBalancer
	if t := b.gw.Annotations[annServiceType]; t != "" {
		kind = corev1.ServiceType(t)
	}
	s := &corev1.Service{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Service"}, ObjectMeta: b.meta(b.name),
		Spec: corev1.ServiceSpec{
			Type: kind, Selector: b.selector(), IPFamilyPolicy: new(corev1.IPFamilyPolicyPreferDualStack),
			Ports: []corev1.ServicePort{{Name: statusPortName, Port: statusPort, TargetPort: intstr.FromInt32(statusPort), Protocol: corev1.ProtocolTCP, AppProtocol: new("tcp")}},
		},
	}
	maps.DeleteFunc(s.Annotations, func(k, _ string) bool { return k == annServiceType })
	for _, a := range b.gw.Spec.Addresses {
		if a.Value != "" && kind == corev1.ServiceTypeLoadBalancer {
			s.Spec.LoadBalancerIP = a.Value //nolint:staticcheck // the one way that every load balancer knows, and one address is all it says
			break
		}
	}
	for _, p := range b.ports {
		s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{
			Name: p.Name, Port: p.Number, TargetPort: intstr.FromInt32(p.Number), Protocol: corev1.ProtocolTCP, AppProtocol: new(strings.ToLower(plainName(p.Protocol))),
		})
	}
	b.add(keyService, services, s)
}

// autoscaler exists when parameters ask for it.
func (b *builder) autoscaler() {
	if len(b.over[keyAutoscaler]) == 0 {
		return
	}
	b.add(keyAutoscaler, autoscalers, &autoscalingv2.HorizontalPodAutoscaler{
		TypeMeta: metav1.TypeMeta{APIVersion: "autoscaling/v2", Kind: "HorizontalPodAutoscaler"}, ObjectMeta: b.meta(b.name),
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{ScaleTargetRef: b.target(), MaxReplicas: 1},
	})
}

// budget exists when parameters ask for it.
func (b *builder) budget() {
	if len(b.over[keyBudget]) == 0 {
		return
	}
	b.add(keyBudget, budgets, &policyv1.PodDisruptionBudget{
		TypeMeta: metav1.TypeMeta{APIVersion: "policy/v1", Kind: "PodDisruptionBudget"}, ObjectMeta: b.meta(b.name),
		Spec: policyv1.PodDisruptionBudgetSpec{Selector: &metav1.LabelSelector{MatchLabels: b.selector()}},
	})
}

// add lays what parameters say over an object, puts back what must stay, and
// leaves out what nobody decided.
func (b *builder) add(key string, gvr schema.GroupVersionResource, o runtime.Object) {
	if b.err != nil {
		return
	}
	made, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		b.err = fmt.Errorf("make the %s of Gateway %s/%s: %w", key, b.gw.Namespace, b.gw.Name, err)
		return
	}
	prune(made)
	u := &unstructured.Unstructured{Object: made}
	for _, patch := range b.over[key] {
		if u, b.err = lay(u, patch, o); b.err != nil {
			b.err = fmt.Errorf("parameters, key %s: %w", key, b.err)
			return
		}
	}
	b.restore(u, made)
	b.out = append(b.out, Object{gvr, u})
}

// restore keeps what makes the object this Gateway's.
func (b *builder) restore(u *unstructured.Unstructured, made map[string]any) {
	was := &unstructured.Unstructured{Object: made}
	u.SetAPIVersion(was.GetAPIVersion())
	u.SetKind(was.GetKind())
	u.SetNamespace(was.GetNamespace())
	u.SetName(was.GetName())
	u.SetOwnerReferences(was.GetOwnerReferences())
	all := u.GetLabels()
	if all == nil {
		all = map[string]string{}
	}
	for _, k := range []string{mesh.LabelGatewayName, LabelClass, LabelManaged} {
		all[k] = was.GetLabels()[k]
	}
	u.SetLabels(all)
	for _, path := range [][]string{{"spec", "selector"}, {"spec", "scaleTargetRef"}} {
		if v, ok, _ := unstructured.NestedFieldNoCopy(made, path...); ok {
			_ = unstructured.SetNestedField(u.Object, runtime.DeepCopyJSONValue(v), path...)
		}
	}
	if u.GetKind() == "Deployment" {
		_ = unstructured.SetNestedField(u.Object, b.gw.Name, "spec", "template", "metadata", "labels", mesh.LabelGatewayName)
	}
}

// prune takes out what Go's types write without anybody having said it: a status,
// times, empty strategies and resources. Applying them would claim the fields.
func prune(o map[string]any) {
	delete(o, "status")
	delete(o["metadata"].(map[string]any), "creationTimestamp") //nolint:forcetypeassert // a converter made it
	spec, _ := o["spec"].(map[string]any)
	if s, ok := spec["strategy"].(map[string]any); ok && len(s) == 0 {
		delete(spec, "strategy")
	}
	template, _ := spec["template"].(map[string]any)
	if m, ok := template["metadata"].(map[string]any); ok {
		delete(m, "creationTimestamp")
	}
}
