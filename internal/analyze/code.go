package analyze

import "github.com/meshctl/meshctl/internal/diag"

// code is a kind of finding. docs/diagnostics has a page for each; a test holds
// both to the same level.
type code struct {
	id    string
	level diag.Severity
}

// Istio's codes, with Istio's levels. Those of single objects are in package resource.
var (
	codeInternal              = code{"IST0001", diag.Error}
	codeDeprecated            = code{"IST0002", diag.Warning}
	codeNotFound              = code{"IST0101", diag.Error}
	codeNotInjected           = code{"IST0102", diag.Info}
	codeMissingProxy          = code{"IST0103", diag.Warning}
	codeMisplacedAnnotation   = code{"IST0107", diag.Warning}
	codeUnknownAnnotation     = code{"IST0108", diag.Warning}
	codeMeshHostConflict      = code{"IST0109", diag.Error}
	codeSidecarConflict       = code{"IST0110", diag.Error}
	codeSidecarDefaults       = code{"IST0111", diag.Error}
	codePortRequired          = code{"IST0112", diag.Error}
	codeServiceProtocols      = code{"IST0116", diag.Warning}
	codePortName              = code{"IST0118", diag.Info}
	codeInjectionLabels       = code{"IST0123", diag.Warning}
	codeInvalidAnnotation     = code{"IST0125", diag.Warning}
	codeNetworkRegistry       = code{"IST0126", diag.Error}
	codeNoWorkload            = code{"IST0127", diag.Warning}
	codeUnverified            = code{"IST0128", diag.Warning}
	codeUnverifiedPort        = code{"IST0129", diag.Warning}
	codeHostNotInGateway      = code{"IST0132", diag.Warning}
	codeAddressesRequired     = code{"IST0134", diag.Warning}
	codeDeprecatedAnnotation  = code{"IST0135", diag.Info}
	codeAlphaAnnotation       = code{"IST0136", diag.Info}
	codeServicePorts          = code{"IST0137", diag.Warning}
	codeGatewayCertificates   = code{"IST0138", diag.Warning}
	codeWebhook               = code{"IST0139", diag.Error}
	codeIngressRules          = code{"IST0140", diag.Warning}
	codeApplicationUID        = code{"IST0144", diag.Warning}
	codeGatewayConflict       = code{"IST0145", diag.Error}
	codeImageAuto             = code{"IST0146", diag.Warning}
	codeImageAutoPod          = code{"IST0147", diag.Error}
	codeInjectedByDefault     = code{"IST0148", diag.Info}
	codeClaimsUnchecked       = code{"IST0149", diag.Error}
	codeExternalNamePort      = code{"IST0150", diag.Warning}
	codeFilterRelative        = code{"IST0151", diag.Warning}
	codeFilterReplace         = code{"IST0152", diag.Error}
	codeFilterAdd             = code{"IST0153", diag.Error}
	codeFilterRemove          = code{"IST0154", diag.Error}
	codeFilterProxyVersion    = code{"IST0155", diag.Warning}
	codeTelemetryProvider     = code{"IST0157", diag.Warning}
	codeProxyImage            = code{"IST0158", diag.Warning}
	codeTelemetryConflict     = code{"IST0159", diag.Error}
	codeTelemetryDefaults     = code{"IST0160", diag.Error}
	codeCredential            = code{"IST0161", diag.Error}
	codeGatewayPort           = code{"IST0162", diag.Warning}
	codeExternalPlane         = code{"IST0163", diag.Warning}
	codeExternalPlaneAddress  = code{"IST0164", diag.Info}
	codeInternalGateway       = code{"IST0165", diag.Warning}
	codeIneffectiveSelector   = code{"IST0166", diag.Warning}
	codeIneffectivePolicy     = code{"IST0167", diag.Warning}
	codeInconsistentService   = code{"IST0170", diag.Warning}
	codeNegativeCondition     = code{"IST0171", diag.Warning}
	codeEmptySubset           = code{"IST0173", diag.Error}
	codeUnknownHost           = code{"IST0174", diag.Warning}
	codeJWKSUnrestricted      = code{"IST0175", diag.Warning}
	codeGatewayAPIVersion     = code{"IST0176", diag.Warning}
	codeServiceEntryProtocols = code{"IST0177", diag.Warning}
)
