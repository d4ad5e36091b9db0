package settings_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/meshctl/meshctl/internal/settings"
)

func load(t *testing.T, file string, env []string, args ...string) (settings.Settings, error) {
	t.Helper()
	home := t.TempDir()
	if file != "" {
		path := filepath.Join(home, "meshctl", "config.yaml")
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	flags.String("namespace", "", "")
	flags.String("istioNamespace", "istio-system", "")
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	return settings.Load(flags, settings.Surroundings{Environ: func() []string { return env }, Home: home})
}

// TestPrecedence adds a stronger source in each case, and looks at the origin.
func TestPrecedence(t *testing.T) {
	t.Parallel()
	file := "namespace: from-file\nistio-namespace: mesh\n"
	istioctl, ours := "ISTIOCTL_NAMESPACE=from-istioctl", "MESHCTL_NAMESPACE=from-env"
	for _, c := range []struct {
		name, file  string
		env, args   []string
		want, from  string
		wantControl string
	}{
		{"defaults", "", nil, nil, "", "default", "istio-system"},
		{"a file", file, nil, nil, "from-file", "file ", "mesh"},
		{"istioctl's variable", file, []string{istioctl}, nil, "from-istioctl", "environment ISTIOCTL_NAMESPACE", "mesh"},
		{"ours is stronger", file, []string{ours, istioctl}, nil, "from-env", "environment MESHCTL_NAMESPACE", "mesh"},
		{"a flag is strongest", file, []string{ours}, []string{"--namespace", "x"}, "x", "flag --namespace", "mesh"},
		{"a flag may say the default", file, nil, []string{"--istioNamespace", "istio-system"}, "from-file", "file ", "istio-system"},
		{"an empty variable is none", file, []string{"MESHCTL_NAMESPACE="}, nil, "from-file", "file ", "mesh"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s, err := load(t, c.file, c.env, c.args...)
			if err != nil {
				t.Fatal(err)
			}
			if s.Namespace != c.want || !strings.HasPrefix(s.Origin["namespace"], c.from) || s.IstioNamespace != c.wantControl {
				t.Errorf("got %q from %q, control plane %q; want %q from %q, %q", s.Namespace, s.Origin["namespace"], s.IstioNamespace, c.want, c.from, c.wantControl)
			}
		})
	}
}

func TestBadFiles(t *testing.T) {
	t.Parallel()
	for name, file := range map[string]string{
		"unknown key": "namespac: x", "not YAML": "a: [", "a list": "- a", "nested": "namespace: {a: b}",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := load(t, file, nil); err == nil {
				t.Errorf("%s is taken", file)
			}
		})
	}
	if _, err := load(t, "", []string{"MESHCTL_CONFIG=/does/not/exist"}); err == nil {
		t.Error("a named file that is not there is taken")
	}
}

// TestKeys: each key can be read back, so that none is forgotten in Values.
func TestKeys(t *testing.T) {
	t.Parallel()
	for _, k := range settings.Keys() {
		want := "value"
		if k.Name == "kubeclient-timeout" {
			want = "7s"
		}
		s, err := load(t, "", []string{k.Variable() + "=" + want})
		if err != nil {
			t.Fatal(err)
		}
		if got := s.Values()[k.Name]; got != want {
			t.Errorf("%s is %q by %s", k.Name, got, k.Variable())
		}
	}
}
