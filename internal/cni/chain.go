package cni

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// conflist is a list of plugins; what we do not know of it stays as it is.
type conflist struct {
	path    string
	fields  map[string]any
	plugins []any
}

// chain adds the plugin to the configuration that the container runtime uses: the
// first by name. One that is a single plugin becomes a list beside it.
func (in *installer) chain() (bool, error) {
	c, err := in.primary()
	if err != nil {
		return false, err
	}
	ours := map[string]any{
		"type": Type, "name": Type,
		"kubernetes": map[string]any{"kubeconfig": filepath.Join(in.HostConfDir, in.KubeconfigName), "exclude_namespaces": in.ExcludeNamespaces},
	}
	kept := others(c.plugins)
	if len(kept) == 0 {
		return false, fmt.Errorf("%s has no plugin to be chained after", c.path)
	}
	return c.write(append(kept, ours))
}

// unchain takes the plugin out again, of every configuration.
func (in *installer) unchain() error {
	files, err := in.configurations()
	if err != nil {
		return err
	}
	var all error
	for _, f := range files {
		c, err := readConflist(f)
		if err != nil || len(others(c.plugins)) == len(c.plugins) {
			continue // not ours, or not touched by us
		}
		_, err = c.write(others(c.plugins))
		all = errors.Join(all, err)
	}
	return all
}

// others are the plugins that are not this one.
func others(plugins []any) []any {
	return slices.DeleteFunc(slices.Clone(plugins), func(p any) bool {
		m, ok := p.(map[string]any)
		return ok && m["type"] == Type
	})
}

func (in *installer) configurations() ([]string, error) {
	entries, err := os.ReadDir(in.ConfDir)
	if err != nil {
		return nil, err
	}
	var files []string
	for _, e := range entries {
		switch filepath.Ext(e.Name()) {
		case ".conf", ".conflist", ".json":
			if !e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
				files = append(files, filepath.Join(in.ConfDir, e.Name()))
			}
		}
	}
	return files, nil // ReadDir sorts, as container runtimes do
}

var errNoPlugin = errors.New("the cluster's own network plugin is not configured yet")

func (in *installer) primary() (*conflist, error) {
	files, err := in.configurations()
	if err != nil {
		return nil, err
	}
	var broken error
	for _, f := range files {
		c, err := readConflist(f)
		if err == nil {
			return c, nil
		}
		broken = errors.Join(broken, err)
	}
	return nil, errors.Join(errNoPlugin, broken)
}

// readConflist reads a list, or a single plugin as a list that would replace it.
func readConflist(path string) (*conflist, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	c := &conflist{path: path}
	if err := d.Decode(&c.fields); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if list, ok := c.fields["plugins"].([]any); ok {
		c.plugins = list
		return c, nil
	}
	if _, single := c.fields["type"].(string); !single {
		return nil, fmt.Errorf("%s is no configuration of a plugin", path)
	}
	c.plugins = []any{c.fields}
	c.fields = map[string]any{"cniVersion": c.fields["cniVersion"], "name": c.fields["name"]}
	if c.fields["cniVersion"] == nil {
		c.fields["cniVersion"] = supportedVersions[1]
	}
	return c, nil
}

// write replaces the file when the list changed.
func (c *conflist) write(plugins []any) (bool, error) {
	c.fields["plugins"] = plugins
	text, err := json.MarshalIndent(c.fields, "", "  ")
	if err != nil {
		return false, err
	}
	if filepath.Ext(c.path) != ".conflist" {
		// "10-x.conf" sorts before "10-x.conflist", so the single one is put out of the way.
		list := strings.TrimSuffix(c.path, filepath.Ext(c.path)) + ".conflist"
		if _, err := writeIfOther(list, text, 0o644); err != nil {
			return false, err
		}
		return true, os.Rename(c.path, c.path+"."+Type+"-saved")
	}
	return writeIfOther(c.path, text, 0o644)
}
