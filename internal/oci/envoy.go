package oci

import (
	"cmp"
	"context"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Envoy is a stock Envoy for one architecture, with the shared libraries that it
// needs: an image has none of its own.
type Envoy struct {
	Architecture string
	Version      string // "" where this machine cannot run it to ask
	files        []foreign
}

// foreign is a file that others have built.
type foreign struct {
	from, to string // path here, and in the image without the first slash
	name     string
	license  string // SPDX; "" is not known
	sha256   string
}

// libraries are folders in which loaders look, by architecture. %s is the
// architecture's name of GNU.
var libraries = []string{"lib/%s-linux-gnu", "usr/lib/%s-linux-gnu", "lib64", "usr/lib64", "lib", "usr/lib", "usr/%s-linux-gnu/lib"}

var gnuNames = map[string]string{"amd64": "x86_64", "arm64": "aarch64"}

// licenses of libraries that an Envoy may need: glibc's and GCC's.
var licenses = map[string]string{
	"ld-linux-x86-64": "LGPL-2.1-or-later", "ld-linux-aarch64": "LGPL-2.1-or-later",
	"libc": "LGPL-2.1-or-later", "libm": "LGPL-2.1-or-later", "libpthread": "LGPL-2.1-or-later", "librt": "LGPL-2.1-or-later",
	"libdl": "LGPL-2.1-or-later", "libresolv": "LGPL-2.1-or-later",
	"libgcc_s": "GPL-3.0-or-later WITH GCC-exception-3.1", "libstdc++": "GPL-3.0-or-later WITH GCC-exception-3.1",
}

// OpenEnvoy reads an Envoy's executable, and finds its libraries on this machine.
func OpenEnvoy(file string) (Envoy, error) { return openEnvoy(file, "/") }

func openEnvoy(file, root string) (Envoy, error) {
	f, err := elf.Open(file)
	if err != nil {
		return Envoy{}, fmt.Errorf("%s is not a Linux program: %w", file, err)
	}
	defer f.Close()
	e := Envoy{}
	var ok bool
	if e.Architecture, ok = architectures[f.Machine]; !ok {
		return Envoy{}, fmt.Errorf("%s: no images are made for %s", file, f.Machine)
	}
	if e.Version, err = envoyVersion(file); err != nil {
		return Envoy{}, err
	}
	e.files = []foreign{{from: file, to: binFolder + "/envoy", name: "envoy", license: "Apache-2.0"}}
	loader, err := interpreter(f)
	if err != nil {
		return Envoy{}, fmt.Errorf("%s: %w", file, err)
	}
	if loader != "" { // it is found by its whole path
		e.files = append(e.files, library(filepath.Join(root, loader), strings.TrimPrefix(loader, "/")))
	}
	if err := e.needs(f, file, root); err != nil {
		return Envoy{}, err
	}
	for i := range e.files {
		if e.files[i].sha256, err = sum(e.files[i].from); err != nil {
			return Envoy{}, err
		}
	}
	slices.SortFunc(e.files, func(a, b foreign) int { return cmp.Compare(a.to, b.to) })
	return e, nil
}

func library(from, to string) foreign {
	name, _, _ := strings.Cut(path.Base(to), ".so")
	return foreign{from: from, to: to, name: path.Base(to), license: licenses[name]}
}

// needs adds the libraries of a file, and those of the libraries.
func (e *Envoy) needs(f *elf.File, file, root string) error {
	names, err := f.ImportedLibraries()
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	for _, n := range names {
		if slices.ContainsFunc(e.files, func(l foreign) bool { return l.name == n }) {
			continue
		}
		l, open, err := e.find(n, root)
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		e.files = append(e.files, l)
		err = e.needs(open, l.from, root)
		_ = open.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// find is a library of the right architecture, where the loader looks for it too.
func (e *Envoy) find(name, root string) (foreign, *elf.File, error) {
	for _, pattern := range libraries {
		folder := strings.ReplaceAll(pattern, "%s", gnuNames[e.Architecture])
		from := filepath.Join(root, folder, name)
		f, err := elf.Open(from)
		if err != nil {
			continue
		}
		if architectures[f.Machine] == e.Architecture {
			return library(from, folder+"/"+name), f, nil
		}
		_ = f.Close()
	}
	return foreign{}, nil, fmt.Errorf("it needs the library %s for %s, which this machine does not have; build the images where the program runs", name, e.Architecture)
}

// interpreter is the loader that an executable names; "" for a static one.
func interpreter(f *elf.File) (string, error) {
	for _, p := range f.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		b, err := io.ReadAll(io.LimitReader(p.Open(), 4096))
		if err != nil {
			return "", err
		}
		return strings.TrimRight(string(b), "\x00"), nil
	}
	return "", nil
}

var versionLine = regexp.MustCompile(`version: [0-9a-f]+/([0-9][^/\s]*)/`)

// envoyVersion asks the program; one of another architecture does not answer, and
// one that answers something else is not an Envoy.
func envoyVersion(file string) (string, error) {
	abs, err := filepath.Abs(file)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, abs, "--version").Output()
	if err != nil && ctx.Err() == nil {
		if _, started := err.(*exec.ExitError); !started { //nolint:errorlint // Output returns it bare
			return "", nil // not of this machine
		}
	}
	m := versionLine.FindSubmatch(out)
	if m == nil {
		return "", fmt.Errorf("%s is not an Envoy: it does not tell an Envoy's version", file)
	}
	return string(m[1]), nil
}

func sum(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("read %s: %w", file, err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// layer holds the program and its libraries.
func (e Envoy) layer() (v1.Layer, error) {
	var entries []entry
	made := map[string]bool{}
	for _, f := range e.files {
		for i := range len(f.to) {
			if dir := f.to[:i]; f.to[i] == '/' && !made[dir] {
				made[dir] = true
				entries = append(entries, entry{name: dir, mode: fs.ModeDir | 0o755})
			}
		}
		entries = append(entries, entry{name: f.to, mode: 0o755, from: f.from})
	}
	return newLayer(entries)
}

// license is that of all that is in the image.
func (e Envoy) license() string {
	all := []string{"Apache-2.0"}
	for _, f := range e.files {
		if f.license == "" {
			return "NOASSERTION"
		}
		if !slices.Contains(all, f.license) {
			all = append(all, f.license)
		}
	}
	slices.Sort(all)
	for i, l := range all {
		if strings.Contains(l, " ") && len(all) > 1 {
			all[i] = "(" + l + ")"
		}
	}
	return strings.Join(all, " AND ")
}

// components are the lines of the bill of materials.
func (e Envoy) components() []component {
	var out []component
	for _, f := range e.files {
		c := component{
			Type: "file", Ref: "file:/" + f.to, Name: f.name, Hashes: []hash{{"SHA-256", f.sha256}},
			Properties: []property{{"meshctl:path", "/" + f.to}},
		}
		if f.name == "envoy" {
			c.Type, c.Version, c.PURL = "application", e.Version, "pkg:github/envoyproxy/envoy"
			if e.Version != "" {
				c.PURL += "@v" + e.Version
			}
		}
		if f.license != "" {
			c.Licenses = []licensed{{f.license}}
		}
		out = append(out, c)
	}
	return out
}
