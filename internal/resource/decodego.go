package resource

import (
	"encoding/json"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// goDecoder fills Go values from a tree under the rules of encoding/json, but
// strictly: names are matched exactly, and every unknown or mistyped field is
// reported with its place. It serves the Kubernetes and Gateway API types.
type goDecoder struct {
	*reporter
	types map[reflect.Type]*structFields // of one call of Decode
}

// structFields are the JSON members of a Go struct, embedded ones included.
type structFields struct {
	byName map[string][]int // index path for reflect's FieldByIndex
	names  []string
}

func (d goDecoder) value(n *node, v reflect.Value) {
	if n.kind == nullNode {
		return
	}
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		d.value(n, v.Elem())
		return
	}
	if v.CanAddr() {
		if u, ok := v.Addr().Interface().(json.Unmarshaler); ok {
			d.unmarshaler(n, u, v.Type())
			return
		}
	}
	switch v.Kind() {
	case reflect.Struct:
		d.structValue(n, v)
	case reflect.Map:
		d.mapValue(n, v)
	case reflect.Slice:
		d.slice(n, v)
	case reflect.String:
		if s, ok := d.text(n); ok {
			v.SetString(s)
		}
	case reflect.Bool:
		if b, ok := d.boolean(n); ok {
			v.SetBool(b)
		}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		d.intValue(n, v)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		if u, ok := d.unsigned(d.number(n), math.MaxUint64>>(64-v.Type().Bits())); ok {
			v.SetUint(u)
		}
	case reflect.Float32, reflect.Float64:
		if f, ok := d.float(d.number(n)); ok {
			v.SetFloat(f)
		}
	default:
		d.errorf(n.pos, "", "values of type %s are not supported", v.Type())
	}
}

// number hides text from the readers of numbers: unlike proto3's JSON,
// Kubernetes takes no number in quotes.
func (d goDecoder) number(n *node) *node {
	if n.kind == stringNode {
		return &node{kind: stringNode, pos: n.pos, text: " " + n.text}
	}
	return n
}

func (d goDecoder) intValue(n *node, v reflect.Value) {
	high := int64(math.MaxInt64) >> (64 - v.Type().Bits())
	if n.kind == stringNode {
		d.mistyped(n, "a whole number")
		return
	}
	if i, ok := d.integer(n, -high-1, high); ok {
		v.SetInt(i)
	}
}

// unmarshaler hands a value with a JSON form of its own (a quantity, a time, an
// int-or-string) to its own code.
func (d goDecoder) unmarshaler(n *node, u json.Unmarshaler, t reflect.Type) {
	if n.kind == floatNode && t.Name() == "IntOrString" {
		d.mistyped(n, "a whole number or text")
		return
	}
	if err := u.UnmarshalJSON(appendJSON(nil, n)); err != nil {
		want, known := unmarshalerWords[t.Name()]
		if !known {
			want = "a value of type " + t.Name()
		}
		d.mistyped(n, want)
	}
}

var unmarshalerWords = map[string]string{
	"Quantity":    `a quantity such as "100m", 1 or "1Gi"`,
	"Time":        "a time such as 2026-01-02T15:04:05Z",
	"MicroTime":   "a time such as 2026-01-02T15:04:05.000000Z",
	"Duration":    `a duration such as "5s"`,
	"IntOrString": "a whole number or text",
}

func (d goDecoder) structValue(n *node, v reflect.Value) {
	if n.kind != mapNode {
		d.mistyped(n, "an object")
		return
	}
	info := d.fieldsOf(v.Type())
	for i := range n.fields {
		f := &n.fields[i]
		index, ok := info.byName[f.name]
		if !ok {
			d.unknownField(f, info.names)
			continue
		}
		d.push(f.name)
		d.value(&f.value, fieldByIndex(v, index))
		d.pop()
	}
}

// fieldByIndex is reflect's, making embedded pointers on the way.
func fieldByIndex(v reflect.Value, index []int) reflect.Value {
	for i, x := range index {
		if i > 0 && v.Kind() == reflect.Pointer {
			if v.IsNil() {
				v.Set(reflect.New(v.Type().Elem()))
			}
			v = v.Elem()
		}
		v = v.Field(x)
	}
	return v
}

func (d goDecoder) fieldsOf(t reflect.Type) *structFields {
	if info, ok := d.types[t]; ok {
		return info
	}
	info := &structFields{byName: make(map[string][]int, t.NumField())}
	d.types[t] = info
	info.collect(t, nil)
	slices.Sort(info.names)
	return info
}

func (s *structFields) collect(t reflect.Type, prefix []int) {
	for i := range t.NumField() {
		sf := t.Field(i)
		name, options, _ := strings.Cut(sf.Tag.Get("json"), ",")
		if name == "-" || (!sf.IsExported() && !sf.Anonymous) {
			continue
		}
		index := append(slices.Clone(prefix), i)
		if name == "" && (sf.Anonymous || strings.Contains(options, "inline")) {
			inner := sf.Type
			if inner.Kind() == reflect.Pointer {
				inner = inner.Elem()
			}
			s.collect(inner, index)
			continue
		}
		if name == "" {
			name = sf.Name
		}
		if _, shadowed := s.byName[name]; !shadowed {
			s.byName[name] = index
			s.names = append(s.names, name)
		}
	}
}

func (d goDecoder) mapValue(n *node, v reflect.Value) {
	if n.kind != mapNode {
		d.mistyped(n, "an object")
		return
	}
	t := v.Type()
	if t.Key().Kind() != reflect.String {
		d.errorf(n.pos, "", "values of type %s are not supported", t)
		return
	}
	out := reflect.MakeMapWithSize(t, len(n.fields))
	elem := reflect.New(t.Elem()).Elem()
	for i := range n.fields {
		f := &n.fields[i]
		elem.SetZero()
		d.pushEntry(f.name)
		d.value(&f.value, elem)
		d.pop()
		out.SetMapIndex(reflect.ValueOf(f.name).Convert(t.Key()), elem)
	}
	v.Set(out)
}

func (d goDecoder) slice(n *node, v reflect.Value) {
	if v.Type().Elem().Kind() == reflect.Uint8 {
		if n.kind != stringNode {
			d.mistyped(n, "base64 text")
		} else if b, ok := d.base64(n); ok {
			v.SetBytes(b)
		}
		return
	}
	if n.kind != listNode {
		d.mistyped(n, "a list")
		return
	}
	out := reflect.MakeSlice(v.Type(), len(n.items), len(n.items))
	for i := range n.items {
		d.pushIndex(i)
		d.value(&n.items[i], out.Index(i))
		d.pop()
	}
	v.Set(out)
}

// quoted spells text as a user would write it in YAML.
func quoted(s string) string { return strconv.Quote(shorten(s)) }
