package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/resource"
)

// Annotation says which program a pod's containers are; with ".<container>"
// behind it, one container.
const Annotation = "local.meshctl.dev/program"

// selfPath is our own executable, also when its file has been replaced or
// deleted meanwhile (as "go run" does).
const selfPath = "/proc/self/exe"

// Program is what to execute for a container.
type Program struct {
	Path string   // the file
	Argv []string // its name and the leading arguments
}

// Command is the whole command line: the program in place of the first word of
// command, then the rest of it and args.
func (p Program) Command(command, args []string) []string {
	argv := append([]string(nil), p.Argv...)
	if len(command) > 1 {
		argv = append(argv, command[1:]...)
	}
	return append(argv, args...)
}

// Resolver finds programs. Folders of relative paths: the file that says so.
type Resolver struct {
	File   *File  // mapping file, may be nil
	Folder string // folder of the mapping file and the manifests, absolute
	Beside string // folder of our own executable, where programs are also looked for
	// Build compiles a Go main package and returns the program's path.
	Build func(ctx context.Context, dir string) (string, error)
}

// Container is one container to find the program of.
type Container struct {
	Name, Image string
	Command     []string // of the manifest; may be empty
	Field       string   // its place in Object
	Annotations map[string]string
	Object      *resource.Object
}

// Resolve finds the program. When it cannot, the finding says what image, where
// it is asked for and how to name a program.
func (r Resolver) Resolve(ctx context.Context, c Container) (Program, *diag.Diagnostic) {
	for _, key := range []string{Annotation + "." + c.Name, Annotation} {
		line, ok := c.Annotations[key]
		if !ok {
			continue
		}
		folder := r.Folder
		if c.Object != nil && filepath.IsAbs(c.Object.Pos.File) {
			folder = filepath.Dir(c.Object.Pos.File)
		}
		p, err := r.commandLine(line, folder)
		if err != nil {
			return Program{}, c.finding(CodeProgram, "annotation "+key+": "+err.Error(), "correct the annotation")
		}
		return p, nil
	}
	if r.File != nil {
		if rule, ok := r.File.Lookup(c.Image); ok {
			p, err := r.byRule(ctx, rule, c.Command)
			if err != nil {
				return Program{}, c.finding(CodeProgram, err.Error(), "correct the rule at "+rule.Pos.String())
			}
			return p, nil
		}
	}
	what := "program: ./path/to/program"
	if _, err := r.ownCommand(c.Command); err == nil {
		what = "command: true" // this machine has what the container starts
	}
	return Program{}, c.finding(CodeUnknown,
		fmt.Sprintf("no local program stands for image %q of container %q", c.Image, c.Name),
		fmt.Sprintf("add to %s:  images: {%q: {%s}}\nor to the pod's annotations:  %s.%s: ./path/to/program",
			filepath.Join(r.Folder, FileName), repository(c.Image)+"*", what, Annotation, c.Name))
}

// ownCommand finds the program that a container's command begins with.
func (r Resolver) ownCommand(command []string) (Program, error) {
	if len(command) == 0 || command[0] == "" {
		return Program{}, errors.New("the container has no command of its own")
	}
	path, err := exec.LookPath(command[0])
	if err != nil {
		return Program{}, fmt.Errorf("this machine has no program %q", command[0])
	}
	return Program{Path: path, Argv: command[:1]}, nil
}

// repository is an image name without tag and digest.
func repository(image string) string {
	image, _, _ = strings.Cut(image, "@")
	if i := strings.LastIndexByte(image, ':'); i > strings.LastIndexByte(image, '/') {
		image = image[:i]
	}
	return image
}

func (c Container) finding(code, message, fix string) *diag.Diagnostic {
	d := &diag.Diagnostic{
		Code: code, Severity: diag.Error, Field: c.Field, Message: message,
		Effect: "the workload is not started; the rest of the mesh runs", Fix: fix,
	}
	if c.Object != nil {
		d.Object, d.Pos = c.Object.Ref(), c.Object.At(c.Field+".image")
	}
	return d
}

func (r Resolver) byRule(ctx context.Context, rule Rule, command []string) (Program, error) {
	switch {
	case rule.Command:
		return r.ownCommand(command)
	case rule.Self != "":
		return Program{Path: selfPath, Argv: []string{rule.Self}}, nil
	case rule.Build != "":
		dir := rule.Build
		if !filepath.IsAbs(dir) {
			dir = filepath.Join(r.Folder, dir)
		}
		path, err := r.Build(ctx, dir)
		if err != nil {
			return Program{}, err
		}
		return Program{Path: path, Argv: []string{filepath.Base(dir)}}, nil
	default:
		return r.commandLine(rule.Program, r.Folder)
	}
}

// commandLine finds the program of a command line: a path relative to folder, a
// name beside our executable, or a name in PATH.
func (r Resolver) commandLine(line, folder string) (Program, error) {
	words, err := Words(line)
	if err != nil {
		return Program{}, err
	}
	name := words[0]
	if strings.ContainsRune(name, '/') {
		path := name
		if !filepath.IsAbs(path) {
			path = filepath.Join(folder, path)
		}
		if err := executable(path); err != nil {
			return Program{}, err
		}
		return Program{Path: path, Argv: words}, nil
	}
	if r.Beside != "" {
		if path := filepath.Join(r.Beside, name); executable(path) == nil {
			return Program{Path: path, Argv: words}, nil
		}
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return Program{}, fmt.Errorf("there is no program %q beside meshctl or in PATH", name)
	}
	return Program{Path: path, Argv: words}, nil
}

func executable(path string) error {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return fmt.Errorf("there is no program %s", path)
	case info.IsDir() || info.Mode()&0o111 == 0:
		return fmt.Errorf("%s is not a program (not executable)", path)
	}
	return nil
}

// GoBuild compiles the Go main package in dir into cache and returns the
// program's path. It needs a Go toolchain.
func GoBuild(ctx context.Context, dir, cache string) (string, error) {
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return "", fmt.Errorf("build %s: there is no such folder", dir)
	}
	tool, err := exec.LookPath("go")
	if err != nil {
		return "", fmt.Errorf("build %s: there is no Go toolchain in PATH", dir)
	}
	if err := os.MkdirAll(cache, 0o700); err != nil {
		return "", fmt.Errorf("build %s: %w", dir, err)
	}
	sum := sha256.Sum256([]byte(dir))
	out := filepath.Join(cache, filepath.Base(dir)+"-"+hex.EncodeToString(sum[:6]))
	cmd := exec.CommandContext(ctx, tool, "build", "-o", out, ".")
	cmd.Dir = dir
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w:\n%s", dir, err, strings.TrimSpace(string(text)))
	}
	return out, nil
}
