// Package header holds HTTP header lists as spans over one arena of bytes, with
// small numbers for the names a proxy looks at. A List is reused from request
// to request without allocating; names are stored in lower case (RFC 9113 §8.2.1).
package header

import "bytes"

// span is a piece of the arena.
type span struct{ off, len uint32 }

// Field is one header line of a List; it is valid until the list is changed or reset.
type Field struct {
	name, value span
	id          ID
	removed     bool
	sensitive   bool
}

// List is an ordered list of header fields. The zero value is an empty list.
// It is owned by one goroutine. Slices it returns point into its arena and stay
// valid until the next change of the list.
type List struct {
	arena  []byte
	fields []Field
	live   int
}

// Reset empties the list and keeps its memory.
func (l *List) Reset() {
	l.arena = l.arena[:0]
	l.fields = l.fields[:0]
	l.live = 0
}

// Swap exchanges the contents of two lists without copying: how a receiver
// takes over what a codec has decoded.
func (l *List) Swap(o *List) { *l, *o = *o, *l }

// CopyFrom makes l equal to o.
func (l *List) CopyFrom(o *List) {
	l.arena = append(l.arena[:0], o.arena...)
	l.fields = append(l.fields[:0], o.fields...)
	l.live = o.live
}

// Len is the number of fields.
func (l *List) Len() int { return l.live }

// Bytes is the size as HTTP/2 counts it: name + value + 32 per field (RFC 9113 §10.5.1).
func (l *List) Bytes() int {
	n := 0
	for i := range l.fields {
		if f := &l.fields[i]; !f.removed {
			n += int(f.name.len) + int(f.value.len) + 32
		}
	}
	return n
}

// Cap is the memory held by the list, in bytes.
func (l *List) Cap() int { return cap(l.arena) }

func (l *List) put(b []byte) span {
	s := span{uint32(len(l.arena)), uint32(len(b))}
	l.arena = append(l.arena, b...)
	return s
}

func (l *List) putString(b string) span {
	s := span{uint32(len(l.arena)), uint32(len(b))}
	l.arena = append(l.arena, b...)
	return s
}

func (l *List) bytes(s span) []byte { return l.arena[s.off : s.off+s.len : s.off+s.len] }

// Add appends a field, lower-casing the name, and returns its number.
func (l *List) Add(name, value []byte) ID {
	n := l.put(name)
	lowerInPlace(l.arena[n.off:])
	id := Lookup(l.bytes(n))
	l.fields = append(l.fields, Field{name: n, value: l.put(value), id: id})
	l.live++
	return id
}

// RemoveLast takes back the field added last. It must not have been changed since.
func (l *List) RemoveLast() {
	n := len(l.fields) - 1
	l.arena = l.arena[:l.fields[n].name.off]
	l.fields = l.fields[:n]
	l.live--
}

// AddString is Add for strings.
func (l *List) AddString(name, value string) {
	n := l.putString(name)
	lowerInPlace(l.arena[n.off:])
	l.fields = append(l.fields, Field{name: n, value: l.putString(value), id: Lookup(l.bytes(n))})
	l.live++
}

// AddID appends a field with a known name.
func (l *List) AddID(id ID, value []byte) {
	l.fields = append(l.fields, Field{name: l.putString(id.Name()), value: l.put(value), id: id})
	l.live++
}

// AddField appends a field as a codec has decoded it: name must be in lower
// case already and id must be Lookup(name). Sensitive marks a value which no
// codec on the way may compress by reference (RFC 7541 §7.1.3).
func (l *List) AddField(id ID, name, value []byte, sensitive bool) {
	l.fields = append(l.fields, Field{name: l.put(name), value: l.put(value), id: id, sensitive: sensitive})
	l.live++
}

// Sensitive reports whether field i of Raw was added as sensitive.
func (l *List) Sensitive(i int) bool { return l.fields[i].sensitive }

// AddIDString is AddID for a string value.
func (l *List) AddIDString(id ID, value string) {
	l.fields = append(l.fields, Field{name: l.putString(id.Name()), value: l.putString(value), id: id})
	l.live++
}

// Set replaces all fields of a known name by one.
func (l *List) Set(id ID, value []byte) {
	for i := range l.fields {
		if f := &l.fields[i]; f.id == id && !f.removed {
			f.value = l.put(value)
			l.removeFrom(i+1, id)
			return
		}
	}
	l.AddID(id, value)
}

// SetString is Set for a string value.
func (l *List) SetString(id ID, value string) {
	for i := range l.fields {
		if f := &l.fields[i]; f.id == id && !f.removed {
			f.value = l.putString(value)
			l.removeFrom(i+1, id)
			return
		}
	}
	l.AddIDString(id, value)
}

// SetName replaces all fields called name (lower case) by one.
func (l *List) SetName(name string, value []byte) {
	if id := LookupString(name); id != Other {
		l.Set(id, value)
		return
	}
	done := false
	for i := range l.fields {
		f := &l.fields[i]
		if f.removed || f.id != Other || string(l.bytes(f.name)) != name {
			continue
		}
		if done {
			f.removed = true
			l.live--
			continue
		}
		f.value = l.put(value)
		done = true
	}
	if !done {
		l.fields = append(l.fields, Field{name: l.putString(name), value: l.put(value)})
		l.live++
	}
}

func (l *List) removeFrom(i int, id ID) {
	for ; i < len(l.fields); i++ {
		if f := &l.fields[i]; f.id == id && !f.removed {
			f.removed = true
			l.live--
		}
	}
}

// Remove deletes all fields of a known name.
func (l *List) Remove(id ID) { l.removeFrom(0, id) }

// RemoveName deletes all fields called name (lower case).
func (l *List) RemoveName(name string) {
	if id := LookupString(name); id != Other {
		l.Remove(id)
		return
	}
	for i := range l.fields {
		if f := &l.fields[i]; !f.removed && f.id == Other && string(l.bytes(f.name)) == name {
			f.removed = true
			l.live--
		}
	}
}

// RemoveNominated deletes all fields called name (any case) unless keep says that
// they stay: what the options of a Connection field ask for (RFC 9110 §7.6.1).
func (l *List) RemoveNominated(name []byte, keep func(ID) bool) {
	size := len(l.arena)
	s := l.put(name)
	lower := l.bytes(s)
	lowerInPlace(lower)
	if id := Lookup(lower); id != Other {
		if !keep(id) {
			l.Remove(id)
		}
	} else {
		for i := range l.fields {
			if f := &l.fields[i]; !f.removed && f.id == Other && bytes.Equal(l.bytes(f.name), lower) {
				f.removed = true
				l.live--
			}
		}
	}
	l.arena = l.arena[:size]
}

// Get returns the first value of a known name, nil when absent. An empty value
// is an empty, non-nil slice.
func (l *List) Get(id ID) []byte {
	for i := range l.fields {
		if f := &l.fields[i]; f.id == id && !f.removed {
			return l.bytes(f.value)
		}
	}
	return nil
}

// Has reports whether a field of a known name is there.
func (l *List) Has(id ID) bool { return l.Get(id) != nil }

// Count is the number of fields of a known name.
func (l *List) Count(id ID) int {
	n := 0
	for i := range l.fields {
		if f := &l.fields[i]; f.id == id && !f.removed {
			n++
		}
	}
	return n
}

// GetName returns the first value of the field called name (lower case), nil when absent.
func (l *List) GetName(name string) []byte {
	if id := LookupString(name); id != Other {
		return l.Get(id)
	}
	for i := range l.fields {
		if f := &l.fields[i]; !f.removed && f.id == Other && string(l.bytes(f.name)) == name {
			return l.bytes(f.value)
		}
	}
	return nil
}

// All calls yield for every field in order.
func (l *List) All(yield func(id ID, name, value []byte) bool) {
	for i := range l.fields {
		f := &l.fields[i]
		if f.removed {
			continue
		}
		if !yield(f.id, l.bytes(f.name), l.bytes(f.value)) {
			return
		}
	}
}

// Values calls yield for every value of the field called name (lower case).
func (l *List) Values(name string, yield func(value []byte) bool) {
	id := LookupString(name)
	for i := range l.fields {
		f := &l.fields[i]
		if f.removed || f.id != id || id == Other && string(l.bytes(f.name)) != name {
			continue
		}
		if !yield(l.bytes(f.value)) {
			return
		}
	}
}

// Raw gives index access for loops that must not call through a function value:
// i runs from 0 to RawLen; ok is false for removed fields.
func (l *List) Raw(i int) (id ID, name, value []byte, ok bool) {
	f := &l.fields[i]
	return f.id, l.bytes(f.name), l.bytes(f.value), !f.removed
}

// RawLen is the bound of Raw.
func (l *List) RawLen() int { return len(l.fields) }

func lowerInPlace(b []byte) {
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
}

// EqualFold compares ASCII text without regard to case; lower must be lower case.
func EqualFold(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// HasToken reports whether a comma-separated list value (RFC 9110 §5.6.1)
// contains token (lower case), without regard to case.
func HasToken(value []byte, token string) bool {
	for len(value) > 0 {
		var part []byte
		if before, after, ok := bytes.Cut(value, []byte{','}); ok {
			part, value = before, after
		} else {
			part, value = value, nil
		}
		if EqualFold(bytes.Trim(part, " \t"), token) {
			return true
		}
	}
	return false
}
