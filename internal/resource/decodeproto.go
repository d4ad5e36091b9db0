package resource

import (
	"encoding/base64"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/meshctl/meshctl/internal/diag"
)

// protoDecoder fills a protobuf message from a tree under the rules of proto3's
// JSON mapping (protobuf.dev/programming-guides/json), strictly: every unknown
// or mistyped field is reported with its place, not only the first. Names in
// the tree are rewritten to lowerCamel on the way.
type protoDecoder struct{ *reporter }

func (d protoDecoder) message(n *node, m protoreflect.Message) {
	if n.kind == nullNode && m.Descriptor().FullName() != "google.protobuf.Value" {
		return
	}
	if d.wellKnown(n, m) {
		return
	}
	if n.kind != mapNode {
		d.mistyped(n, "an object")
		return
	}
	fields := m.Descriptor().Fields()
	for i := range n.fields {
		f := &n.fields[i]
		fd := fields.ByJSONName(f.name)
		if fd == nil {
			fd = fields.ByTextName(f.name)
		}
		if fd == nil {
			d.unknownField(f, fieldNames(fields))
			continue
		}
		twice := f.name != fd.JSONName() && n.child(fd.JSONName()) != nil
		f.name = fd.JSONName()
		d.push(f.name)
		switch {
		case twice:
			d.errorf(f.pos, "remove one of the two spellings", "the field %s is written twice", f.name)
		case f.value.kind == nullNode && !isValue(fd):
		default:
			d.member(f, fd, m)
		}
		d.pop()
	}
}

// member sets one field of m.
func (d protoDecoder) member(f *field, fd protoreflect.FieldDescriptor, m protoreflect.Message) {
	if fd.Options().(*descriptorpb.FieldOptions).GetDeprecated() {
		d.add(diag.Diagnostic{
			Code: CodeDeprecated, Severity: diag.Warning,
			Message: fmt.Sprintf("the field %s is deprecated", f.name),
			Fix:     deprecatedFix(fd.FullName()),
			Edit:    d.successor(f, fd.FullName()),
		}, f.pos)
	}
	if o := fd.ContainingOneof(); o != nil && !o.IsSynthetic() {
		if other := m.WhichOneof(o); other != nil {
			d.errorf(f.pos, "keep one of them", "%s and %s exclude each other", other.JSONName(), f.name)
			return
		}
	}
	switch {
	case fd.IsList():
		d.list(&f.value, fd, m)
	case fd.IsMap():
		d.mapField(&f.value, fd, m)
	default:
		if v, ok := d.value(&f.value, fd, m.NewField(fd)); ok {
			m.Set(fd, v)
		}
	}
}

func (d protoDecoder) list(n *node, fd protoreflect.FieldDescriptor, m protoreflect.Message) {
	if n.kind != listNode {
		d.mistyped(n, "a list")
		return
	}
	if len(n.items) == 0 {
		return
	}
	list := m.Mutable(fd).List()
	for i := range n.items {
		item := &n.items[i]
		d.pushIndex(i)
		if item.kind == nullNode && !isValue(fd) {
			d.errorf(item.pos, "remove the item", "a list item cannot be null")
			list.Append(list.NewElement())
		} else if v, ok := d.value(item, fd, list.NewElement()); ok {
			list.Append(v)
		} else {
			list.Append(list.NewElement()) // those behind it keep their numbers, which findings name
		}
		d.pop()
	}
}

func (d protoDecoder) mapField(n *node, fd protoreflect.FieldDescriptor, m protoreflect.Message) {
	if n.kind != mapNode {
		d.mistyped(n, "an object")
		return
	}
	if len(n.fields) == 0 {
		return
	}
	entries, key := m.Mutable(fd).Map(), fd.MapKey()
	for i := range n.fields {
		f := &n.fields[i]
		d.pushEntry(f.name)
		k, ok := d.value(&node{kind: keyKind(key, f.name), pos: f.pos, text: f.name}, key, protoreflect.Value{})
		if f.value.kind == nullNode && !isValue(fd.MapValue()) {
			d.errorf(f.pos, "give it a value, or remove it", "a value is missing")
		} else if v, valueOK := d.value(&f.value, fd.MapValue(), newMapValue(entries, fd)); ok && valueOK {
			entries.Set(k.MapKey(), v)
		}
		d.pop()
	}
}

// newMapValue makes an empty message for maps of messages; scalars need none.
func newMapValue(entries protoreflect.Map, fd protoreflect.FieldDescriptor) protoreflect.Value {
	if fd.MapValue().Kind() == protoreflect.MessageKind {
		return entries.NewValue()
	}
	return protoreflect.Value{}
}

// keyKind is the type a map key is read as; in JSON they are all strings.
func keyKind(key protoreflect.FieldDescriptor, text string) nodeKind {
	switch {
	case key.Kind() == protoreflect.BoolKind && (text == "true" || text == "false"):
		return boolNode
	default:
		return stringNode
	}
}

// isValue reports fields for which null is a value of its own.
func isValue(fd protoreflect.FieldDescriptor) bool {
	switch {
	case fd.Message() != nil:
		return fd.Message().FullName() == "google.protobuf.Value"
	case fd.Enum() != nil:
		return fd.Enum().FullName() == "google.protobuf.NullValue"
	}
	return false
}

// value reads one value; empty is a new message when the field holds messages.
func (d protoDecoder) value(n *node, fd protoreflect.FieldDescriptor, empty protoreflect.Value) (protoreflect.Value, bool) {
	switch fd.Kind() {
	case protoreflect.MessageKind, protoreflect.GroupKind:
		d.message(n, empty.Message())
		return empty, true
	case protoreflect.EnumKind:
		return d.enum(n, fd.Enum())
	case protoreflect.BoolKind:
		b, ok := d.boolean(n)
		return protoreflect.ValueOfBool(b), ok
	case protoreflect.StringKind:
		s, ok := d.text(n)
		return protoreflect.ValueOfString(s), ok
	case protoreflect.BytesKind:
		b, ok := d.bytes(n)
		return protoreflect.ValueOfBytes(b), ok
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		i, ok := d.integer(n, math.MinInt32, math.MaxInt32)
		return protoreflect.ValueOfInt32(int32(i)), ok
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		i, ok := d.integer(n, math.MinInt64, math.MaxInt64)
		return protoreflect.ValueOfInt64(i), ok
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		u, ok := d.unsigned(n, math.MaxUint32)
		return protoreflect.ValueOfUint32(uint32(u)), ok
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		u, ok := d.unsigned(n, math.MaxUint64)
		return protoreflect.ValueOfUint64(u), ok
	case protoreflect.FloatKind:
		f, ok := d.float(n)
		if ok && math.Abs(f) > math.MaxFloat32 && !math.IsInf(f, 0) {
			d.errorf(n.pos, "", "%s is out of range", n.text)
			return protoreflect.Value{}, false
		}
		return protoreflect.ValueOfFloat32(float32(f)), ok
	case protoreflect.DoubleKind:
		f, ok := d.float(n)
		return protoreflect.ValueOfFloat64(f), ok
	}
	d.errorf(n.pos, "", "fields of type %s are not supported", fd.Kind())
	return protoreflect.Value{}, false
}

func (d protoDecoder) enum(n *node, ed protoreflect.EnumDescriptor) (protoreflect.Value, bool) {
	values := ed.Values()
	switch n.kind {
	case stringNode:
		if v := values.ByName(protoreflect.Name(n.text)); v != nil {
			return protoreflect.ValueOfEnum(v.Number()), true
		}
		if ed.FullName() == "google.protobuf.NullValue" {
			break
		}
		names := make([]string, values.Len())
		for i := range names {
			names[i] = string(values.Get(i).Name())
		}
		d.errorf(n.pos, didYouMean(n.text, names), "%q is not one of %s", shorten(n.text), strings.Join(names, ", "))
		return protoreflect.Value{}, false
	case intNode:
		i, err := strconv.ParseInt(n.text, 10, 32)
		if err == nil && values.ByNumber(protoreflect.EnumNumber(i)) != nil {
			return protoreflect.ValueOfEnum(protoreflect.EnumNumber(i)), true
		}
		d.errorf(n.pos, "use the value's name", "%s has no value with number %s", ed.Name(), n.text)
		return protoreflect.Value{}, false
	default:
	}
	d.mistyped(n, "one of the values of "+string(ed.Name()))
	return protoreflect.Value{}, false
}

// wellKnown reads the messages whose JSON is not an object of their fields.
func (d protoDecoder) wellKnown(n *node, m protoreflect.Message) bool {
	md := m.Descriptor()
	if md.ParentFile().Package() != "google.protobuf" {
		return false
	}
	switch md.Name() {
	case "Duration":
		d.duration(n, m)
	case "Timestamp":
		d.timestamp(n, m)
	case "Struct":
		if n.kind != mapNode {
			d.mistyped(n, "an object")
			return true
		}
		proto.Merge(m.Interface(), structOf(n))
	case "Value":
		proto.Merge(m.Interface(), valueOf(n))
	case "ListValue":
		if n.kind != listNode {
			d.mistyped(n, "a list")
			return true
		}
		proto.Merge(m.Interface(), valueOf(n).GetListValue())
	case "BoolValue", "StringValue", "BytesValue", "Int32Value", "Int64Value", "UInt32Value", "UInt64Value", "FloatValue", "DoubleValue":
		fd := md.Fields().ByNumber(1)
		if v, ok := d.value(n, fd, protoreflect.Value{}); ok {
			m.Set(fd, v)
		}
	case "Empty":
		return false
	default:
		d.errorf(n.pos, "", "values of type %s are not supported", md.FullName())
	}
	return true
}

// duration reads "1.5s". Go's other units (1m30s, 100ms) are what Istio's own
// CRDs accept too, since istiod parses them before protobuf sees them.
func (d protoDecoder) duration(n *node, m protoreflect.Message) {
	if n.kind != stringNode {
		d.mistyped(n, `a duration such as "5s"`)
		return
	}
	v, err := time.ParseDuration(n.text)
	if err != nil || strings.ContainsAny(n.text, "µμ") {
		d.errorf(n.pos, `write a number with a unit, such as "5s", "100ms" or "1h"`, "%q is not a duration", shorten(n.text))
		return
	}
	proto.Merge(m.Interface(), durationpb.New(v))
}

func (d protoDecoder) timestamp(n *node, m protoreflect.Message) {
	t, err := time.Parse(time.RFC3339Nano, n.text)
	if n.kind != stringNode || err != nil {
		d.mistyped(n, "a time such as 2026-01-02T15:04:05Z")
		return
	}
	fields := m.Descriptor().Fields()
	m.Set(fields.ByNumber(1), protoreflect.ValueOfInt64(t.Unix()))
	m.Set(fields.ByNumber(2), protoreflect.ValueOfInt32(int32(t.Nanosecond())))
}

func structOf(n *node) *structpb.Struct {
	s := &structpb.Struct{Fields: make(map[string]*structpb.Value, len(n.fields))}
	for i := range n.fields {
		s.Fields[n.fields[i].name] = valueOf(&n.fields[i].value)
	}
	return s
}

func valueOf(n *node) *structpb.Value {
	switch n.kind {
	case mapNode:
		return structpb.NewStructValue(structOf(n))
	case listNode:
		list := &structpb.ListValue{Values: make([]*structpb.Value, len(n.items))}
		for i := range n.items {
			list.Values[i] = valueOf(&n.items[i])
		}
		return structpb.NewListValue(list)
	case boolNode:
		return structpb.NewBoolValue(n.text == "true")
	case intNode, floatNode:
		f, err := strconv.ParseFloat(n.text, 64)
		if err != nil {
			f = 0 // the parser spelled it, so it is a number
		}
		return structpb.NewNumberValue(f)
	case stringNode:
		return structpb.NewStringValue(n.text)
	default:
		return structpb.NewNullValue()
	}
}

func fieldNames(fields protoreflect.FieldDescriptors) []string {
	names := make([]string, 0, fields.Len())
	for i := range fields.Len() {
		if !strings.HasPrefix(string(fields.Get(i).Name()), "hidden") {
			names = append(names, fields.Get(i).JSONName())
		}
	}
	return names
}

func (d protoDecoder) bytes(n *node) ([]byte, bool) {
	if n.kind != stringNode {
		d.mistyped(n, "base64 text")
		return nil, false
	}
	return d.base64(n)
}

// base64 reads standard or URL base64, with or without padding, as proto3 JSON does.
func (r *reporter) base64(n *node) ([]byte, bool) {
	enc := base64.RawStdEncoding
	if strings.ContainsAny(n.text, "-_") {
		enc = base64.RawURLEncoding
	}
	b, err := enc.DecodeString(strings.TrimRight(strings.ReplaceAll(n.text, "\n", ""), "="))
	if err != nil {
		r.errorf(n.pos, "encode it with base64", "not base64: %v", err)
		return nil, false
	}
	return b, true
}
