package version

import (
	"slices"
	"strings"
	"testing"
)

// TestSkewIsOfTheRevision: a proxy is held against the control plane that it is
// connected to; another revision's version says nothing of it.
func TestSkewIsOfTheRevision(t *testing.T) {
	v := versions{
		ControlPlane: []component{{Revision: "canary", Version: "1.31.0"}, {Revision: "default", Version: "v1.28.2"}, {Revision: "default", Version: ""}},
		DataPlane: []count{
			{"canary", "1.27.9", 1},
			{"canary", "1.29.0", 2},
			{"canary", "1.31.4", 1},
			{"default", "1.26.0", 1},
			{"default", "1.28.0", 4},
			{"default", "1.31.0", 1},
			{"default", "abc1234", 1},
		},
	}
	got := skew(v.ControlPlane, v.DataPlane)
	want := []string{"proxies of 1.27.9 are more than 2 minor versions behind control plane canary", "proxies of 1.31.0 are newer than control plane default"}
	if len(got) != len(want) || !strings.HasPrefix(got[0], want[0]) || !strings.HasPrefix(got[1], want[1]) {
		t.Errorf("skew: %q", got)
	}
	if lines := v.controlPlanes(); !slices.Equal(lines, []string{
		"canary control plane version: 1.31.0", "default control plane version: v1.28.2", "default control plane version: it does not answer",
	}) {
		t.Errorf("control planes: %q", lines)
	}
	if lines := v.dataPlanes(); !slices.Equal(lines, []string{
		"canary data plane version: 1.27.9 (1 proxy), 1.29.0 (2 proxies), 1.31.4 (1 proxy)",
		"default data plane version: 1.26.0 (1 proxy), 1.28.0 (4 proxies), 1.31.0 (1 proxy), abc1234 (1 proxy)",
	}) {
		t.Errorf("data planes: %q", lines)
	}
	one := versions{ControlPlane: []component{{Revision: "default", Version: "1.31.0"}}, DataPlane: []count{{"default", "1.31.0", 3}}}
	if lines := append(one.controlPlanes(), one.dataPlanes()...); !slices.Equal(lines, []string{"control plane version: 1.31.0", "data plane version: 1.31.0 (3 proxies)"}) {
		t.Errorf("of one revision: %q", lines)
	}
	if got := skew(one.ControlPlane, []count{{"default", "1.28.0", 1}}); len(got) != 1 || !strings.Contains(got[0], "behind the control plane") {
		t.Errorf("of one revision: %q", got)
	}
}
