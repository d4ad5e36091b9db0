package compile

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// fieldTable says, for each message, which fields are understood. See fields.go.
type fieldTable map[protoreflect.FullName]map[protoreflect.Name]fieldRule

// fieldRule is how a field is taken: read by the compiler, or left alone for a reason.
type fieldRule struct {
	harmless string // empty: handled
}

// parseFields reads the table: "message.Name: field field" and, below it, lines
// "~ field reason".
func parseFields(text string) (fieldTable, error) {
	t := fieldTable{}
	var cur map[protoreflect.Name]fieldRule
	for n, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#':
		case line[0] == '~':
			name, reason, ok := strings.Cut(strings.TrimSpace(line[1:]), " ")
			if !ok || cur == nil {
				return nil, fmt.Errorf("field table line %d: want ~ field reason", n+1)
			}
			cur[protoreflect.Name(name)] = fieldRule{harmless: reason}
		default:
			msg, fields, ok := strings.Cut(line, ":")
			if !ok {
				for f := range strings.FieldsSeq(line) {
					cur[protoreflect.Name(f)] = fieldRule{}
				}
				continue
			}
			cur = map[protoreflect.Name]fieldRule{}
			t[protoreflect.FullName(msg)] = cur
			for f := range strings.FieldsSeq(fields) {
				cur[protoreflect.Name(f)] = fieldRule{}
			}
		}
	}
	return t, nil
}

// check walks every field that is set in m and below and refuses what is not in
// the table. It does not look into Any: who unpacks one checks its content.
func (t fieldTable) check(m protoreflect.Message, depth int) (err error) {
	if depth > maxDepth {
		return fmt.Errorf("nested more than %d levels deep", maxDepth)
	}
	if u := m.GetUnknown(); len(u) > 0 {
		return fmt.Errorf("unsupported: a field unknown to this version of the API (%d bytes)", len(u))
	}
	d := m.Descriptor()
	name := d.FullName()
	if wellKnown(name) {
		return nil
	}
	rules, ok := t[name]
	if !ok {
		return unsupported("message %s", name)
	}
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		rule, ok := rules[fd.Name()]
		if !ok {
			err = in(string(fd.Name()), unsupported("field"))
			return false
		}
		if rule.harmless != "" {
			return true
		}
		err = t.checkValue(fd, v, depth)
		return err == nil
	})
	return err
}

func (t fieldTable) checkValue(fd protoreflect.FieldDescriptor, v protoreflect.Value, depth int) (err error) {
	switch {
	case fd.IsMap():
		if fd.MapValue().Message() == nil {
			return nil
		}
		v.Map().Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
			err = key(string(fd.Name()), k.String(), t.check(v.Message(), depth+1))
			return err == nil
		})
		return err
	case fd.Message() == nil:
		return nil
	case fd.IsList():
		l := v.List()
		for i := range l.Len() {
			if err := at(string(fd.Name()), i, t.check(l.Get(i).Message(), depth+1)); err != nil {
				return err
			}
		}
		return nil
	default:
		return in(string(fd.Name()), t.check(v.Message(), depth+1))
	}
}

// wellKnown are the messages of protobuf itself.
func wellKnown(name protoreflect.FullName) bool {
	return strings.HasPrefix(string(name), "google.protobuf.")
}
