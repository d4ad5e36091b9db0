package inject_test

import (
	"testing"

	"github.com/meshctl/meshctl/internal/inject"
)

func TestNativeSidecarsNeedEveryKubeletToHaveThem(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]bool{
		"v1.28.9": false, "v1.31.9": false, "v1.32.0": true, "v1.35.4+k3s1": true, "v1.33.1-eks-1": true, "seven": false,
	} {
		if got := inject.NativeSidecars(version); got != want {
			t.Errorf("%s: %v", version, got)
		}
	}
}
