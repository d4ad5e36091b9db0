package resource

// Limits bound what is read before and while it is parsed, so that no input can
// take more than a known amount of memory. Zero fields mean the default.
type Limits struct {
	FileBytes     int // one file or stream; default 32 MiB
	DocumentBytes int // one document of it; default 8 MiB
	Documents     int // documents and list items in a file; default 50,000
	Depth         int // nesting of lists and maps; default 64
	Nodes         int // values in one document, aliases expanded; default 1,000,000
}

func (l Limits) withDefaults() Limits {
	set := func(v *int, def int) {
		if *v <= 0 {
			*v = def
		}
	}
	set(&l.FileBytes, 32<<20)
	set(&l.DocumentBytes, 8<<20)
	set(&l.Documents, 50_000)
	set(&l.Depth, 64)
	set(&l.Nodes, 1_000_000)
	return l
}
