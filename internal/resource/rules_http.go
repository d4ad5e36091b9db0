package resource

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"
)

// Bounds on regular expressions: matching is linear (RE2), but a program of any
// size would still let one object take any amount of memory.
const (
	maxRegexLength  = 1024
	maxRegexProgram = 10_000
)

// regexProblem checks an RE2 expression and the size of its program.
func regexProblem(s string) string {
	if len(s) > maxRegexLength {
		return fmt.Sprintf("the regular expression has %d characters, at most %d are allowed", len(s), maxRegexLength)
	}
	parsed, err := syntax.Parse(s, syntax.Perl)
	if err != nil {
		return fmt.Sprintf("%s is not an RE2 regular expression: %s", quoted(s), strings.TrimPrefix(err.Error(), "error parsing regexp: "))
	}
	prog, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return fmt.Sprintf("%s is not an RE2 regular expression: %v", quoted(s), err)
	}
	if len(prog.Inst) > maxRegexProgram {
		return fmt.Sprintf("the regular expression %s is too large: %d instructions, at most %d are allowed", quoted(s), len(prog.Inst), maxRegexProgram)
	}
	if _, err := regexp.Compile(s); err != nil {
		return fmt.Sprintf("%s is not an RE2 regular expression: %v", quoted(s), err)
	}
	return ""
}

// headerNameProblem checks a field name (RFC 9110 §5.1, a token).
func headerNameProblem(s string) string {
	if s == "" {
		return "a header name must not be empty"
	}
	if len(s) > 256 {
		return fmt.Sprintf("the header name %s has %d characters, at most 256 are allowed", quoted(s), len(s))
	}
	for i := range len(s) {
		if !isTokenByte(s[i]) {
			return fmt.Sprintf("%s is not a header name: the character %q is not allowed", quoted(s), s[i])
		}
	}
	return ""
}

func isTokenByte(b byte) bool {
	return isAlnum(b) || strings.IndexByte("!#$%&'*+-.^_`|~", b) >= 0
}

// headerValueProblem checks a field value (RFC 9110 §5.5): no control
// characters, which would let a value end its line.
func headerValueProblem(s string) string {
	for i := range len(s) {
		if b := s[i]; b < 0x20 && b != '\t' || b == 0x7f {
			return fmt.Sprintf("a header value must not contain the control character %q", b)
		}
	}
	return ""
}

// methodProblem checks an HTTP method (RFC 9110 §9.1, a token).
func methodProblem(s string) string {
	if p := headerNameProblem(s); p != "" {
		return fmt.Sprintf("%s is not an HTTP method", quoted(s))
	}
	return ""
}

// statusProblem checks an HTTP status code that is low or above.
func statusProblem(code, low int64) string {
	if code < low || code > 599 {
		return fmt.Sprintf("status %d is out of range: %d to 599", code, low)
	}
	return ""
}

// grpcStatuses are the names of the gRPC status codes (grpc.io/docs/guides/status-codes).
var grpcStatuses = []string{
	"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND",
	"ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED",
	"OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
}

// retryConditions are the words of Envoy's x-envoy-retry-on and
// x-envoy-retry-grpc-on, which retryOn takes.
var retryConditions = []string{
	"5xx", "gateway-error", "reset", "reset-before-request", "connect-failure", "envoy-ratelimited",
	"retriable-4xx", "refused-stream", "retriable-status-codes", "retriable-headers", "http3-post-connect-failure",
	"cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable",
}

// retryOnProblem checks a comma-separated list of retry conditions and status codes.
func retryOnProblem(s string) (problem, fix string) {
	for word := range strings.SplitSeq(s, ",") {
		word = strings.TrimSpace(word)
		if slices.Contains(retryConditions, word) {
			continue
		}
		if code, err := strconv.Atoi(word); err == nil {
			if p := statusProblem(int64(code), 100); p != "" {
				return p, ""
			}
			continue
		}
		if word == "" {
			return "retryOn has an empty condition", "remove the comma"
		}
		return fmt.Sprintf("%s is not a retry condition: known are %s, and status codes", quoted(word), strings.Join(retryConditions, ", ")), didYouMean(word, retryConditions)
	}
	return "", ""
}
