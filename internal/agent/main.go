package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/meshctl/meshctl/internal/capture/command"
	"github.com/meshctl/meshctl/internal/cni"
	"github.com/meshctl/meshctl/internal/proxy/admin"
)

const usage = `meshproxy is the sidecar and gateway of a mesh, and what a pod needs around it.

  meshproxy proxy sidecar|router   run until told to end; configured by the environment
  meshproxy proxy sidecar --config FOLDER   the same on a machine, by the files of
                                   meshctl workload entry configure
  meshproxy capture                redirect a pod's traffic to its sidecar (--check: is it?)
  meshproxy cni install            install the CNI plugin on a node, and keep it there
  meshproxy wait                   return when the sidecar is ready
  meshproxy request METHOD PATH    ask the sidecar of this pod
  meshproxy serve --config FILE    the data plane alone, on a file
`

// exitUsage is sysexits(3)'s code for wrong arguments.
const exitUsage = 64

// Main is the program meshproxy: what it does is its first argument. It returns the
// process's exit code.
func Main(args []string, version string) int {
	getenv := os.Getenv //nolint:forbidigo // the environment is what a container runtime, and a pod, configure the program by
	// A container runtime calls a CNI plugin without arguments.
	if len(args) == 0 && cni.Called(getenv) {
		return cni.Plugin(getenv, os.Stdin, os.Stdout)
	}
	verb := ""
	if len(args) > 0 {
		verb = args[0]
	}
	switch verb {
	case "proxy":
		return runProxy(args, version)
	case "serve":
		levels := admin.NewLevels(slog.LevelInfo)
		return report(serveFile(args[1:], version, logger(os.Stderr, levels, false), levels))
	case "capture":
		return command.Main(args[1:], os.Stdout, os.Stderr)
	case "cni":
		return cni.Main(args[1:], getenv, os.Stderr)
	case "wait":
		return report(waitReady(context.Background(), args[1:]))
	case "request":
		return report(request(context.Background(), args[1:], os.Stdout))
	case "version", "--version":
		fmt.Fprintln(os.Stdout, version)
		return 0
	case "help", "-h", "--help":
		fmt.Fprint(os.Stdout, usage)
		return 0
	default:
		fmt.Fprintf(os.Stderr, "error: meshproxy does not know %q\n\n%s", strings.Join(args, " "), usage)
		return exitUsage
	}
}

func report(err error) int {
	var u usageError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &u):
		fmt.Fprintln(os.Stderr, "error:", err)
		return exitUsage
	default:
		fmt.Fprintln(os.Stderr, "error:", err)
		return 1
	}
}

// usageError is a mistake in how a subcommand was called.
type usageError string

func (e usageError) Error() string { return string(e) }

func logger(w io.Writer, levels *admin.Levels, asJSON bool) *slog.Logger {
	o := &slog.HandlerOptions{Level: slog.LevelDebug - 100} // levels decide
	var h slog.Handler = slog.NewTextHandler(w, o)
	if asJSON {
		h = slog.NewJSONHandler(w, o)
	}
	return slog.New(levels.Handler(h))
}

func runProxy(args []string, version string) int {
	s, err := Environ(args)
	if err != nil {
		fmt.Fprintf(os.Stderr, "error: meshproxy cannot start\ncause: %s\n", strings.ReplaceAll(err.Error(), "\n", "\n       "))
		return exitUsage
	}
	s.Version = version
	levels := admin.NewLevels(slog.LevelInfo)
	log := logger(os.Stderr, levels, s.LogJSON)
	setLevels(s, levels, log)
	if err := Run(context.Background(), s, log, levels); err != nil && !errors.Is(err, context.Canceled) {
		log.Error("meshproxy ended", "err", err)
		return 1
	}
	return 0
}

// componentAgent is the agent's own logger; those of its parts follow its level.
const componentAgent = "agent"

var agentComponents = []string{componentAgent, "identity", "dns", "status"}

// setLevels applies the levels of the settings: the data plane's, the agent's, and
// those of single components.
func setLevels(s Settings, levels *admin.Levels, log *slog.Logger) {
	one := func(what, value string, set func(slog.Level) error) {
		if value == "" {
			return
		}
		level, err := admin.ParseLevel(value)
		if err == nil {
			err = set(level)
		}
		if err != nil {
			log.Warn("log level not taken", "of", what, "value", value, "err", err)
		}
	}
	one("proxy", s.LogLevel, func(l slog.Level) error { levels.SetAll(l); return nil })
	set := func(component, value string) {
		log.With("component", component) // makes it known
		one(component, value, func(l slog.Level) error { return levels.Set(component, l) })
	}
	agent := s.AgentLogLevel
	switch agent { // Istio's words that Envoy has not
	case "fatal":
		agent = "critical"
	case "none":
		agent = "off"
	}
	for _, c := range agentComponents {
		set(c, agent)
	}
	for c, level := range s.ComponentLevels {
		set(c, level)
	}
}
