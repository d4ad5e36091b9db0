package listener

import (
	"fmt"

	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// filterState are the objects that network filters have set, as text. It
// implements snapshot.Dynamic.
type filterState struct{ values []stateValue }

type stateValue struct {
	key      string
	value    []byte
	readOnly bool
}

func (s *filterState) find(key string) *stateValue {
	for i := range s.values {
		if s.values[i].key == key {
			return &s.values[i]
		}
	}
	return nil
}

func (s *filterState) set(key string, value []byte) {
	if v := s.find(key); v != nil {
		if !v.readOnly {
			v.value = value
		}
		return
	}
	s.values = append(s.values, stateValue{key: key, value: value})
}

// FilterState implements snapshot.Dynamic.
func (s *filterState) FilterState(key string) ([]byte, bool) {
	if v := s.find(key); v != nil {
		return v.value, true
	}
	return nil, false
}

// DynamicMetadata implements snapshot.Dynamic: network filters set none.
func (s *filterState) DynamicMetadata(string, []string) (any, bool) { return nil, false }

// setState runs a set_filter_state filter. Objects that would have to change how
// the endpoint's identity is verified, and could not, are refused.
func (a *conn) setState(f *snapshot.SetFilterState) error {
	for i := range f.OnConnection {
		v := &f.OnConnection[i]
		switch v.Key {
		case snapshot.KeyUpstreamServerName, snapshot.KeyUpstreamSANs:
			return fmt.Errorf("filter state %q cannot be obeyed", v.Key)
		}
		if v.Value == nil || a.w.m.o.Format == nil {
			return fmt.Errorf("filter state %q has no value that can be formatted", v.Key)
		}
		r := &a.w.rec
		r.Reset()
		r.Conn, r.Start = &a.info, a.info.Start
		text := a.w.m.o.Format(nil, v.Value, r)
		r.Conn = nil
		if len(text) == 0 && v.SkipEmpty {
			continue
		}
		a.state.set(v.Key, text)
		if o := a.state.find(v.Key); v.ReadOnly {
			o.readOnly = true
		}
	}
	return nil
}
