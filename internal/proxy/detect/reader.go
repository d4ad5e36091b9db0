package detect

// reader takes fields off the front of a message. Every method reports whether
// the message was long enough.
type reader []byte

func (r *reader) skip(n int) bool {
	_, ok := r.take(n)
	return ok
}

func (r *reader) take(n int) (b reader, ok bool) {
	if len(*r) < n {
		return nil, false
	}
	b, *r = (*r)[:n], (*r)[n:]
	return b, true
}

// number reads a big-endian number of n bytes.
func (r *reader) number(n int) (v int, ok bool) {
	b, ok := r.take(n)
	for _, c := range b {
		v = v<<8 | int(c)
	}
	return v, ok
}

// vector reads what is preceded by its length in n bytes.
func (r *reader) vector(n int) (b reader, ok bool) {
	size, ok := r.number(n)
	if !ok {
		return nil, false
	}
	return r.take(size)
}
