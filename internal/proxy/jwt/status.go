package jwt

import "strings"

// Status is the outcome of a check.
type Status uint8

// Statuses. A request without a token is Missing, which a requirement may allow.
const (
	OK Status = iota
	Missing
	NotYetValid
	Expired
	BadFormat
	BadHeaderBase64
	BadHeaderJSON
	BadAlgorithm
	UnsupportedAlgorithm
	BadKeyID
	CriticalHeader
	BadPayloadBase64
	BadPayloadJSON
	BadIssuer
	BadSubject
	BadIssuedAt
	BadNotBefore
	BadExpiration
	BadID
	BadAudience
	BadSignatureBase64
	TooLarge
	UnknownIssuer
	AudienceNotAllowed
	VerificationFails
	NoKeys
	NoFittingKey
)

// texts are Envoy's, since people and tools look for them; those that begin a
// sentence of our own have no counterpart there.
var texts = [...]string{
	OK:                   "OK",
	Missing:              "Jwt is missing",
	NotYetValid:          "Jwt not yet valid",
	Expired:              "Jwt is expired",
	BadFormat:            "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections",
	BadHeaderBase64:      "Jwt header is an invalid Base64url encoded",
	BadHeaderJSON:        "Jwt header is an invalid JSON",
	BadAlgorithm:         "Jwt header [alg] field is required and must be a string",
	UnsupportedAlgorithm: "Jwt header [alg] is not supported",
	BadKeyID:             "Jwt header [kid] field is not a string",
	CriticalHeader:       "Jwt header [crit] is not supported",
	BadPayloadBase64:     "Jwt payload is an invalid Base64url encoded",
	BadPayloadJSON:       "Jwt payload is an invalid JSON",
	BadIssuer:            "Jwt payload [iss] field is not a string",
	BadSubject:           "Jwt payload [sub] field is not a string",
	BadIssuedAt:          "Jwt payload [iat] field is not an integer",
	BadNotBefore:         "Jwt payload [nbf] field is not an integer",
	BadExpiration:        "Jwt payload [exp] field is not an integer",
	BadID:                "Jwt payload [jti] field is not a string",
	BadAudience:          "Jwt payload [aud] field is not a string or string list",
	BadSignatureBase64:   "Jwt signature is an invalid Base64url encoded",
	TooLarge:             "Jwt is too large",
	UnknownIssuer:        "Jwt issuer is not configured",
	AudienceNotAllowed:   "Audiences in Jwt are not allowed",
	VerificationFails:    "Jwt verification fails",
	NoKeys:               "Jwks doesn't have any valid public key",
	NoFittingKey:         "Jwks doesn't have key to match kid or alg from Jwt",
}

// String is the text that the client is answered.
func (s Status) String() string { return texts[s] }

// Code is the HTTP status of the refusal.
func (s Status) Code() int {
	if s == AudienceNotAllowed {
		return 403
	}
	return 401
}

// Details are the response code details of the refusal.
func (s Status) Details() string {
	return "jwt_authn_access_denied{" + strings.ReplaceAll(s.String(), " ", "_") + "}"
}
