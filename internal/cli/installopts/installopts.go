// Package installopts is what the commands of installation share: the flags that
// say what is to be installed, what is said about options that are wrong, and
// the display of progress.
package installopts

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/install"
	"github.com/meshctl/meshctl/internal/oci"
	"github.com/meshctl/meshctl/internal/version"
	"github.com/meshctl/meshctl/profiles"
)

// Flags say what is to be installed.
type Flags struct {
	Files     []string
	Sets      []string
	Profile   string
	Revision  string
	Manifests string
	Force     bool
}

// Add defines the flags.
func (f *Flags) Add(cmd *cobra.Command, _ *env.Env) {
	fs := cmd.Flags()
	fs.StringArrayVarP(&f.Files, "filename", "f", nil, "IstioOperator `file`, or - for standard input; later ones count more")
	fs.StringArrayVarP(&f.Sets, "set", "s", nil, "one `path=value`, such as values.pilot.autoscaleMin=2; counts more than files")
	fs.StringVar(&f.Profile, "profile", "", "`name` of the profile (default \"default\")")
	fs.StringVarP(&f.Revision, "revision", "r", "", "`name` of the control plane, to run several side by side")
	fs.StringVarP(&f.Manifests, "manifests", "d", "", "`folder` with charts to use in place of the built-in ones")
	fs.BoolVar(&f.Force, "force", false, "go on with keys that are not known, and over another's installation")
	_ = cmd.RegisterFlagCompletionFunc("profile", cobra.FixedCompletions(profiles.Names(), cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.MarkFlagDirname("manifests")
	_ = cmd.MarkFlagFilename("filename", "yaml", "yml", "json")
}

// ImageTag is the tag of the images that belong to this build.
func ImageTag() string { return oci.Tag(version.Get()) }

// Input reads the files.
func (f *Flags) Input(e *env.Env) (install.Input, error) {
	in := install.Input{
		Profile: f.Profile, Sets: f.Sets, Revision: f.Revision, Tag: ImageTag(), Force: f.Force,
		Namespace: e.Settings.IstioNamespace,
	}
	charts, err := f.Charts()
	if err != nil {
		return in, err
	}
	in.Charts = charts
	if len(f.Files) > 0 {
		files, err := e.ReadFiles(f.Files, false)
		if err != nil {
			return in, err
		}
		for _, each := range files {
			in.Files = append(in.Files, install.File{Name: each.Name, Data: each.Data})
		}
	}
	return in, nil
}

// Charts are those of --manifests, nil for the built-in ones.
func (f *Flags) Charts() (fs.FS, error) {
	if f.Manifests == "" {
		return nil, nil
	}
	if info, err := os.Stat(f.Manifests); err != nil || !info.IsDir() {
		return nil, exit.Dataf("%s is not a folder with charts", f.Manifests).Because(err).Try("leave --manifests out for the built-in charts")
	}
	return os.DirFS(f.Manifests), nil
}

// Resolve merges everything, and says what is wrong with it.
func (f *Flags) Resolve(e *env.Env) (*install.Config, error) {
	in, err := f.Input(e)
	if err != nil {
		return nil, err
	}
	return Resolve(e, in)
}

// Resolve says what is wrong with options.
func Resolve(e *env.Env, in install.Input) (*install.Config, error) {
	c, found, err := install.Resolve(in)
	if err != nil {
		return nil, Explain(e, err)
	}
	e.SayFindings(found)
	return c, nil
}

// Explain prints findings about options, and gives errors of package install
// their codes and next steps.
func Explain(e *env.Env, err error) error {
	var invalid *install.InvalidError
	var profile *install.ProfileError
	var foreign *install.ForeignError
	var elsewhere *install.OtherNamespaceError
	var late *install.NotReadyError
	var back *install.RolledBackError
	var cut *install.InterruptedError
	var none *install.NoRecordError
	var left *install.LeftoverError
	var absent *install.NotInstalledError
	switch {
	case errors.As(err, &invalid):
		e.SayFindings(invalid.Findings)
		return exit.Dataf("the options cannot be used").Try("meshctl profile explain, for all keys").Try("--force, to go on in spite of unknown keys")
	case errors.As(err, &profile):
		x := exit.Usagef("there is no profile %q", profile.Name)
		if profile.Near != "" {
			x = x.Try("did you mean %s?", profile.Near)
		}
		return x.Try("meshctl profile list")
	case errors.As(err, &foreign):
		return exit.Failuref("another installation is in the way").Because(foreign).
			Try("install beside it: --revision NAME").
			Try("or remove it first, with the tool that installed it").
			Try("or take it over: --force")
	case errors.As(err, &elsewhere):
		return exit.Failuref("it is installed already, elsewhere").Because(elsewhere).
			Try("meshctl -i %s …, to change that one", elsewhere.Found.Namespace).Try("--revision NAME, for another beside it")
	case errors.As(err, &cut):
		return interrupted(cut)
	case errors.As(err, &back):
		x := exit.Failuref("the installation failed and was taken back, to %s", back.Back).Because(back.Err)
		if errors.As(back.Err, &late) {
			return withHints(x.Because(errors.New(late.Reasons())), late)
		}
		return x
	case errors.As(err, &late):
		x := exit.New(exit.Timeout, "%v", late).Because(errors.New(late.Reasons()))
		return withHints(x, late).Try("run it again: it goes on from here").Try("--readiness-timeout, to wait longer")
	case errors.As(err, &none):
		x := exit.Usagef("%v", none)
		return x.Try("meshctl history, for what there is")
	case errors.As(err, &absent):
		return exit.Failuref("%v", absent).Try("meshctl history").Try("meshctl install")
	case errors.As(err, &left):
		return exit.New(exit.Timeout, "not everything is gone").Because(left).Try("run it again").Try("see what holds an object: kubectl get … -o yaml, under finalizers")
	}
	return err
}

func withHints(x *exit.Error, late *install.NotReadyError) *exit.Error {
	for _, o := range late.Objects {
		if o.Hint != "" {
			x = x.Try("%s", o.Hint)
		}
	}
	return x
}

// interrupted says what Ctrl-C left behind.
func interrupted(cut *install.InterruptedError) error {
	x := exit.New(exit.Interrupted, "interrupted: the installation is half done")
	var lines []string
	if len(cut.Applied) > 0 {
		lines = append(lines, "done: "+strings.Join(cut.Applied, ", "))
	}
	if len(cut.Left) > 0 {
		lines = append(lines, "not ready, or not begun: "+strings.Join(cut.Left, ", "))
	}
	if len(lines) > 0 {
		x = x.Because(errors.New(strings.Join(lines, "\n")))
	}
	return x.Try("run the same command again: it goes on from here").Try("meshctl rollback, or meshctl uninstall --purge")
}

// Installer is one for the cluster that the user means; show is told what it does.
func Installer(ctx context.Context, e *env.Env, show func(install.Event)) (*install.Installer, string, error) {
	c, v, err := e.ConnectedCluster(ctx)
	if err != nil {
		return nil, "", err
	}
	return &install.Installer{Client: c, Now: e.Now, Report: show}, v, nil
}

// Confirm asks before something is changed. Where nobody can answer, it says how
// to say yes beforehand.
func Confirm(e *env.Env, yes bool, format string, args ...any) error {
	if yes {
		return nil
	}
	e.IO.Sayf(format+" Proceed? (y/N) ", args...)
	var answer [64]byte
	n, err := e.IO.In.Read(answer[:])
	if err != nil || n == 0 {
		e.IO.Sayf("\n")
		return exit.Usagef("nobody has answered").Try("say yes beforehand with -y")
	}
	switch strings.ToLower(strings.TrimSpace(string(answer[:n]))) {
	case "y", "yes":
		return nil
	}
	return exit.Failuref("nothing was changed: the answer was no")
}

// Timeout is the usual wait for one component.
const Timeout = 300 * time.Second
