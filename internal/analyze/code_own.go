package analyze

import "github.com/meshctl/meshctl/internal/diag"

// Our own codes: 10 is who may talk to whom, 11 routing and gateways, 12 the
// Gateway API. Those of reading (01), of the control plane (02) and of a mesh on one
// machine (08) are where they are raised.
var (
	codeMTLSContradiction   = code{"MSH1001", diag.Error}
	codeNoAccount           = code{"MSH1002", diag.Warning}
	codeUncovered           = code{"MSH1003", diag.Info}
	codeTokensOptional      = code{"MSH1004", diag.Warning}
	codeIdentityWithoutMTLS = code{"MSH1005", diag.Warning}
	codeTokensUnchecked     = code{"MSH1006", diag.Warning}

	codeWildcardExposed    = code{"MSH1101", diag.Info}
	codeSeveralForOne      = code{"MSH1102", diag.Warning}
	codeDestinationTwice   = code{"MSH1103", diag.Warning}
	codeWeightSum          = code{"MSH1104", diag.Info}
	codeTimeoutShort       = code{"MSH1105", diag.Warning}
	codeRetryNotIdempotent = code{"MSH1106", diag.Warning}
	codeShadowedRule       = code{"MSH1107", diag.Warning}
	codeFailoverBlind      = code{"MSH1108", diag.Warning}
	codeTCPPortShared      = code{"MSH1109", diag.Warning}
	codeCertificateExpires = code{"MSH1110", diag.Warning}
	codeSameCertificate    = code{"MSH1111", diag.Warning}
	codeOldVersion         = code{"MSH1112", diag.Info}
	codeNoEndpoints        = code{"MSH1113", diag.Warning}
	codeTargetPort         = code{"MSH1114", diag.Warning}

	codeDangling         = code{"MSH1201", diag.Error}
	codeListenerConflict = code{"MSH1202", diag.Error}
	codeHostnameUnserved = code{"MSH1203", diag.Error}
	codeNotGranted       = code{"MSH1204", diag.Error}
	codeRouteConflict    = code{"MSH1205", diag.Warning}
	codeRouteRefused     = code{"MSH1206", diag.Error}
)
