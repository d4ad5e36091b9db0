package oci_test

import (
	"archive/tar"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/meshctl/meshctl/internal/oci"
)

// folders are two with small programs, one per architecture, built once.
func folders(t *testing.T) oci.Folders {
	t.Helper()
	src := t.TempDir()
	write(t, filepath.Join(src, "go.mod"), "module example.com/small\n\ngo 1.26\n")
	write(t, filepath.Join(src, "main.go"), "package main\n\nfunc main() { println(\"here\") }\n")
	var out oci.Folders
	for _, arch := range []string{"amd64", "arm64"} {
		dir := filepath.Join(t.TempDir(), arch)
		for _, p := range oci.Programs() {
			if p.File != "" {
				continue // another image of the same program
			}
			cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags=-s -w", "-o", filepath.Join(dir, p.Name), ".")
			cmd.Dir = src
			cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
			if text, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, text)
			}
		}
		out = append(out, dir)
	}
	return out
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

var release = oci.Release{Hub: "registry.test/mesh", Tag: "v9", Version: "v9"}

func build(t *testing.T, from oci.Source) *oci.Set {
	t.Helper()
	set, err := oci.Build(release, from)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// TestImages looks at what a node would get.
func TestImages(t *testing.T) {
	t.Parallel()
	set := build(t, folders(t))
	for _, i := range set.Images {
		manifest, err := i.Index.IndexManifest()
		if err != nil {
			t.Fatal(err)
		}
		var platforms []string
		for _, m := range manifest.Manifests {
			platforms = append(platforms, m.Platform.String())
			image, err := i.Index.Image(m.Digest)
			if err != nil {
				t.Fatal(err)
			}
			config, err := image.ConfigFile()
			if err != nil {
				t.Fatal(err)
			}
			if got, want := config.Config.Entrypoint, []string{"/usr/local/bin/" + i.Program.Name}; !slices.Equal(got, want) {
				t.Errorf("%s starts %q", i.Program.Name, got)
			}
			if config.Config.User == "" || strings.HasPrefix(config.Config.User, "0") {
				t.Errorf("%s runs as %q", i.Program.Name, config.Config.User)
			}
			want := []string{
				"etc/ drwxr-xr-x", "etc/group -rw-r--r--", "etc/passwd -rw-r--r--", "etc/ssl/ drwxr-xr-x", "etc/ssl/certs/ drwxr-xr-x",
				"etc/ssl/certs/ca-certificates.crt -rw-r--r--", "tmp/ dtrwxrwxrwx",
				"usr/ drwxr-xr-x", "usr/local/ drwxr-xr-x", "usr/local/bin/ drwxr-xr-x", "usr/local/bin/" + i.Program.Name + " -rwxr-xr-x",
			}
			if diff := cmp.Diff(want, content(t, image)); diff != "" {
				t.Errorf("%s holds (-want +got):\n%s", i.Program.Name, diff)
			}
		}
		if want := []string{"linux/amd64", "linux/arm64"}; !slices.Equal(platforms, want) {
			t.Errorf("%s is for %v", i.Program.Name, platforms)
		}
	}
}

// content lists the files of an image with their modes, and checks that nothing
// of this machine is in them.
func content(t *testing.T, image v1.Image) []string {
	t.Helper()
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, l := range layers {
		r, err := l.Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		files := tar.NewReader(r)
		for {
			h, err := files.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if h.ModTime.Unix() != 0 || h.Uid != 0 || h.Gid != 0 || h.Uname != "" {
				t.Errorf("%s: time %s, owner %d:%d %q", h.Name, h.ModTime, h.Uid, h.Gid, h.Uname)
			}
			line := h.Name + " " + h.FileInfo().Mode().String()
			if h.Linkname != "" {
				line += " = " + h.Linkname
			}
			out = append(out, line)
		}
	}
	return out
}

// TestReproducible: two builds of the same programs are the same bytes, archives
// included.
func TestReproducible(t *testing.T) {
	t.Parallel()
	from := folders(t)
	var sums []map[string][32]byte
	for range 2 {
		dir := t.TempDir()
		if err := build(t, from).WriteArchives(dir); err != nil {
			t.Fatal(err)
		}
		sum := map[string][32]byte{}
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			b, err := os.ReadFile(filepath.Join(dir, e.Name()))
			if err != nil {
				t.Fatal(err)
			}
			sum[e.Name()] = sha256.Sum256(b)
		}
		if len(sum) != 3+6 {
			t.Errorf("%d files: %v", len(sum), entries)
		}
		sums = append(sums, sum)
	}
	if diff := cmp.Diff(sums[0], sums[1]); diff != "" {
		t.Errorf("the second differs:\n%s", diff)
	}
}

// TestPush sends archives to a registry under another hub and gets them back.
func TestPush(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(registry.New(registry.Logger(slog.NewLogLogger(slog.DiscardHandler, 0))))
	t.Cleanup(server.Close)
	host := strings.TrimPrefix(server.URL, "http://")
	dir := t.TempDir()
	set := build(t, folders(t))
	if err := set.WriteArchives(dir); err != nil {
		t.Fatal(err)
	}
	pushed := map[string]string{}
	for _, i := range set.Images {
		a, err := oci.OpenArchive(filepath.Join(dir, i.Program.Name+".tar"))
		if err != nil {
			t.Fatal(err)
		}
		err = oci.Registry{Hub: host + "/other"}.Push(t.Context(), a, func(ref, digest string) { pushed[ref] = digest })
		if err := errors.Join(err, a.Close()); err != nil {
			t.Fatal(err)
		}
	}
	want := map[string]string{}
	for _, i := range set.Images {
		digest, err := i.Index.Digest()
		if err != nil {
			t.Fatal(err)
		}
		for _, tag := range append([]string{"v9"}, i.Program.Tags...) {
			ref := oci.Reference(host+"/other", tag, i.Program.Name)
			want[ref] = digest.String()
			parsed, err := name.ParseReference(ref)
			if err != nil {
				t.Fatal(err)
			}
			index, err := remote.Index(parsed)
			if err != nil {
				t.Fatal(err)
			}
			if err := validate.Index(index); err != nil {
				t.Errorf("%s came back broken: %v", ref, err)
			}
		}
	}
	if diff := cmp.Diff(want, pushed); diff != "" {
		t.Errorf("pushed (-want +got):\n%s", diff)
	}
}

// TestSBOM: every module of the binary is listed, with where it is from.
func TestSBOM(t *testing.T) {
	t.Parallel()
	set := build(t, folders(t))
	for _, i := range set.Images {
		for _, b := range i.SBOMs {
			var doc struct {
				BOMFormat  string
				Components []struct{ Name, Version, PURL string }
			}
			if err := json.Unmarshal(b.JSON, &doc); err != nil {
				t.Fatal(err)
			}
			if doc.BOMFormat != "CycloneDX" || len(doc.Components) == 0 || doc.Components[0].Name != "stdlib" || doc.Components[0].Version == "" {
				t.Errorf("%s: %s", b.Program, b.JSON)
			}
		}
	}
}

// TestRefusedPrograms: what would not run in an empty image is not put into one.
func TestRefusedPrograms(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, p := range oci.Programs() {
		write(t, filepath.Join(dir, p.Name), "#!/bin/sh\n")
	}
	for what, from := range map[string]oci.Source{
		"is not a Linux program": oci.Folders{dir},
		"no such file":           oci.Folders{t.TempDir()},
		"no folder":              oci.Folders{},
		"shared libraries":       oci.Multicall("/bin/sh"),
	} {
		if _, err := oci.Build(release, from); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("want an error with %q, got: %v", what, err)
		}
	}
	if _, err := oci.Build(oci.Release{Hub: "UPPER/x", Tag: "v1"}, oci.Folders{dir}); err == nil {
		t.Error("a hub that no registry takes was taken")
	}
}

// TestMulticall: one file under all names, equal in all images.
func TestMulticall(t *testing.T) {
	t.Parallel()
	all := folders(t)
	set := build(t, oci.Multicall(filepath.Join(all[0], "meshd")))
	layers := map[v1.Hash]bool{}
	for _, i := range set.Images {
		manifest, err := i.Index.IndexManifest()
		if err != nil {
			t.Fatal(err)
		}
		image, err := i.Index.Image(manifest.Manifests[0].Digest)
		if err != nil {
			t.Fatal(err)
		}
		files := content(t, image)
		for _, want := range []string{"usr/local/bin/meshctl -rwxr-xr-x", "usr/local/bin/" + i.Program.Name + " -rwxr-xr-x = usr/local/bin/meshctl"} {
			if !slices.Contains(files, want) {
				t.Errorf("%s: no %s in %q", i.Program.Name, want, files)
			}
		}
		last, err := image.Layers()
		if err != nil {
			t.Fatal(err)
		}
		digest, err := last[1].Digest()
		if err != nil {
			t.Fatal(err)
		}
		layers[digest] = true
	}
	if len(layers) != 1 {
		t.Errorf("%d layers with the program", len(layers))
	}
}

// TestHostileArchive: an archive of somebody else stays in its folder.
func TestHostileArchive(t *testing.T) {
	t.Parallel()
	for name, header := range map[string]*tar.Header{
		"escapes":      {Name: "../outside", Typeflag: tar.TypeReg, Size: 1},
		"absolute":     {Name: "/etc/meshctl-outside", Typeflag: tar.TypeReg, Size: 1},
		"link":         {Name: "blobs", Typeflag: tar.TypeSymlink, Linkname: "/etc"},
		"huge":         {Name: "blobs/x", Typeflag: tar.TypeReg, Size: 1 << 40},
		"not a layout": {Name: "x", Typeflag: tar.TypeReg, Size: 1},
	} {
		file := filepath.Join(t.TempDir(), "a.tar")
		f, err := os.Create(file)
		if err != nil {
			t.Fatal(err)
		}
		w := tar.NewWriter(f)
		if err := w.WriteHeader(header); err != nil {
			t.Fatal(err)
		}
		_, _ = w.Write([]byte("x")) // a huge one is cut short
		f.Close()
		if a, err := oci.OpenArchive(file); err == nil {
			a.Close()
			t.Errorf("%s: opened", name)
		}
	}
	if _, err := os.Stat("/etc/meshctl-outside"); err == nil {
		t.Error("a file was written outside")
	}
	zipped := filepath.Join(t.TempDir(), "a.tar.gz")
	f, err := os.Create(zipped)
	if err != nil {
		t.Fatal(err)
	}
	z := gzip.NewWriter(f)
	z.Close()
	f.Close()
	if _, err := oci.OpenArchive(zipped); err == nil {
		t.Error("a compressed file was opened")
	}
}
