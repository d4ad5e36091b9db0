package compile

import (
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/structpb"
)

// fieldsOf reads the fields of a Struct that stands for a message: names in
// either case style, every field asked for or refused.
type fieldsOf struct {
	m    map[string]*structpb.Value
	seen map[string]bool
	err  error
}

func readStruct(s *structpb.Struct) *fieldsOf {
	f := &fieldsOf{m: make(map[string]*structpb.Value, len(s.GetFields())), seen: map[string]bool{}}
	for k, v := range s.GetFields() {
		f.m[snake(k)] = v
	}
	return f
}

// snake turns camelCase into snake_case.
func snake(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c >= 'A' && c <= 'Z' {
			b.WriteByte('_')
			b.WriteByte(c + 'a' - 'A')
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

func (f *fieldsOf) fail(name, want string, v *structpb.Value) {
	if f.err == nil {
		f.err = in(name, fmt.Errorf("want %s, not %T", want, v.GetKind()))
	}
}

func (f *fieldsOf) get(name string) *structpb.Value {
	f.seen[name] = true
	v := f.m[name]
	if _, null := v.GetKind().(*structpb.Value_NullValue); null {
		return nil
	}
	return v
}

func (f *fieldsOf) text(name string) string {
	v := f.get(name)
	if v == nil {
		return ""
	}
	if _, ok := v.GetKind().(*structpb.Value_StringValue); !ok {
		f.fail(name, "text", v)
	}
	return v.GetStringValue()
}

func (f *fieldsOf) flag(name string) bool {
	v := f.get(name)
	if v == nil {
		return false
	}
	if _, ok := v.GetKind().(*structpb.Value_BoolValue); !ok {
		f.fail(name, "true or false", v)
	}
	return v.GetBoolValue()
}

// dur reads a duration in JSON form, "1.5s".
func (f *fieldsOf) dur(name string, def time.Duration) time.Duration {
	s := f.text(name)
	if s == "" {
		return def
	}
	d, err := time.ParseDuration(s)
	if (err != nil || d < 0) && f.err == nil {
		f.err = in(name, fmt.Errorf("%q is not a duration", s))
	}
	return d
}

func (f *fieldsOf) list(name string) []*structpb.Value {
	v := f.get(name)
	if v == nil {
		return nil
	}
	if _, ok := v.GetKind().(*structpb.Value_ListValue); !ok {
		f.fail(name, "a list", v)
	}
	return v.GetListValue().GetValues()
}

func (f *fieldsOf) texts(name string) []string {
	var out []string
	for _, v := range f.list(name) {
		if _, ok := v.GetKind().(*structpb.Value_StringValue); !ok {
			f.fail(name, "text", v)
		}
		out = append(out, v.GetStringValue())
	}
	return out
}

// done gives the first error: a wrong type, or a field nobody asked for.
func (f *fieldsOf) done() error {
	if f.err != nil {
		return f.err
	}
	for _, k := range sortedKeys(f.m) {
		if !f.seen[k] {
			return in(k, unsupported("field"))
		}
	}
	return nil
}
