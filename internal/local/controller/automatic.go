package controller

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/resource"
)

// Names of what is made for a Gateway of the Gateway API, which are Istio's.
const (
	gatewayController = "istio.io/gateway-controller"
	gatewayClass      = "istio"
)

// firstFreePort is the first that a proxy without privileges can bind.
const firstFreePort = 1024

// Automatic makes what a cluster's gateway controller would make for each Gateway
// of the Gateway API that names no Service in spec.addresses: a Deployment of one
// proxy and a Service, both called NAME-istio, with the ports of its listeners.
// Objects that are there already are left alone.
func Automatic(objects []*resource.Object) ([]*resource.Object, error) {
	have := map[resource.Key]bool{}
	classes := map[string]bool{gatewayClass: true}
	for _, o := range objects {
		have[o.Key] = true
		if c, ok := o.Spec.(*gwv1.GatewayClass); ok {
			classes[o.Key.Name] = c.Spec.ControllerName == gatewayController
		}
	}
	var out []*resource.Object
	for _, o := range objects {
		g, ok := o.Spec.(*gwv1.Gateway)
		if !ok || !classes[string(g.Spec.GatewayClassName)] || namesService(g) {
			continue
		}
		namespace := cmp.Or(o.Key.Namespace, "default")
		for _, made := range []metav1.Object{gatewayDeployment(namespace, o.Key.Name), gatewayService(namespace, o.Key.Name, gatewayPorts(o.Key.Name, g, objects))} {
			m, err := resource.FromKube(made)
			if err != nil {
				return nil, fmt.Errorf("deploy Gateway %s/%s: %w", namespace, o.Key.Name, err)
			}
			if !have[m.Key] {
				m.Pos = o.Pos
				out = append(out, m)
			}
		}
	}
	return out, nil
}

// HasAutomatic reports whether the objects bring Gateways that get proxies of their
// own, and nothing that needs the default gateway.
func HasAutomatic(objects []*resource.Object) bool {
	made, err := Automatic(objects)
	return err == nil && len(made) > 0 && !slices.ContainsFunc(objects, func(o *resource.Object) bool {
		return o.Key.Kind == resource.KindGateway || o.Key.Kind == resource.KindIngress
	})
}

func namesService(g *gwv1.Gateway) bool {
	return slices.ContainsFunc(g.Spec.Addresses, func(a gwv1.GatewaySpecAddress) bool { return a.Type != nil && *a.Type == gwv1.HostnameAddressType })
}

// gatewayPorts are the ports of the listeners of a Gateway and of its ListenerSets,
// by number, with the protocol that names them.
func gatewayPorts(name string, g *gwv1.Gateway, objects []*resource.Object) map[int32]string {
	ports := map[int32]string{}
	add := func(port gwv1.PortNumber, p gwv1.ProtocolType) {
		if _, have := ports[port]; !have && p != gwv1.UDPProtocolType {
			ports[port] = map[gwv1.ProtocolType]string{gwv1.HTTPProtocolType: "http", gwv1.HTTPSProtocolType: "https", gwv1.TLSProtocolType: "tls"}[p]
		}
	}
	for _, l := range g.Spec.Listeners {
		add(l.Port, l.Protocol)
	}
	for _, o := range objects {
		s, ok := o.Spec.(*gwv1.ListenerSet)
		if !ok || string(s.Spec.ParentRef.Name) != name {
			continue
		}
		for _, l := range s.Spec.Listeners {
			add(l.Port, l.Protocol)
		}
	}
	return ports
}

// gatewayService leads ports that need privileges to others, 80 to 8080.
func gatewayService(namespace, name string, ports map[int32]string) *corev1.Service {
	taken := map[int32]bool{}
	for p := range ports {
		taken[p] = p >= firstFreePort
	}
	s := &corev1.Service{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Service"},
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name + "-istio", Labels: map[string]string{mesh.LabelGatewayName: name}},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, Selector: map[string]string{mesh.LabelGatewayName: name}},
	}
	for _, p := range slices.Sorted(maps.Keys(ports)) {
		to := p
		for to < firstFreePort || to != p && taken[to] {
			to += 8000
		}
		taken[to] = true
		s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{
			Name: fmt.Sprintf("%s-%d", cmp.Or(ports[p], "tcp"), p), Port: p, TargetPort: intstr.FromInt32(to), Protocol: corev1.ProtocolTCP,
		})
	}
	return s
}

func gatewayDeployment(namespace, name string) *appsv1.Deployment {
	labels := map[string]string{mesh.LabelGatewayName: name}
	return &appsv1.Deployment{
		TypeMeta:   metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"},
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name + "-istio", Labels: labels},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{
					Labels: map[string]string{
						mesh.LabelGatewayName: name, labelInject: "true", "service.istio.io/canonical-name": name + "-istio", "service.istio.io/canonical-revision": "latest",
					},
					Annotations: map[string]string{annotationTemplates: Gateway.String()},
				},
				Spec: corev1.PodSpec{
					ServiceAccountName: name + "-istio", Containers: []corev1.Container{{Name: "istio-proxy", Image: gatewayImage}},
				},
			},
		},
	}
}
