package bugreport

import (
	"strings"
	"testing"
)

// TestRedact: what must not leave, in the forms in which it stands in objects, dumps
// and logs, and what must stay for the report to be of use.
func TestRedact(t *testing.T) {
	t.Parallel()
	r := newRedactor()
	for _, secret := range []string{
		"-----BEGIN EC PRIVATE KEY-----\nS3CR3T\n-----END EC PRIVATE KEY-----",
		`{"private_key": {"inline_bytes": "S3CR3T"}}`,
		`{"name": "DB_PASSWORD", "value": "S3CR3T"}`,
		"{\n  \"value\": \"S3CR3T\",\n  \"name\": \"API_TOKEN\"\n}",
		`Authorization: Bearer S3CR3T-S3CR3T-0123`,
		`"authorization": "Basic S3CR3TS3CR3T=="`,
		`GET /?access_token=S3CR3T&x=1`,
		`postgres://user:S3CR3T@db:5432/`,
		`{"clientSecret": "S3CR3T"}`,
		`{"redis_password": "a\"S3CR3T"}`,
		"eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJTM0NSM1QifQ.S3CR3T",
	} {
		if got := string(r.redact([]byte(secret))); strings.Contains(got, "S3CR3T") {
			t.Errorf("%s\nbecame %s", secret, got)
		}
	}
	for _, kept := range []string{
		`{"name": "outbound|9080||reviews.default.svc.cluster.local", "value": "1"}`,
		"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
		`spiffe://cluster.local/ns/default/sa/bookinfo-reviews`,
		`"token_path": "/var/run/secrets/tokens/istio-token"`,
		`warning envoy config: gRPC config for cluster refused`,
	} {
		if got := string(r.redact([]byte(kept))); got != kept {
			t.Errorf("%s\nbecame %s", kept, got)
		}
	}
}
