package xdsgen_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"sigs.k8s.io/yaml"

	"github.com/meshctl/meshctl/internal/controlplane/xdsgen/xdsgentest"
	"github.com/meshctl/meshctl/internal/mesh"
)

// TestGolden compares resources with what the files of testdata say: in.yaml, and
// want/<dialect>/<sidecar or gateway>/<kind>/<name>.yaml for the resources that
// matter. want/findings lists the Diagnostics of the native sidecar. Run with
// UPDATE_GOLDEN=1 to rewrite what is wanted, then read the difference.
func TestGolden(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no goldens", err)
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".txtar"), func(t *testing.T) {
			t.Parallel()
			golden(t, f)
		})
	}
}

func golden(t *testing.T, file string) {
	t.Helper()
	update := os.Getenv("UPDATE_GOLDEN") != ""
	a, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	s, err := xdsgentest.Parse(string(a.Files[0].Data))
	if err != nil {
		t.Fatal(err)
	}
	have := map[string][]byte{}
	for _, d := range []mesh.Dialect{mesh.DialectNative, mesh.DialectEnvoy} {
		for kind, b := range map[string]*xdsgentest.Bundle{"sidecar": s.SidecarBundle(d), "gateway": s.GatewayBundle(d)} {
			for _, m := range b.All() {
				name := strings.Join([]string{"want", string(d), kind, strings.ToLower(string(m.ProtoReflect().Descriptor().Name())), nameOf(m)}, "/")
				have[name] = toYAML(t, m)
			}
			if kind == "sidecar" && d == mesh.DialectNative {
				var out bytes.Buffer
				for _, x := range b.Findings {
					out.WriteString(x.Code + " " + x.Severity.String() + " " + x.Error() + " | " + x.Effect + " | " + x.Fix + "\n")
				}
				have["want/findings"] = out.Bytes()
			}
		}
	}
	for i, f := range a.Files[1:] {
		got, ok := have[f.Name]
		if !ok {
			t.Errorf("there is no %s", f.Name)
			continue
		}
		if update {
			a.Files[i+1].Data = got
			continue
		}
		if diff := cmp.Diff(string(f.Data), string(got)); diff != "" {
			t.Errorf("%s:\n%s", f.Name, diff)
		}
	}
	if update {
		if err := os.WriteFile(file, txtar.Format(a), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func toYAML(t *testing.T, m proto.Message) []byte {
	t.Helper()
	j, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	y, err := yaml.JSONToYAML(j)
	if err != nil {
		t.Fatal(err)
	}
	return y
}
