package oci_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/meshctl/meshctl/internal/oci"
	"github.com/meshctl/meshctl/internal/testenv/stockenvoy"
)

// TestEnvoyImage: a stock Envoy beside the agent, with all that it needs, for the
// architectures that one is given for, and the same bytes each time.
func TestEnvoyImage(t *testing.T) {
	t.Parallel()
	envoy, err := oci.OpenEnvoy(stockenvoy.Find(t))
	if err != nil {
		t.Fatal(err)
	}
	programs := folders(t)
	var digests []string
	for range 2 {
		set, err := oci.Build(release, programs, envoy)
		if err != nil {
			t.Fatal(err)
		}
		at := slices.IndexFunc(set.Images, func(i oci.Image) bool { return i.Program.Name == "meshproxy-envoy" })
		if at < 0 {
			t.Fatal("no image with the Envoy")
		}
		image := set.Images[at]
		manifest, err := image.Index.IndexManifest()
		if err != nil {
			t.Fatal(err)
		}
		if len(manifest.Manifests) != 1 || manifest.Manifests[0].Platform.Architecture != runtime.GOARCH {
			t.Fatalf("made for %+v", manifest.Manifests)
		}
		digests = append(digests, manifest.Manifests[0].Digest.String())
		one, err := image.Index.Image(manifest.Manifests[0].Digest)
		if err != nil {
			t.Fatal(err)
		}
		config, err := one.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		if c := config.Config; c.User != "1337:1337" || !slices.Equal(c.Entrypoint, []string{"/usr/local/bin/meshproxy"}) || !strings.Contains(c.Labels["org.opencontainers.image.licenses"], "LGPL") {
			t.Errorf("runs as %q %q, of %q", c.User, c.Entrypoint, c.Labels)
		}
		files := content(t, one)
		for _, want := range []string{"usr/local/bin/envoy -rwxr-xr-x", "usr/local/bin/meshproxy -rwxr-xr-x"} {
			if !slices.Contains(files, want) {
				t.Errorf("no %s in %q", want, files)
			}
		}
		if !slices.ContainsFunc(files, func(f string) bool { return strings.Contains(f, "/libc.so.6 ") }) {
			t.Errorf("no C library in %q", files)
		}
		checkEnvoySBOM(t, image.SBOMs[0].JSON)
	}
	if digests[0] != digests[1] {
		t.Errorf("two builds: %s", digests)
	}
}

func checkEnvoySBOM(t *testing.T, text []byte) {
	t.Helper()
	var doc struct {
		Components []struct {
			Name, Version, PURL string
			Hashes              []struct{ Content string }
			Licenses            []struct{ Expression string }
		}
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	licenses := map[string]string{}
	for _, c := range doc.Components {
		if len(c.Licenses) == 1 && len(c.Hashes) == 1 {
			licenses[c.Name] = c.Licenses[0].Expression
		}
		if c.Name == "envoy" && c.PURL != "pkg:github/envoyproxy/envoy@v"+c.Version {
			t.Errorf("Envoy is %+v", c)
		}
	}
	if licenses["envoy"] != "Apache-2.0" || licenses["libc.so.6"] != "LGPL-2.1-or-later" {
		t.Errorf("licences: %q", licenses)
	}
}

func TestWhatIsNoEnvoy(t *testing.T) {
	t.Parallel()
	text := filepath.Join(t.TempDir(), "text")
	write(t, text, "#!/bin/sh\n")
	for file, want := range map[string]string{
		text: "is not a Linux program", "/bin/true": "is not an Envoy", filepath.Join(t.TempDir(), "none"): "no such file",
	} {
		if _, err := oci.OpenEnvoy(file); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: want an error with %q, got: %v", file, want, err)
		}
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	envoy := oci.Envoy{Architecture: "arm64"}
	if _, err := oci.Build(release, oci.Multicall(self), envoy); err == nil {
		t.Error("an image for an architecture that no program is for")
	}
}
