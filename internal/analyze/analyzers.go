package analyze

import (
	"slices"

	"github.com/meshctl/meshctl/internal/resource"
)

// Analyzers lists every check, in the order in which they are listed to users:
// those of single objects, those that Istio has, and our own.
func Analyzers() []Analyzer {
	return slices.Concat(validations(), istioAnalyzers(), ownAnalyzers())
}

func istioAnalyzers() []Analyzer {
	return []Analyzer{
		{"annotations.AlphaAnalyzer", "No annotation is one that may change with any version", []string{"IST0136"}, alphaAnnotations},
		{"annotations.K8sAnalyzer", "Annotations exist, stand where they have an effect, and have a value that can be used", []string{"IST0107", "IST0108", "IST0125", "IST0135"}, kubeAnnotations},
		{"applicationUID.Analyzer", "No program runs as the sidecar's user", []string{"IST0144"}, applicationUIDs},
		{"auth.AuthorizationPoliciesAnalyzer", "An AuthorizationPolicy selects workloads, and its namespaces exist", []string{"IST0101", "IST0127"}, authorizationPolicies},
		{"authn.BlockedCIDRsAnalyzer", "The control plane does not fetch keys from any address", []string{"IST0175"}, jwksFetch},
		{"conditions.ConditionAnalyzer", "No controller has written that it could not serve an object", []string{"IST0171"}, conditions},
		{"deployment.MultiServiceAnalyzer", "Services of one Deployment agree on its ports", []string{"IST0116", "IST0137"}, deploymentServices},
		{"deprecation.DeprecationAnalyzer", "No kind of CustomResourceDefinition is one that Istio has removed", []string{"IST0002"}, removedKinds},
		{"destinationrule.CaCertificateAnalyzer", "TLS to a destination verifies its certificate", []string{"IST0128", "IST0129"}, caCertificates},
		{"destinationrule.SubsetSelectPodAnalyzer", "A DestinationRule's host exists, and its subsets select pods", []string{"IST0173", "IST0174"}, subsetPods},
		{"envoyfilter.EnvoyPatchAnalyzer", "An EnvoyFilter's operations do what they look like", []string{"IST0151", "IST0152", "IST0153", "IST0154", "IST0155"}, envoyPatches},
		{"externalcontrolplane.ExternalControlPlaneAnalyzer", "Webhooks name a control plane that can be reached", []string{"IST0163", "IST0164"}, externalPlanes},
		{"gateway.CertificateAnalyzer", "No two Gateways of one workload use the same certificate", []string{"IST0138"}, gatewayCertificates},
		{"gateway.ConflictingGatewayAnalyzer", "A Gateway's selector selects a workload, and no other Gateway takes its hosts", []string{"IST0101", "IST0145"}, gatewayConflicts},
		{"gateway.IngressGatewayPortAnalyzer", "A Gateway's ports are ports of the Service in front of it", []string{"IST0162"}, gatewayPorts},
		{"gateway.SecretAnalyzer", "A Gateway's credentials exist and can be used", []string{"IST0101", "IST0161"}, gatewaySecrets},
		{"injection.Analyzer", "Namespaces say whether pods get a sidecar, and pods have the one that they should", []string{"IST0102", "IST0103", "IST0123", "IST0148"}, injections},
		{"injection.ImageAnalyzer", "Sidecars are of the image that the injector adds", []string{"IST0158"}, proxyImages},
		{"injection.ImageAutoAnalyzer", "Pods that leave their image to the injector get one", []string{"IST0146", "IST0147"}, autoImages},
		{"k8sgateway.CRDVersionAnalyzer", "Definitions of the Gateway API are recent enough", []string{"IST0176"}, gatewayAPIVersions},
		{"k8sgateway.SelectorAnalyzer", "No policy selects pods of a Gateway of the Gateway API by labels", []string{"IST0166"}, gatewaySelectorsInVain},
		{"meshnetworks.MeshNetworksAnalyzer", "Networks of the mesh name clusters that exist", []string{"IST0106", "IST0126"}, meshNetworkRegistries},
		{"service.PortNameAnalyzer", "Ports of Services say what they speak", []string{"IST0118", "IST0150"}, portNames},
		{"serviceentry.Analyzer", "ServiceEntries have addresses where nothing else tells their host", []string{"IST0134"}, serviceEntryAddresses},
		{"serviceentry.ConflictingServiceEntryProtocolAnalyzer", "ServiceEntries of one host and port agree on the protocol", []string{"IST0177"}, serviceEntryProtocols},
		{"services.MultiClusterServiceAnalyzer", "A Service is the same in every cluster", []string{"IST0170"}, clusterServices},
		{"sidecar.SelectorAnalyzer", "A Sidecar selects workloads, and no other Sidecar selects them too", []string{"IST0101", "IST0110", "IST0111", "IST0167"}, sidecarSelectors},
		{"telemetry.DefaultSelectorAnalyzer", "At most one Telemetry of a namespace has no selector", []string{"IST0160"}, telemetryDefaults},
		{"telemetry.LightstepAnalyzer", "No provider of a kind that is deprecated is used", []string{"IST0002"}, telemetryLightstep},
		{"telemetry.ProviderAnalyzer", "A Telemetry's providers exist", []string{"IST0157"}, telemetryProviders},
		{"telemetry.SelectorAnalyzer", "A Telemetry selects workloads, and no other Telemetry selects them too", []string{"IST0101", "IST0159"}, telemetrySelectors},
		{"virtualservice.ConflictingMeshGatewayHostsAnalyzer", "No two VirtualServices route one host for sidecars", []string{"IST0109"}, meshHostConflicts},
		{"virtualservice.DestinationHostAnalyzer", "A VirtualService's destinations exist, and name a port where they have several", []string{"IST0101", "IST0112", "IST0140"}, destinationHosts},
		{"virtualservice.DestinationRuleAnalyzer", "A VirtualService's subsets are defined", []string{"IST0101"}, destinationSubsets},
		{"virtualservice.GatewayAnalyzer", "A VirtualService's gateways exist and serve its hosts", []string{"IST0101", "IST0132", "IST0165"}, routeGateways},
		{"virtualservice.JWTClaimRouteAnalyzer", "Routes by claims of a token have a RequestAuthentication that checks it", []string{"IST0149"}, claimRoutes},
		{"webhook.Analyzer", "Webhooks lead to a Service, and no two take the same pods", []string{"IST0139"}, webhooks},
	}
}

func ownAnalyzers() []Analyzer {
	return []Analyzer{
		{"certificate.Lifetime", "Certificates of gateways are valid, stay so for 30 days, and serve one set of hosts each", []string{"MSH1110", "MSH1111"}, certificates},
		{"destinationrule.Failover", "Failover between localities has the outlier detection that it needs", []string{"MSH1108"}, blindFailover},
		{"gateway.WildcardHost", "No server of a Gateway takes every host", []string{"MSH1101"}, wildcardHosts},
		{"gatewayapi.Listener", "Listeners of the Gateway API do not conflict, and serve the routes that name them", []string{"MSH1202", "MSH1203", "MSH1206"}, listenerConflicts},
		{"gatewayapi.Reference", "References of the Gateway API lead to something, and are granted", []string{"MSH1201", "MSH1204"}, danglingReferences},
		{"gatewayapi.Route", "No two HTTPRoutes have the same match", []string{"MSH1205"}, routeConflicts},
		{"mesh.Derivation", "What the control plane says: delegates that are not there, what another object decides, what is not supported", []string{"MSH0201", "MSH0202", "MSH0203", "MSH0206", "MSH0207"}, derivation},
		{"mesh.SeveralForOne", "No two objects decide the same thing", []string{"MSH1102"}, severalForOne},
		{"mtls.Contradiction", "DestinationRules call workloads in the way that these demand", []string{"MSH1001"}, mtlsContradictions},
		{"object.Version", "Objects are written in the current version of their API", []string{"MSH1112"}, oldVersions},
		{"policy.Coverage", "No workload is left out by the policies of its namespace", []string{"MSH1003"}, uncovered},
		{"policy.Identity", "Policies that ask who a client is apply where clients prove it", []string{"MSH1005"}, identityWithoutMTLS},
		{"policy.Principal", "Service accounts in policies exist", []string{"MSH1002"}, principals},
		{"policy.Selector", "The selector of a PeerAuthentication or RequestAuthentication selects a workload", []string{"IST0127"}, policySelectors},
		{"policy.Token", "Where tokens are checked, a policy asks for one", []string{"MSH1004"}, tokensOptional},
		{"policy.TokenChecked", "Where a policy asks for a token, one is checked", []string{"MSH1006"}, tokensUnchecked},
		{"route.Retry", "Timeouts leave time for retries, and nothing is done twice", []string{"MSH1105", "MSH1106"}, routeRetries},
		{"route.Shadow", "No rule is covered by an earlier one with a shorter path", []string{"MSH1107"}, shadowedRules},
		{"route.Weight", "Weights add up to 100, over different destinations", []string{"MSH1103", "MSH1104"}, routeShares},
		{"service.Target", "Services select workloads that have their ports", []string{"MSH1113", "MSH1114"}, serviceTargets},
		{"serviceentry.TCPPort", "No two ServiceEntries share a port that only its number tells apart", []string{"MSH1109"}, sharedTCPPorts},
	}
}

// validations are one analyzer for each kind of which the content is read.
func validations() []Analyzer {
	var out []Analyzer
	for _, k := range resource.Kinds() {
		if k.IsTolerated() {
			continue
		}
		name := k.Kind.Kind
		if k.Kind == resource.KindKubeGateway {
			name = "KubernetesGateway" // Istio's name for it: its own has the same kind
		}
		codes := []string{resource.CodeSchema, resource.CodeSchemaWarning}
		if k.Kind == resource.KindVirtualService {
			codes = append(codes, resource.CodeUnreachableRule, resource.CodeIneffectiveMatch)
		}
		out = append(out, Analyzer{
			"schema.ValidationAnalyzer." + name, "Every field of " + k.Kind.Kind + " objects has a value that it may have", codes,
			func(w *world, f *findings) { validate(w, f, k.Kind) },
		})
	}
	return out
}

// validate checks each object of a kind by itself.
func validate(w *world, f *findings, k resource.Kind) {
	for _, o := range w.of(k) {
		if !w.isContext(o.Ref()) {
			f.out = append(f.out, resource.Validate(o)...)
		}
	}
}
