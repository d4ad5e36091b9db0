package view

import (
	"slices"

	"github.com/meshctl/meshctl/internal/controlplane/xdsserve"
)

// holder is a set of bundles as Sets by type: of a scope, or what a class has
// beyond its scope.
type holder struct {
	keys    []string // of bundles, sorted
	sets    map[string]*xdsserve.Set
	rebuild bool
	whole   bool // every bundle is computed, though it may be empty
	clash   bool // two bundles have a resource of one name; the first key won
	edits   map[string]edit
}

// edit is a change of one bundle.
type edit struct{ before, after *Bundle }

func newHolder() *holder { return &holder{sets: map[string]*xdsserve.Set{}, edits: map[string]edit{}} }

// note remembers a change of a bundle; several changes of one are one.
func (h *holder) note(key string, before, after *Bundle) {
	if e, ok := h.edits[key]; ok {
		before = e.before
	}
	h.edits[key] = edit{before, after}
}

// update brings the sets up to date, and reports whether anything changed.
func (h *holder) update(get func(key string) (*Bundle, bool)) (changed bool, err error) {
	if len(h.edits) == 0 && !h.rebuild {
		return false, nil
	}
	sets := h.edited()
	if sets == nil {
		sets, h.clash, err = h.fromScratch(get)
	}
	h.rebuild = false
	clear(h.edits)
	if err != nil {
		return false, err
	}
	for t, s := range sets {
		if s != h.sets[t] {
			h.sets[t], changed = s, true
		}
	}
	return changed, nil
}

// edited applies the edits to the sets. It returns nil where that is not
// enough: the bundles themselves changed, or names that could clash.
func (h *holder) edited() map[string]*xdsserve.Set {
	if h.rebuild || h.clash {
		return nil
	}
	set := map[string][]*xdsserve.Resource{}
	for _, e := range h.edits {
		if e.before == nil || e.after == nil || !sameNames(e.before, e.after) {
			return nil
		}
		for i, r := range e.after.Resources {
			if !sameResource(r, e.before.Resources[i]) {
				set[r.TypeURL()] = append(set[r.TypeURL()], r)
			}
		}
	}
	out := map[string]*xdsserve.Set{}
	for t, rs := range set {
		out[t] = h.sets[t].With(rs, nil)
	}
	return out
}

func sameNames(a, b *Bundle) bool {
	return slices.EqualFunc(a.Resources, b.Resources, func(x, y *xdsserve.Resource) bool {
		return x.TypeURL() == y.TypeURL() && x.Name() == y.Name()
	})
}

// fromScratch makes the sets of all bundles. Where two have a resource of one
// name, the first key wins, so that the result does not depend on history.
func (h *holder) fromScratch(get func(key string) (*Bundle, bool)) (map[string]*xdsserve.Set, bool, error) {
	type id struct{ typeURL, name string }
	seen := map[id]bool{}
	byType := map[string][]*xdsserve.Resource{}
	clash := false
	h.whole = true
	for _, k := range h.keys {
		b, ok := get(k)
		if !ok {
			h.whole = false
			continue
		}
		for _, r := range b.Resources {
			n := id{r.TypeURL(), r.Name()}
			if seen[n] {
				clash = true
				continue
			}
			seen[n] = true
			byType[n.typeURL] = append(byType[n.typeURL], r)
		}
	}
	out := map[string]*xdsserve.Set{}
	for t := range h.sets {
		out[t] = nil // gone, unless found below
	}
	for t, rs := range byType {
		s, err := xdsserve.NewSet(h.sets[t], rs)
		if err != nil {
			return nil, clash, err
		}
		out[t] = s
	}
	return out, clash, nil
}
