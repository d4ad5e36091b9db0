package admin

import (
	"github.com/cncf/xds/go/udpa/annotations"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/anypb"
)

const redacted = "[redacted]"

// maxDepth bounds the nesting of messages, Any included.
const maxDepth = 64

// redact replaces the values of fields that Envoy's protos mark as sensitive
// (private keys, passwords, tokens), inside of Any too. What cannot be looked
// into, or is nested too deep, is taken out.
func redact(m protoreflect.Message, depth int) {
	if a, ok := m.Interface().(*anypb.Any); ok {
		redactAny(a, depth)
		return
	}
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case sensitive(f):
			hide(m, f)
		case depth >= maxDepth:
			m.Clear(f)
		case f.IsMap():
			if f.MapValue().Message() != nil {
				v.Map().Range(func(_ protoreflect.MapKey, e protoreflect.Value) bool {
					redact(e.Message(), depth+1)
					return true
				})
			}
		case f.Message() == nil:
		case f.IsList():
			for i := range v.List().Len() {
				redact(v.List().Get(i).Message(), depth+1)
			}
		default:
			redact(v.Message(), depth+1)
		}
		return true
	})
}

func redactAny(a *anypb.Any, depth int) {
	if a.GetTypeUrl() == "" {
		return
	}
	inner, err := a.UnmarshalNew()
	if err != nil || depth >= maxDepth {
		a.Reset()
		return
	}
	redact(inner.ProtoReflect(), depth+1)
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(inner)
	if err != nil {
		a.Reset()
		return
	}
	a.Value = b
}

func sensitive(f protoreflect.FieldDescriptor) bool {
	o, ok := f.Options().(*descriptorpb.FieldOptions)
	if !ok || o == nil {
		return false
	}
	v, ok := proto.GetExtension(o, annotations.E_Sensitive).(bool)
	return ok && v
}

// hide replaces text and bytes by a mark, at any depth, and takes out the rest.
func hide(m protoreflect.Message, f protoreflect.FieldDescriptor) {
	switch {
	case f.IsMap():
		m.Clear(f)
	case f.IsList():
		l := m.Mutable(f).List()
		for i := range l.Len() {
			switch f.Kind() {
			case protoreflect.StringKind:
				l.Set(i, protoreflect.ValueOfString(redacted))
			case protoreflect.BytesKind:
				l.Set(i, protoreflect.ValueOfBytes([]byte(redacted)))
			case protoreflect.MessageKind:
				hideAll(l.Get(i).Message())
			default:
				m.Clear(f)
				return
			}
		}
	case f.Kind() == protoreflect.StringKind:
		m.Set(f, protoreflect.ValueOfString(redacted))
	case f.Kind() == protoreflect.BytesKind:
		m.Set(f, protoreflect.ValueOfBytes([]byte(redacted)))
	case f.Message() != nil:
		hideAll(m.Mutable(f).Message())
	default:
		m.Clear(f)
	}
}

// hideAll hides every field of m. An Any loses its content with its type.
func hideAll(m protoreflect.Message) {
	if a, ok := m.Interface().(*anypb.Any); ok {
		a.Reset()
		return
	}
	m.Range(func(f protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		hide(m, f)
		return true
	})
}
