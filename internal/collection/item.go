package collection

// Item is what a collection holds: a value that knows its key and when it
// equals another. Equal decides whether a recomputed value is a change, so it
// must look at everything that readers look at.
type Item[T any] interface {
	CollectionKey() string
	Equal(T) bool
}

// Collection is a keyed set of values. Get, List and Len may be called from any
// goroutine and see the state that the last finished propagation left.
type Collection[T Item[T]] interface {
	// Name is the name given at creation, for dumps and logs.
	Name() string
	// Get returns the value of a key.
	Get(key string) (T, bool)
	// List returns all values sorted by key. The slice is shared: do not change it.
	List() []T
	// Len returns the number of values.
	Len() int

	base() *table[T]
}

// Event is one change of one key; a nil pointer means absent.
type Event[T any] struct {
	Key      string
	Old, New *T
}

// cell is one stored value. It is immutable and its address is its identity, so
// that events and indexes share it instead of copying.
type cell[T any] struct {
	key string
	val T
}

// change is what one propagation did to one key; nil means absent.
type change[T any] struct {
	old, new *cell[T]
}
