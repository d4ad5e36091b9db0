package xdsserve

import (
	"fmt"
	"maps"
	"slices"
)

// applyDelta takes the subscription part of a delta request over.
func (s *subscription) applyDelta(r request, current *Set, first bool, limits Limits) error {
	if first {
		s.base = current
		if len(r.subscribe) == 0 && !s.rule.named {
			s.subscribeAll(r.initial)
		}
	}
	for _, name := range r.unsubscribe {
		if name == wildcardName {
			s.unsubscribeAll()
			continue
		}
		s.remove(name)
	}
	for _, name := range r.subscribe {
		if name != wildcardName {
			s.add(name, r.initial[name], current)
		} else if !s.wildcard {
			s.subscribeAll(r.initial)
		}
	}
	return s.checkSize(limits)
}

// subscribeAll makes the subscription a wildcard. A client that holds nothing
// waits for an answer even if it is empty (Envoy would not finish starting).
func (s *subscription) subscribeAll(held map[string]string) {
	s.setWildcard(held)
	s.must = s.must || len(held) == 0
}

func (s *subscription) unsubscribeAll() {
	s.wildcard = false
	s.late = nil
	maps.DeleteFunc(s.owed, func(name, _ string) bool { return !s.subscribed(name) })
}

func (s *subscription) checkSize(limits Limits) error {
	if n := len(s.names) + len(s.owed); n > 2*limits.MaxNames || len(s.names) > limits.MaxNames {
		return fmt.Errorf("subscription to %s has more than %d resource names", s.typeURL, limits.MaxNames)
	}
	return nil
}

// applySotW takes the names of a state-of-the-world request over; each request
// carries the whole list. answered says that it answers the response in flight.
func (s *subscription) applySotW(r request, current *Set, first, answered bool, limits Limits) error {
	all := slices.Contains(r.names, wildcardName)
	if first {
		s.base, s.must = current, true
		s.legacy = len(r.names) == 0 && !s.rule.named
		if all || s.legacy {
			s.wildcard = true
			if r.version != "" && r.version == current.Version() {
				s.must = false // it holds exactly this
			} else {
				s.base = nil
			}
		}
	} else if s.legacy && len(r.names) > 0 {
		s.legacy, s.wildcard = false, all
	} else if !s.legacy && s.wildcard != all {
		s.wildcard, s.must = all, true
	}
	asked := make(map[string]struct{}, len(r.names))
	changed := false
	for _, name := range r.names {
		if name == wildcardName {
			continue
		}
		asked[name] = struct{}{}
		if _, known := s.names[name]; !known {
			s.add(name, "", current)
			s.must, changed = true, true
		}
	}
	for name := range s.names {
		if _, still := asked[name]; !still {
			s.remove(name)
			changed = true
		}
	}
	// The same request again, with nothing in flight to answer: the client wants
	// the resources anew, as Envoy does for a cluster that it warms.
	if !first && !answered && !changed && !s.legacy {
		for name := range s.names {
			s.owed[name] = ""
		}
		s.must = len(s.names) > 0
	}
	return s.checkSize(limits)
}

// whole returns everything subscribed, for a state-of-the-world response.
func (s *subscription) whole(now *Set, lookup Lookup) []*Resource {
	if s.wildcard {
		return slices.AppendSeq(make([]*Resource, 0, now.Len()), now.All())
	}
	out := make([]*Resource, 0, len(s.names))
	for _, name := range slices.Sorted(maps.Keys(s.names)) {
		if r, ok := now.Get(name); ok {
			out = append(out, r)
		} else if r, ok := lookup(s.typeURL, name); ok {
			out = append(out, r)
		}
	}
	return out
}
