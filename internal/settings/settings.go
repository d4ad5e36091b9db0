// Package settings reads what the user has set once and for all: environment
// and configuration file, below the flags of a command.
//
//	s, err := settings.Load(cmd.Flags(), settings.System())
//	s.Namespace, s.Origin["namespace"]
//
// Order, the strongest first: flag, MESHCTL_* variable, ISTIOCTL_* variable,
// $XDG_CONFIG_HOME/meshctl/config.yaml (or the file MESHCTL_CONFIG names),
// default. A key that is not known is an error. Viper stays in here.
package settings

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"github.com/spf13/viper"
)

// maxFile bounds the configuration file.
const maxFile = 1 << 20

// Settings of one run of meshctl.
type Settings struct {
	Context        string `mapstructure:"context"`
	Namespace      string `mapstructure:"namespace"`
	IstioNamespace string `mapstructure:"istio-namespace"`
	Kubeconfig     string `mapstructure:"kubeconfig"`
	// As, AsUID and AsGroup (separated by commas) are who to be on a cluster.
	As      string `mapstructure:"as"`
	AsUID   string `mapstructure:"as-uid"`
	AsGroup string `mapstructure:"as-group"`
	// ClientTimeout bounds one request to a cluster.
	ClientTimeout time.Duration `mapstructure:"kubeclient-timeout"`
	// Origin says for each key where its value is from.
	Origin map[string]string `mapstructure:"-"`
	// File is the configuration file that was looked for; it need not exist.
	File string `mapstructure:"-"`
}

// Key is one thing that can be set.
type Key struct {
	Name    string // in the file
	Flag    string // on the command line
	Default string
	Help    string
}

// Keys lists all that can be set, in a fixed order.
func Keys() []Key {
	return []Key{
		{"context", "context", "", "the mesh to talk to: local, local:NAME or a kubeconfig context"},
		{"namespace", "namespace", "", "namespace of the objects you name"},
		{"istio-namespace", "istioNamespace", "istio-system", "namespace of the control plane"},
		{"kubeconfig", "kubeconfig", "", "kubeconfig file"},
		{"as", "as", "", "user to be on a cluster"},
		{"as-uid", "as-uid", "", "UID of that user"},
		{"as-group", "as-group", "", "groups to be in on a cluster, separated by commas"},
		{"kubeclient-timeout", "kubeclient-timeout", "15s", "how long one request to a cluster may take"},
	}
}

// Variable is the key's name in the environment.
func (k Key) Variable() string {
	return "MESHCTL_" + strings.ToUpper(strings.ReplaceAll(k.Name, "-", "_"))
}

// variables are all names in the environment that count, the weakest first.
// istioctl makes them of the flag's name.
func (k Key) variables() []string {
	return []string{"ISTIOCTL_" + strings.ToUpper(strings.ReplaceAll(k.Flag, "-", "_")), k.Variable()}
}

// Values are the values by key.
func (s Settings) Values() map[string]string {
	return map[string]string{
		"context": s.Context, "namespace": s.Namespace, "istio-namespace": s.IstioNamespace, "kubeconfig": s.Kubeconfig,
		"as": s.As, "as-uid": s.AsUID, "as-group": s.AsGroup, "kubeclient-timeout": s.ClientTimeout.String(),
	}
}

// Surroundings are what is read besides flags.
type Surroundings struct {
	Environ func() []string
	Home    string // of configuration, e.g. ~/.config
}

// System reads the real environment.
func System() Surroundings {
	home, err := os.UserConfigDir() // XDG_CONFIG_HOME, or ~/.config
	if err != nil {
		home = ""
	}
	return Surroundings{Environ: os.Environ, Home: home}
}

// Load finds every value and checks them. flags may be nil.
func Load(flags *pflag.FlagSet, around Surroundings) (Settings, error) {
	env := environ(around.Environ())
	v := viper.New()
	s := Settings{Origin: map[string]string{}, File: env["MESHCTL_CONFIG"]}
	named := s.File != ""
	if !named && around.Home != "" {
		s.File = filepath.Join(around.Home, "meshctl", "config.yaml")
	}
	for _, k := range Keys() {
		v.SetDefault(k.Name, k.Default)
		s.Origin[k.Name] = "default"
	}
	if err := s.readFile(v, named); err != nil {
		return s, err
	}
	for _, k := range Keys() {
		for _, name := range k.variables() {
			if env[name] != "" {
				v.Set(k.Name, env[name])
				s.Origin[k.Name] = "environment " + name
			}
		}
		if flags == nil {
			continue
		}
		if f := flags.Lookup(k.Flag); f != nil && f.Changed {
			v.Set(k.Name, flagValue(f))
			s.Origin[k.Name] = "flag --" + k.Flag
		}
	}
	if err := v.UnmarshalExact(&s); err != nil {
		return s, fmt.Errorf("read settings: %w", err)
	}
	return s, nil
}

// flagValue is a flag's value as the file would have it.
func flagValue(f *pflag.Flag) string {
	if list, ok := f.Value.(pflag.SliceValue); ok {
		return strings.Join(list.GetSlice(), ",")
	}
	return f.Value.String()
}

// readFile merges the configuration file. One that was named must exist.
func (s *Settings) readFile(v *viper.Viper, named bool) error {
	if s.File == "" {
		return nil
	}
	f, err := os.Open(s.File)
	if errors.Is(err, fs.ErrNotExist) && !named {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read settings: %w", err)
	}
	defer f.Close()
	v.SetConfigType("yaml")
	if err := v.ReadConfig(io.LimitReader(f, maxFile)); err != nil {
		return fmt.Errorf("read settings %s: %w", s.File, err)
	}
	var known []string
	for _, k := range Keys() {
		known = append(known, k.Name)
	}
	for _, key := range v.AllKeys() {
		if !slices.Contains(known, key) {
			return fmt.Errorf("read settings %s: unknown key %q; known are %s", s.File, key, strings.Join(known, ", "))
		}
		if v.InConfig(key) {
			s.Origin[key] = "file " + s.File
		}
	}
	return nil
}

func environ(all []string) map[string]string {
	out := map[string]string{}
	for _, e := range all {
		if k, v, ok := strings.Cut(e, "="); ok {
			out[k] = v
		}
	}
	return out
}
