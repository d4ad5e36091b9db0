package machine_test

import (
	"maps"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/meshctl/meshctl/internal/machine"
)

func TestEnvReadsWhatItWrites(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		e := machine.Env(rapid.MapOf(rapid.StringMatching(`[A-Z_]{1,8}`), rapid.StringMatching(`[ -~]{0,20}`)).Draw(t, "env"))
		got, err := machine.ParseEnv(e.String())
		if err != nil || !maps.Equal(got, e) {
			t.Fatalf("%q became %q: %v", e, got, err)
		}
	})
}

func TestEnvAsPeopleWriteIt(t *testing.T) {
	t.Parallel()
	got, err := machine.ParseEnv("# comment\n\nA=1\nexport B=\"x y\"\nC='{\"a\":\"b\"}'\nD=\n")
	want := machine.Env{"A": "1", "B": "x y", "C": `{"a":"b"}`, "D": ""}
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("%q, %v", got, err)
	}
	for text, says := range map[string]string{"A=1\nnonsense": "line 2", "A='x": "not closed", "=1": "line 1", `A=x\`: "backslash"} {
		if _, err := machine.ParseEnv(text); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestHosts(t *testing.T) {
	t.Parallel()
	h, err := machine.ParseHosts("192.0.2.7 istiod.istio-system.svc istiod # comment\n\nfd00::1 six\n192.0.2.8 istiod\n")
	if err != nil {
		t.Fatal(err)
	}
	for in, want := range map[string]string{
		"istiod.istio-system.svc:15012": "192.0.2.7:15012", "ISTIOD.:1": "192.0.2.7:1", "six:2": "[fd00::1]:2", "other:3": "other:3", "none": "none",
	} {
		if got := h.Address(in); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
	for _, bad := range []string{"192.0.2.7", "nonsense istiod"} {
		if _, err := machine.ParseHosts(bad); err == nil {
			t.Errorf("%q accepted", bad)
		}
	}
}
