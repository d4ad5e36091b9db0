package env

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"sigs.k8s.io/yaml"

	"github.com/meshctl/meshctl/internal/cli/exit"
)

// kubeContexts are the contexts of kubeconfig files, and the current one.
type kubeContexts struct {
	Current string
	Names   []string
	Where   string // the files, for messages
}

// maxKubeconfig bounds a file that is only looked into for names.
const maxKubeconfig = 16 << 20

// kubeContexts reads names only: --kubeconfig, else the list in KUBECONFIG, else
// ~/.kube/config. Missing files are left out, as kubectl does, but not one that
// was asked for.
func (e *Env) kubeContexts() (kubeContexts, error) {
	files, must := filepath.SplitList(e.Getenv("KUBECONFIG")), false
	if e.Settings.Kubeconfig != "" {
		files, must = []string{e.Settings.Kubeconfig}, true
	}
	if len(files) == 0 {
		if home, err := os.UserHomeDir(); err == nil {
			files = []string{filepath.Join(home, ".kube", "config")}
		}
	}
	out := kubeContexts{Where: "kubeconfig"}
	for _, f := range files {
		var config struct {
			Current  string `json:"current-context"`
			Contexts []struct {
				Name string `json:"name"`
			} `json:"contexts"`
		}
		info, err := os.Stat(f)
		if errors.Is(err, fs.ErrNotExist) && !must {
			continue
		}
		if err != nil {
			return out, exit.Dataf("cannot read kubeconfig").Because(err)
		}
		if info.Size() > maxKubeconfig {
			return out, exit.Dataf("kubeconfig %s is larger than %d bytes", f, maxKubeconfig)
		}
		b, err := os.ReadFile(f)
		if err != nil {
			return out, exit.Dataf("cannot read kubeconfig").Because(err)
		}
		if err := yaml.Unmarshal(b, &config); err != nil {
			return out, exit.Dataf("kubeconfig %s is not understood", f).Because(err)
		}
		if out.Current == "" {
			out.Current = config.Current
		}
		for _, c := range config.Contexts {
			out.Names = append(out.Names, c.Name)
		}
	}
	return out, nil
}
