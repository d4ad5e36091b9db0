package view

import (
	"slices"
	"sync"
	"time"

	"github.com/meshctl/meshctl/internal/collection"
	"github.com/meshctl/meshctl/internal/controlplane/xdsserve"
	"github.com/meshctl/meshctl/internal/mesh"
)

// publisher turns changes of bundles into snapshots of classes. All of it but
// the watches runs in the propagation's goroutine.
type publisher struct {
	v *View

	scopes  map[string]*holder
	classes map[string]*classView
	// users finds the holders of a bundle.
	users map[string]map[*holder]bool
	// members is the class of each session.
	members map[string]string
	errs    map[string]error // by class or scope, of the last update

	mu      sync.Mutex
	watches map[string]*Watch
}

// classView is a class's snapshot and what it is made of.
type classView struct {
	scope string // "" for gateways
	own   *holder
	sets  map[string]*xdsserve.Set
	parts map[string]part // by type, what sets were composed of
	made  time.Time
	fresh bool // not yet composed
}

// part is a scope's and a class's own Set of one type.
type part struct{ shared, own *xdsserve.Set }

func newPublisher(v *View) *publisher {
	p := &publisher{
		v: v, scopes: map[string]*holder{}, classes: map[string]*classView{}, users: map[string]map[*holder]bool{},
		members: map[string]string{}, errs: map[string]error{}, watches: map[string]*Watch{},
	}
	collection.Subscribe(v.Classes, func(_ uint64, evs []collection.Event[*Class]) { p.classEvents(evs) })
	collection.Subscribe(v.links, func(_ uint64, evs []collection.Event[*link]) { p.linkEvents(evs) })
	collection.Subscribe(v.Plans, func(_ uint64, evs []collection.Event[*Plan]) { p.planEvents(evs) })
	collection.Subscribe(v.gateways, func(_ uint64, evs []collection.Event[*gatewayPlan]) { p.gatewayEvents(evs) })
	collection.Subscribe(v.members, func(_ uint64, evs []collection.Event[*member]) { p.memberEvents(evs) })
	collection.Subscribe(v.Bundles, func(_ uint64, evs []collection.Event[*Bundle]) { p.bundleEvents(evs) })
	v.g.AfterPropagation(p.publish)
	return p
}

func (p *publisher) watch(w *Watch) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.watches[w.ID] = w
	leave := w.leave
	w.leave = func() {
		p.mu.Lock()
		delete(p.watches, w.ID)
		p.mu.Unlock()
		leave()
	}
}

func (p *publisher) classEvents(evs []collection.Event[*Class]) {
	for _, e := range evs {
		if e.New == nil {
			if c := p.classes[e.Key]; c != nil {
				p.setKeys(c.own, nil)
			}
			delete(p.classes, e.Key)
			delete(p.errs, e.Key)
			continue
		}
		c := p.class(e.Key)
		if (*e.New).Type == mesh.Sidecar {
			p.setKeys(c.own, []string{inboundKey(e.Key)})
		}
	}
}

func (p *publisher) class(key string) *classView {
	c := p.classes[key]
	if c == nil {
		c = &classView{own: newHolder(), fresh: true}
		p.classes[key] = c
	}
	return c
}

func (p *publisher) linkEvents(evs []collection.Event[*link]) {
	for _, e := range evs {
		if c := p.classes[e.Key]; c != nil && e.New != nil {
			c.scope, c.fresh = (*e.New).scope.Key, true
		}
	}
}

func (p *publisher) planEvents(evs []collection.Event[*Plan]) {
	for _, e := range evs {
		h := p.scopes[e.Key]
		if e.New == nil {
			if h != nil {
				p.setKeys(h, nil)
				delete(p.scopes, e.Key)
				delete(p.errs, e.Key)
			}
			continue
		}
		if h == nil {
			h = newHolder()
			p.scopes[e.Key] = h
		}
		p.setKeys(h, (*e.New).Keys)
	}
}

func (p *publisher) gatewayEvents(evs []collection.Event[*gatewayPlan]) {
	for _, e := range evs {
		if c := p.classes[e.Key]; c != nil && e.New != nil {
			p.setKeys(c.own, (*e.New).keys)
		}
	}
}

func (p *publisher) memberEvents(evs []collection.Event[*member]) {
	for _, e := range evs {
		if e.New == nil {
			delete(p.members, e.Key)
		} else {
			p.members[e.Key] = (*e.New).class.Key
		}
	}
}

func (p *publisher) bundleEvents(evs []collection.Event[*Bundle]) {
	for _, e := range evs {
		for h := range p.users[e.Key] {
			h.note(e.Key, value(e.Old), value(e.New))
		}
	}
}

func value(b **Bundle) *Bundle {
	if b == nil {
		return nil
	}
	return *b
}

// setKeys replaces the bundles of a holder.
func (p *publisher) setKeys(h *holder, keys []string) {
	for _, k := range h.keys {
		delete(p.users[k], h)
		if len(p.users[k]) == 0 {
			delete(p.users, k)
		}
	}
	for _, k := range keys {
		if p.users[k] == nil {
			p.users[k] = map[*holder]bool{}
		}
		p.users[k][h] = true
	}
	h.keys, h.rebuild = keys, true
}

// publish composes what changed and gives every session its snapshot. Sessions of
// classes without a change get the new generation only, so that the ledger can
// tell that they have nothing left to do.
func (p *publisher) publish(gen uint64) {
	changed := map[string]bool{}
	for key, h := range p.scopes {
		ok, err := h.update(p.v.Bundles.Get)
		p.record(key, err)
		changed[key] = ok
	}
	now := p.v.now()
	for key, c := range p.classes {
		own, err := c.own.update(p.v.Bundles.Get)
		p.record(key, err)
		scope := p.scopes[c.scope]
		if own || c.fresh || changed[c.scope] {
			c.compose(scope)
			c.made = now
		}
	}
	p.send(gen)
}

func (p *publisher) record(key string, err error) {
	if err == nil {
		delete(p.errs, key)
		return
	}
	p.errs[key] = err
}

// compose lays the class's own resources over those of its scope. Types of which
// neither part changed stay as they are.
func (c *classView) compose(scope *holder) {
	c.fresh = false
	parts := map[string]part{}
	if scope != nil {
		for t, s := range scope.sets {
			parts[t] = part{shared: s}
		}
	}
	for t, s := range c.own.sets {
		parts[t] = part{parts[t].shared, s}
	}
	sets := make(map[string]*xdsserve.Set, len(parts))
	for t, p := range parts {
		switch {
		case c.parts[t] == p:
			sets[t] = c.sets[t]
		case p.own.Len() == 0:
			sets[t] = p.shared
		case p.shared.Len() == 0:
			sets[t] = p.own
		default:
			sets[t] = p.shared.With(slices.Collect(p.own.All()), nil)
		}
	}
	c.sets, c.parts = sets, parts
}

// send publishes to the watches. A class whose own side is not computed yet gets
// nothing: half a configuration would let traffic through unjudged.
func (p *publisher) send(gen uint64) {
	snapshots := map[string]*xdsserve.Snapshot{}
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, w := range p.watches {
		key, ok := p.members[id]
		if !ok {
			continue
		}
		s := snapshots[key]
		if s == nil {
			c := p.classes[key]
			if c == nil || !c.complete(p.scopes) {
				continue
			}
			s = &xdsserve.Snapshot{Generation: gen, Made: c.made, Sets: c.sets}
			snapshots[key] = s
		}
		w.feed.Publish(s)
	}
}

// complete reports whether the class has everything: its own side, and a scope
// if it needs one.
func (c *classView) complete(scopes map[string]*holder) bool {
	if len(c.own.keys) == 0 {
		return false
	}
	// A sidecar that nothing is redirected to may have nothing of its own.
	computed := c.own.whole || len(c.own.sets) > 0
	return computed && (c.scope == "" || scopes[c.scope] != nil)
}
