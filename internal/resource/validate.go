package resource

import (
	"strings"

	"google.golang.org/protobuf/proto"
	extensionsv1alpha1 "istio.io/api/extensions/v1alpha1"
	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
	networkingv1beta1 "istio.io/api/networking/v1beta1"
	securityv1beta1 "istio.io/api/security/v1beta1"
	telemetryv1alpha1 "istio.io/api/telemetry/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	netv1 "k8s.io/api/networking/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/meshctl/meshctl/internal/diag"
)

// Validate checks what the fields of an object say: impossible values, rules
// across fields, and what is legal but likely not meant. It looks at nothing
// but the object. An Error means the object must not be used.
func Validate(o *Object) []diag.Diagnostic {
	c := &check{obj: o.Ref(), at: o.At}
	c.metadata(o)
	switch spec := o.Spec.(type) {
	case proto.Message:
		c.durations("spec", spec)
		c.istio(o, spec)
	case nil:
	default:
		c.kubernetes(o, spec)
	}
	sortFindings(c.ds)
	return c.ds
}

func (c *check) istio(o *Object, spec proto.Message) {
	switch s := spec.(type) {
	case *networkingv1alpha3.VirtualService:
		c.virtualService(s)
	case *networkingv1alpha3.DestinationRule:
		c.destinationRule(s)
	case *networkingv1alpha3.Gateway:
		c.gateway(s)
	case *networkingv1alpha3.ServiceEntry:
		c.serviceEntry(s)
	case *networkingv1alpha3.Sidecar:
		c.sidecar(s)
	case *networkingv1alpha3.WorkloadEntry:
		c.workloadEntry("spec", s, false)
	case *networkingv1alpha3.WorkloadGroup:
		c.workloadGroup(s)
	case *networkingv1alpha3.EnvoyFilter:
		c.envoyFilter(s)
	case *networkingv1beta1.ProxyConfig:
		c.proxyConfig(s)
	case *securityv1beta1.PeerAuthentication:
		c.peerAuthentication(s)
	case *securityv1beta1.RequestAuthentication:
		c.requestAuthentication(s)
	case *securityv1beta1.AuthorizationPolicy:
		c.authorizationPolicy(o, s)
	case *telemetryv1alpha1.Telemetry:
		c.telemetry(s)
	case *extensionsv1alpha1.WasmPlugin:
		c.wasmPlugin(s)
	case *extensionsv1alpha1.TrafficExtension:
		c.trafficExtension(s)
	}
}

func (c *check) kubernetes(o *Object, spec any) {
	switch s := spec.(type) {
	case *corev1.Service:
		c.service(s)
	case *corev1.Endpoints: //nolint:staticcheck // users still write Endpoints
		c.endpoints(s)
	case *corev1.Pod:
		c.podSpec("spec", &s.Spec)
	case *corev1.Namespace:
		c.problem("metadata.name", labelProblem(o.Key.Name), "")
	case *appsv1.Deployment:
		c.workload(s.Spec.Selector, &s.Spec.Template, s.Spec.Replicas)
	case *appsv1.ReplicaSet:
		c.workload(s.Spec.Selector, &s.Spec.Template, s.Spec.Replicas)
	case *appsv1.StatefulSet:
		c.workload(s.Spec.Selector, &s.Spec.Template, s.Spec.Replicas)
	case *appsv1.DaemonSet:
		c.workload(s.Spec.Selector, &s.Spec.Template, nil)
	case *batchv1.Job:
		c.podSpec("spec.template.spec", &s.Spec.Template.Spec)
	case *batchv1.CronJob:
		c.podSpec("spec.jobTemplate.spec.template.spec", &s.Spec.JobTemplate.Spec.Template.Spec)
	case *discoveryv1.EndpointSlice:
		c.endpointSlice(s)
	case *netv1.Ingress:
		c.ingress(s)
	case *gwv1.Gateway:
		c.kubeGateway(s)
	case *gwv1.HTTPRoute:
		c.httpRoute(s)
	case *gwv1.GRPCRoute:
		c.grpcRoute(s)
	case *gwv1.TCPRoute:
		c.tcpRoute(s)
	case *gwv1.TLSRoute:
		c.tlsRoute(s)
	case *gwv1.ReferenceGrant:
		c.referenceGrant(s)
	case *gwv1.BackendTLSPolicy:
		c.backendTLSPolicy(s)
	}
}

// metadata checks names, labels and annotation keys of every kind. Names of RBAC
// kinds may hold colons; they are not ours to judge.
func (c *check) metadata(o *Object) {
	if info := InfoOf(o.Key.Kind); info != nil && !info.IsTolerated() {
		c.problem("metadata.name", subdomainProblem(o.Key.Name), "use lower-case letters, digits, '-' and '.'")
	}
	if o.Key.Namespace != "" {
		c.problem("metadata.namespace", labelProblem(o.Key.Namespace), "")
	}
	c.labels("metadata.labels", o.Meta.Labels)
	for k := range o.Meta.Annotations {
		c.problem(entry("metadata.annotations", k), labelKeyProblem(k), "")
	}
	if v, ok := o.Meta.Annotations["istio.io/dry-run"]; ok && v != "true" && v != "false" {
		c.errorf("metadata.annotations[istio.io/dry-run]", `write "true" or "false"`, "%s is not a boolean", quoted(v))
	}
	if v, ok := o.Meta.Annotations["networking.istio.io/exportTo"]; ok {
		values := strings.Split(v, ",")
		for i := range values {
			values[i] = strings.TrimSpace(values[i])
		}
		sub := &check{obj: c.obj, at: func(string) diag.Pos { return c.at("metadata.annotations[networking.istio.io/exportTo]") }}
		sub.exportTo("metadata.annotations[networking.istio.io/exportTo]", values)
		c.ds = append(c.ds, sub.ds...)
	}
}
