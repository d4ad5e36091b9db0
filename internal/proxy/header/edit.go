package header

import "bytes"

// AddName appends a field; name must be lower case.
func (l *List) AddName(name string, value []byte) {
	id := LookupString(name)
	if id != Other {
		l.AddID(id, value)
		return
	}
	l.fields = append(l.fields, Field{name: l.putString(name), value: l.put(value)})
	l.live++
}

// RemovePrefix deletes all fields whose name begins with prefix (lower case);
// pseudo-header fields stay.
func (l *List) RemovePrefix(prefix string) {
	for i := range l.fields {
		f := &l.fields[i]
		if f.removed || f.id.Pseudo() || !bytes.HasPrefix(l.bytes(f.name), []byte(prefix)) {
			continue
		}
		f.removed = true
		l.live--
	}
}
