package resource

import (
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
)

// Groups of the kinds in the table.
const (
	GroupNetworking  = "networking.istio.io"
	GroupSecurity    = "security.istio.io"
	GroupTelemetry   = "telemetry.istio.io"
	GroupExtensions  = "extensions.istio.io"
	GroupGatewayAPI  = "gateway.networking.k8s.io"
	groupApps        = "apps"
	groupBatch       = "batch"
	groupDiscovery   = "discovery.k8s.io"
	groupKubeNet     = "networking.k8s.io"
	groupAutoscaling = "autoscaling"
	groupPolicy      = "policy"
	groupRBAC        = "rbac.authorization.k8s.io"
)

// Kinds as other packages name them in keys.
var (
	KindVirtualService        = Kind{GroupNetworking, "VirtualService"}
	KindDestinationRule       = Kind{GroupNetworking, "DestinationRule"}
	KindGateway               = Kind{GroupNetworking, "Gateway"}
	KindServiceEntry          = Kind{GroupNetworking, "ServiceEntry"}
	KindSidecar               = Kind{GroupNetworking, "Sidecar"}
	KindWorkloadEntry         = Kind{GroupNetworking, "WorkloadEntry"}
	KindWorkloadGroup         = Kind{GroupNetworking, "WorkloadGroup"}
	KindEnvoyFilter           = Kind{GroupNetworking, "EnvoyFilter"}
	KindProxyConfig           = Kind{GroupNetworking, "ProxyConfig"}
	KindPeerAuthentication    = Kind{GroupSecurity, "PeerAuthentication"}
	KindRequestAuthentication = Kind{GroupSecurity, "RequestAuthentication"}
	KindAuthorizationPolicy   = Kind{GroupSecurity, "AuthorizationPolicy"}
	KindTelemetry             = Kind{GroupTelemetry, "Telemetry"}
	KindWasmPlugin            = Kind{GroupExtensions, "WasmPlugin"}
	KindTrafficExtension      = Kind{GroupExtensions, "TrafficExtension"}

	KindNamespace      = Kind{"", "Namespace"}
	KindServiceAccount = Kind{"", "ServiceAccount"}
	KindService        = Kind{"", "Service"}
	KindEndpoints      = Kind{"", "Endpoints"}
	KindPod            = Kind{"", "Pod"}
	KindNode           = Kind{"", "Node"}
	KindConfigMap      = Kind{"", "ConfigMap"}
	KindSecret         = Kind{"", "Secret"}
	KindDeployment     = Kind{groupApps, "Deployment"}
	KindReplicaSet     = Kind{groupApps, "ReplicaSet"}
	KindStatefulSet    = Kind{groupApps, "StatefulSet"}
	KindDaemonSet      = Kind{groupApps, "DaemonSet"}
	KindJob            = Kind{groupBatch, "Job"}
	KindCronJob        = Kind{groupBatch, "CronJob"}
	KindEndpointSlice  = Kind{groupDiscovery, "EndpointSlice"}
	KindIngress        = Kind{groupKubeNet, "Ingress"}
	KindIngressClass   = Kind{groupKubeNet, "IngressClass"}

	KindGatewayClass      = Kind{GroupGatewayAPI, "GatewayClass"}
	KindKubeGateway       = Kind{GroupGatewayAPI, "Gateway"}
	KindHTTPRoute         = Kind{GroupGatewayAPI, "HTTPRoute"}
	KindGRPCRoute         = Kind{GroupGatewayAPI, "GRPCRoute"}
	KindTCPRoute          = Kind{GroupGatewayAPI, "TCPRoute"}
	KindTLSRoute          = Kind{GroupGatewayAPI, "TLSRoute"}
	KindReferenceGrant    = Kind{GroupGatewayAPI, "ReferenceGrant"}
	KindBackendTLSPolicy  = Kind{GroupGatewayAPI, "BackendTLSPolicy"}
	KindListenerSet       = Kind{GroupGatewayAPI, "ListenerSet"}
	networkingVersions    = []string{"v1", "v1beta1", "v1alpha3"}
	securityVersions      = []string{"v1", "v1beta1"}
	gatewayAPIVersions    = []string{"v1", "v1beta1"}
	gatewayAPIL4Versions  = []string{"v1", "v1alpha3", "v1alpha2"}
	gatewayAPIAllVersions = []string{"v1", "v1beta1", "v1alpha3", "v1alpha2"}
	v1                    = []string{"v1"}
)

// kindTable is every kind the mesh reads, and those it meets in ordinary
// folders and leaves alone. Istio's kinds come first: they win a shared name.
var kindTable = []KindInfo{
	istioKind(KindVirtualService, "virtualservices", []string{"vs"}, networkingVersions, func() proto.Message { return &networkingv1alpha3.VirtualService{} }),
	istioKind(KindDestinationRule, "destinationrules", []string{"dr"}, networkingVersions, func() proto.Message { return &networkingv1alpha3.DestinationRule{} }),
	istioKind(KindGateway, "gateways", []string{"gw"}, networkingVersions, func() proto.Message { return &networkingv1alpha3.Gateway{} }),
	istioKind(KindServiceEntry, "serviceentries", []string{"se"}, networkingVersions, func() proto.Message { return &networkingv1alpha3.ServiceEntry{} }),
	istioKind(KindSidecar, "sidecars", nil, networkingVersions, func() proto.Message { return &networkingv1alpha3.Sidecar{} }),
	istioKind(KindWorkloadEntry, "workloadentries", []string{"we"}, networkingVersions, func() proto.Message { return &networkingv1alpha3.WorkloadEntry{} }),
	istioKind(KindWorkloadGroup, "workloadgroups", []string{"wg"}, networkingVersions, func() proto.Message { return &networkingv1alpha3.WorkloadGroup{} }),
	istioKind(KindEnvoyFilter, "envoyfilters", []string{"ef"}, []string{"v1alpha3"}, func() proto.Message { return &networkingv1alpha3.EnvoyFilter{} }),
	istioKind(KindProxyConfig, "proxyconfigs", []string{"pc"}, []string{"v1beta1"}, func() proto.Message { return &networkingv1beta1.ProxyConfig{} }),
	istioKind(KindPeerAuthentication, "peerauthentications", []string{"pa"}, securityVersions, func() proto.Message { return &securityv1beta1.PeerAuthentication{} }),
	istioKind(KindRequestAuthentication, "requestauthentications", []string{"ra"}, securityVersions, func() proto.Message { return &securityv1beta1.RequestAuthentication{} }),
	istioKind(KindAuthorizationPolicy, "authorizationpolicies", []string{"ap"}, securityVersions, func() proto.Message { return &securityv1beta1.AuthorizationPolicy{} }),
	istioKind(KindTelemetry, "telemetries", []string{"telemetry"}, []string{"v1", "v1alpha1"}, func() proto.Message { return &telemetryv1alpha1.Telemetry{} }),
	istioKind(KindWasmPlugin, "wasmplugins", nil, []string{"v1alpha1"}, func() proto.Message { return &extensionsv1alpha1.WasmPlugin{} }),
	istioKind(KindTrafficExtension, "trafficextensions", nil, []string{"v1alpha1"}, func() proto.Message { return &extensionsv1alpha1.TrafficExtension{} }),

	clusterKind(KindNamespace, "namespaces", []string{"ns"}, v1, func() any { return &corev1.Namespace{} }),
	kubeKind(KindServiceAccount, "serviceaccounts", []string{"sa"}, v1, func() any { return &corev1.ServiceAccount{} }),
	kubeKind(KindService, "services", []string{"svc"}, v1, func() any { return &corev1.Service{} }),
	kubeKind(KindEndpoints, "endpoints", []string{"ep"}, v1, func() any { return &corev1.Endpoints{} }), //nolint:staticcheck // users still write Endpoints
	kubeKind(KindPod, "pods", []string{"po"}, v1, func() any { return &corev1.Pod{} }),
	clusterKind(KindNode, "nodes", []string{"no"}, v1, func() any { return &corev1.Node{} }),
	kubeKind(KindConfigMap, "configmaps", []string{"cm"}, v1, func() any { return &corev1.ConfigMap{} }),
	kubeKind(KindSecret, "secrets", nil, v1, func() any { return &corev1.Secret{} }),
	kubeKind(KindDeployment, "deployments", []string{"deploy"}, v1, func() any { return &appsv1.Deployment{} }),
	kubeKind(KindReplicaSet, "replicasets", []string{"rs"}, v1, func() any { return &appsv1.ReplicaSet{} }),
	kubeKind(KindStatefulSet, "statefulsets", []string{"sts"}, v1, func() any { return &appsv1.StatefulSet{} }),
	kubeKind(KindDaemonSet, "daemonsets", []string{"ds"}, v1, func() any { return &appsv1.DaemonSet{} }),
	kubeKind(KindJob, "jobs", nil, v1, func() any { return &batchv1.Job{} }),
	kubeKind(KindCronJob, "cronjobs", []string{"cj"}, v1, func() any { return &batchv1.CronJob{} }),
	kubeKind(KindEndpointSlice, "endpointslices", nil, v1, func() any { return &discoveryv1.EndpointSlice{} }),
	kubeKind(KindIngress, "ingresses", []string{"ing"}, v1, func() any { return &netv1.Ingress{} }),
	clusterKind(KindIngressClass, "ingressclasses", nil, v1, func() any { return &netv1.IngressClass{} }),

	clusterKind(KindGatewayClass, "gatewayclasses", []string{"gc"}, gatewayAPIVersions, func() any { return &gwv1.GatewayClass{} }),
	kubeKind(KindKubeGateway, "gateways", []string{"gtw"}, gatewayAPIVersions, func() any { return &gwv1.Gateway{} }),
	kubeKind(KindHTTPRoute, "httproutes", nil, gatewayAPIVersions, func() any { return &gwv1.HTTPRoute{} }),
	kubeKind(KindGRPCRoute, "grpcroutes", nil, v1, func() any { return &gwv1.GRPCRoute{} }),
	kubeKind(KindTCPRoute, "tcproutes", nil, gatewayAPIL4Versions, func() any { return &gwv1.TCPRoute{} }),
	kubeKind(KindTLSRoute, "tlsroutes", nil, gatewayAPIL4Versions, func() any { return &gwv1.TLSRoute{} }),
	kubeKind(KindReferenceGrant, "referencegrants", []string{"refgrant"}, gatewayAPIAllVersions, func() any { return &gwv1.ReferenceGrant{} }),
	kubeKind(KindBackendTLSPolicy, "backendtlspolicies", []string{"btlspolicy"}, gatewayAPIAllVersions, func() any { return &gwv1.BackendTLSPolicy{} }),
	kubeKind(KindListenerSet, "listenersets", []string{"lset"}, v1, func() any { return &gwv1.ListenerSet{} }),

	toleratedKind(Kind{groupAutoscaling, "HorizontalPodAutoscaler"}, "horizontalpodautoscalers", []string{"hpa"}, []string{"v2", "v1"}, true),
	toleratedKind(Kind{groupPolicy, "PodDisruptionBudget"}, "poddisruptionbudgets", []string{"pdb"}, v1, true),
	toleratedKind(Kind{groupKubeNet, "NetworkPolicy"}, "networkpolicies", []string{"netpol"}, v1, true),
	toleratedKind(Kind{groupRBAC, "Role"}, "roles", nil, v1, true),
	toleratedKind(Kind{groupRBAC, "RoleBinding"}, "rolebindings", nil, v1, true),
	toleratedKind(Kind{groupRBAC, "ClusterRole"}, "clusterroles", nil, v1, false),
	toleratedKind(Kind{groupRBAC, "ClusterRoleBinding"}, "clusterrolebindings", nil, v1, false),
	toleratedKind(Kind{"", "PersistentVolumeClaim"}, "persistentvolumeclaims", []string{"pvc"}, v1, true),
	toleratedKind(Kind{"", "PersistentVolume"}, "persistentvolumes", []string{"pv"}, v1, false),
	toleratedKind(Kind{"", "LimitRange"}, "limitranges", []string{"limits"}, v1, true),
	toleratedKind(Kind{"", "ResourceQuota"}, "resourcequotas", []string{"quota"}, v1, true),
	toleratedKind(Kind{"apiextensions.k8s.io", "CustomResourceDefinition"}, "customresourcedefinitions", []string{"crd", "crds"}, v1, false),
	toleratedKind(Kind{"admissionregistration.k8s.io", "MutatingWebhookConfiguration"}, "mutatingwebhookconfigurations", nil, v1, false),
	toleratedKind(Kind{"admissionregistration.k8s.io", "ValidatingWebhookConfiguration"}, "validatingwebhookconfigurations", nil, v1, false),
}

func istioKind(k Kind, plural string, short, versions []string, spec func() proto.Message) KindInfo {
	return KindInfo{Kind: k, Plural: plural, Short: short, Versions: versions, Namespaced: true, newSpec: spec}
}

func kubeKind(k Kind, plural string, short, versions []string, object func() any) KindInfo {
	return KindInfo{Kind: k, Plural: plural, Short: short, Versions: versions, Namespaced: true, newObject: object}
}

func clusterKind(k Kind, plural string, short, versions []string, object func() any) KindInfo {
	return KindInfo{Kind: k, Plural: plural, Short: short, Versions: versions, newObject: object}
}

func toleratedKind(k Kind, plural string, short, versions []string, namespaced bool) KindInfo {
	return KindInfo{Kind: k, Plural: plural, Short: short, Versions: versions, Namespaced: namespaced}
}
