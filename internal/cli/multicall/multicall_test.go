package multicall

import "testing"

// TestNames: a path and a bare name mean the same program; other names are meshctl's.
func TestNames(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{
		"meshproxy": true, "/usr/bin/meshd": true, "bookinfo": true,
		"meshctl": false, "kubectl-mesh": false, "": false, "meshproxy2": false,
	} {
		if _, got := find(name); got != want {
			t.Errorf("find(%q) is %v", name, got)
		}
	}
}
