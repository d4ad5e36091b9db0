package compile

import (
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// TestFieldTableIsNotStale: every message and field of the table exists, and
// messages reachable through handled fields are in it.
func TestFieldTableIsNotStale(t *testing.T) {
	t.Parallel()
	table, err := parseFields(fieldsText)
	if err != nil {
		t.Fatal(err)
	}
	for name, fields := range table {
		d, err := protoregistry.GlobalFiles.FindDescriptorByName(name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		m, ok := d.(protoreflect.MessageDescriptor)
		if !ok {
			t.Errorf("%s is not a message", name)
			continue
		}
		for f, rule := range fields {
			fd := m.Fields().ByName(f)
			if fd == nil {
				t.Errorf("%s has no field %s", name, f)
				continue
			}
			msg := fd.Message()
			if fd.IsMap() {
				msg = fd.MapValue().Message()
			}
			if msg != nil && rule.harmless == "" && !wellKnown(msg.FullName()) && table[msg.FullName()] == nil {
				t.Errorf("%s.%s is handled, but its message %s is not in the table", name, f, msg.FullName())
			}
		}
	}
}

func TestFieldTableSyntax(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"~ x reason", "a.B: c\n~ noreason"} {
		if _, err := parseFields(text); err == nil {
			t.Errorf("%q: no error", text)
		}
	}
}
