package cni

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// installer puts the plugin on a node. Paths are as the installer sees them, but for
// HostConfDir, which is what the container runtime sees.
type installer struct {
	Program                     string // to copy
	BinDir, ConfDir             string
	HostConfDir, KubeconfigName string
	Server                      string
	TokenFile, CAFile           string
	ExcludeNamespaces           []string
	Node                        string
	Repair                      bool
	Log                         *slog.Logger

	installed atomic.Bool
}

// Periods of the installer's loop. Checking reads a few small files.
const (
	checkPeriod  = time.Second
	repairPeriod = 10 * time.Second
)

const installUsage = `use: meshproxy cni install [flags]

  --bin-dir DIR          the node's folder of CNI programs, as mounted here (/host/opt/cni/bin)
  --conf-dir DIR         the node's folder of CNI configurations, as mounted here (/host/etc/cni/net.d)
  --host-conf-dir DIR    the same folder as the node sees it (/etc/cni/net.d)
  --exclude-namespaces   namespaces whose pods are not looked at (istio-system,kube-system)
  --repair delete|none   pods that started before the plugin was there: delete them, so that their
                         controllers make them anew, or leave them (delete)
  --ready-address        address of /readyz (:8000)
`

// Main is "meshproxy cni"; it returns the process's exit code.
func Main(args []string, getenv func(string) string, stderr io.Writer) int {
	const exitUsage = 64
	if len(args) == 0 || args[0] != "install" {
		_, _ = fmt.Fprint(stderr, installUsage)
		return exitUsage
	}
	in := &installer{
		Program: "/proc/self/exe", KubeconfigName: "ZZZ-" + Type + "-kubeconfig", Node: getenv("KUBERNETES_NODE_NAME"),
		TokenFile: "/var/run/secrets/kubernetes.io/serviceaccount/token", CAFile: "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt",
		Log: slog.New(slog.NewTextHandler(stderr, nil)).With("component", "cni"),
	}
	in.Server = "https://" + net.JoinHostPort(getenv("KUBERNETES_SERVICE_HOST"), getenv("KUBERNETES_SERVICE_PORT"))
	fs := flag.NewFlagSet("meshproxy cni install", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.Usage = func() { _, _ = fmt.Fprint(stderr, installUsage) }
	fs.StringVar(&in.BinDir, "bin-dir", "/host/opt/cni/bin", "")
	fs.StringVar(&in.ConfDir, "conf-dir", "/host/etc/cni/net.d", "")
	fs.StringVar(&in.HostConfDir, "host-conf-dir", "/etc/cni/net.d", "")
	exclude := fs.String("exclude-namespaces", "istio-system,kube-system", "")
	repair := fs.String("repair", "delete", "")
	ready := fs.String("ready-address", ":8000", "")
	if err := fs.Parse(args[1:]); err != nil {
		return exitUsage
	}
	if fs.NArg() > 0 || *repair != "delete" && *repair != "none" {
		_, _ = fmt.Fprint(stderr, installUsage)
		return exitUsage
	}
	if getenv("KUBERNETES_SERVICE_HOST") == "" {
		_, _ = fmt.Fprintln(stderr, "error: meshproxy cni install runs in a pod of a cluster: KUBERNETES_SERVICE_HOST is not set")
		return exitUsage
	}
	in.ExcludeNamespaces = strings.FieldsFunc(*exclude, func(r rune) bool { return r == ',' || r == ' ' })
	in.Repair = *repair == "delete" && in.Node != ""
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := in.run(ctx, *ready); err != nil && !errors.Is(err, context.Canceled) {
		_, _ = fmt.Fprintln(stderr, "error:", err)
		return 1
	}
	return 0
}

func (in *installer) run(ctx context.Context, ready string) error {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", ready)
	if err != nil {
		return fmt.Errorf("listen for readiness: %w", err)
	}
	srv := &http.Server{ReadHeaderTimeout: 5 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if !in.installed.Load() {
			http.Error(w, "the plugin is not installed", http.StatusServiceUnavailable)
		}
	})}
	go func() { _ = srv.Serve(ln) }()
	defer func() { _ = srv.Close() }()
	check, repair := time.NewTicker(checkPeriod), time.NewTicker(repairPeriod)
	defer check.Stop()
	defer repair.Stop()
	var said string
	for {
		changed, err := in.sync()
		in.installed.Store(err == nil)
		switch {
		case err != nil && err.Error() != said:
			in.Log.WarnContext(ctx, "not installed", "err", err)
			said = err.Error()
		case err == nil && (changed != "" || said != ""):
			in.Log.InfoContext(ctx, "installed", "changed", changed)
			said = ""
		}
		select {
		case <-ctx.Done():
			in.Log.InfoContext(ctx, "taking the plugin away")
			return errors.Join(ctx.Err(), in.remove())
		case <-check.C:
		case <-repair.C:
			if in.Repair && in.installed.Load() {
				in.repair(ctx)
			}
		}
	}
}

// sync brings the node to what it should be, and says what it had to change. The
// configuration comes last: whoever reads it finds all that it names.
func (in *installer) sync() (string, error) {
	var changed []string
	for _, step := range []struct {
		what string
		do   func() (bool, error)
	}{{"program", in.copyProgram}, {"kubeconfig", in.writeKubeconfig}, {"configuration", in.chain}} {
		did, err := step.do()
		if err != nil {
			return "", fmt.Errorf("install %s: %w", step.what, err)
		}
		if did {
			changed = append(changed, step.what)
		}
	}
	return strings.Join(changed, ", "), nil
}

// remove takes everything away, the configuration first.
func (in *installer) remove() error {
	err := in.unchain()
	for _, f := range []string{filepath.Join(in.ConfDir, in.KubeconfigName), filepath.Join(in.BinDir, Type)} {
		if e := os.Remove(f); e != nil && !errors.Is(e, os.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	return err
}

// copyProgram copies this program to the node, unless what is there has its size and
// is not older.
func (in *installer) copyProgram() (bool, error) {
	from, err := os.Open(in.Program)
	if err != nil {
		return false, err
	}
	defer func() { _ = from.Close() }()
	ours, err := from.Stat()
	if err != nil {
		return false, err
	}
	to := filepath.Join(in.BinDir, Type)
	if there, err := os.Stat(to); err == nil && there.Size() == ours.Size() && !there.ModTime().Before(ours.ModTime()) && in.installed.Load() {
		return false, nil
	}
	return true, replace(to, 0o755, func(f *os.File) error {
		_, err := io.Copy(f, from)
		return err
	})
}

func (in *installer) writeKubeconfig() (bool, error) {
	token, err := os.ReadFile(in.TokenFile)
	if err != nil {
		return false, err
	}
	ca, err := os.ReadFile(in.CAFile)
	if err != nil {
		return false, err
	}
	text, err := json.MarshalIndent(kubeconfig{
		APIVersion: "v1", Kind: "Config", CurrentContext: Type,
		Clusters: []namedCluster{{Type, cluster{in.Server, ca}}},
		Users:    []namedUser{{Type, user{strings.TrimSpace(string(token))}}},
		Contexts: []namedKubeContext{{Type, kubeContext{Type, Type}}},
	}, "", "  ")
	if err != nil {
		return false, err
	}
	return writeIfOther(filepath.Join(in.ConfDir, in.KubeconfigName), text, 0o600)
}

// writeIfOther replaces a file when its content differs.
func writeIfOther(path string, text []byte, mode os.FileMode) (bool, error) {
	if was, err := os.ReadFile(path); err == nil && string(was) == string(text) {
		return false, nil
	}
	return true, replace(path, mode, func(f *os.File) error {
		_, err := f.Write(text)
		return err
	})
}

// replace writes a file beside path and renames it: a reader sees the old or the new.
func replace(path string, mode os.FileMode, write func(*os.File) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }() // it is gone when all went well
	err = write(f)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
