package view

import (
	"github.com/meshctl/meshctl/internal/mesh"
)

// Find returns the watch of a connected proxy, named <pod>.<namespace>.
func (v *View) Find(proxyID string) (*Watch, bool) {
	p := v.publisher
	p.mu.Lock()
	defer p.mu.Unlock()
	var last *Watch
	for _, w := range p.watches {
		if w.Proxy.ID == proxyID && (last == nil || w.ID > last.ID) {
			last = w
		}
	}
	return last, last != nil
}

// Blame returns a function that finds the objects that a resource comes from.
// Version "" means any. It is made of the bundles in force, once per question.
func (v *View) Blame() func(typeURL, name, version string) []mesh.Origin {
	type id struct{ typeURL, name string }
	type made struct {
		version string
		origins []mesh.Origin
	}
	index := map[id][]made{}
	for _, b := range v.Bundles.List() {
		for _, r := range b.Resources {
			k := id{r.TypeURL(), r.Name()}
			index[k] = append(index[k], made{r.Version(), b.Origins})
		}
	}
	return func(typeURL, name, version string) []mesh.Origin {
		var out []mesh.Origin
		seen := map[mesh.Origin]bool{}
		for _, m := range index[id{typeURL, name}] {
			if version != "" && version != m.version {
				continue
			}
			for _, o := range m.origins {
				if !seen[o] {
					seen[o] = true
					out = append(out, o)
				}
			}
		}
		return out
	}
}
