package install

import (
	"strings"
	"testing"
)

// A mesh config is read as the version to come reads it.
func TestChangesOfAMeshConfig(t *testing.T) {
	t.Parallel()
	if got := changes("accessLogFile: /dev/stdout\ndefaultConfig: {concurrency: 2}\n"); got != "" {
		t.Errorf("of one that means what it meant: %s", got)
	}
	got := changes("accessLogFile: /dev/stdout\nfieldOfYore: true\n")
	if !strings.Contains(got, "fieldOfYore") || strings.Contains(got, "accessLogFile") {
		t.Errorf("of one with a field that is gone: %q", got)
	}
}
