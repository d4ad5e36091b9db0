package oci

import (
	"debug/buildinfo"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Binary is a program's file, checked: it runs in an image that holds nothing
// else.
type Binary struct {
	Path         string
	Architecture string
	build        *buildinfo.BuildInfo
}

// ErrDynamic is of programs that need libraries which the image does not have.
var ErrDynamic = errors.New("it is linked to shared libraries; build it with CGO_ENABLED=0")

// architectures by their numbers in executables.
var architectures = map[elf.Machine]string{elf.EM_X86_64: "amd64", elf.EM_AARCH64: "arm64"}

// OpenBinary reads what a file says about itself.
func OpenBinary(path string) (Binary, error) {
	f, err := elf.Open(path)
	if err != nil {
		return Binary{}, fmt.Errorf("%s is not a Linux program: %w", path, err)
	}
	defer f.Close()
	arch, ok := architectures[f.Machine]
	if !ok {
		return Binary{}, fmt.Errorf("%s: no images are made for %s", path, f.Machine)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return Binary{}, fmt.Errorf("%s: %w", path, ErrDynamic)
		}
	}
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return Binary{}, fmt.Errorf("%s was not built by Go: %w", path, err)
	}
	return Binary{Path: path, Architecture: arch, build: info}, nil
}

// platform is what the index says about the image of the binary.
func (b Binary) platform() *v1.Platform {
	return &v1.Platform{OS: "linux", Architecture: b.Architecture}
}

// Source finds the binaries of a program, one per architecture.
type Source interface {
	binaries(p Program) ([]Binary, error)
	// names are those of the file in the image; all after the first are links to it.
	names(p Program) []string
}

// Folders have the programs under their names, each folder for another
// architecture.
type Folders []string

func (f Folders) binaries(p Program) ([]Binary, error) {
	var out []Binary
	seen := map[string]string{}
	for _, dir := range f {
		b, err := OpenBinary(filepath.Join(dir, p.file()))
		if err != nil {
			return nil, err
		}
		if other, twice := seen[b.Architecture]; twice {
			return nil, fmt.Errorf("%s and %s are both for %s", other, b.Path, b.Architecture)
		}
		seen[b.Architecture] = b.Path
		out = append(out, b)
	}
	if len(out) == 0 {
		return nil, errors.New("no folder with programs is given")
	}
	return out, nil
}

func (Folders) names(p Program) []string { return []string{p.file()} }

// Multicall is one executable that is every program, by the name it is called by.
type Multicall string

// Self is the running program. It has to be such an executable.
func Self() (Multicall, error) {
	path, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("finding the running program: %w", err)
	}
	return Multicall(path), nil
}

func (m Multicall) binaries(Program) ([]Binary, error) {
	b, err := OpenBinary(string(m))
	return []Binary{b}, err
}

// names are equal for all programs: registries and nodes have the layer once.
func (Multicall) names(Program) []string {
	names := []string{"meshctl"}
	for _, p := range Programs() {
		if p.File == "" {
			names = append(names, p.Name)
		}
	}
	return names
}
