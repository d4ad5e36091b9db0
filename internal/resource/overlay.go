package resource

import "google.golang.org/protobuf/reflect/protoreflect"

// overlayMessage copies to dst the fields of src that the tree names, so that a
// written zero (enableTracing: false) replaces a default too.
func overlayMessage(n *node, src, dst protoreflect.Message) {
	fields := src.Descriptor().Fields()
	for i := range n.fields {
		f := &n.fields[i]
		fd := fields.ByJSONName(f.name)
		switch {
		case fd == nil || f.value.kind == nullNode:
		case fd.IsList() || fd.IsMap() || fd.Message() == nil || isScalarMessage(fd):
			if src.Has(fd) {
				dst.Set(fd, src.Get(fd))
			} else {
				dst.Clear(fd)
			}
		case src.Has(fd):
			if o := fd.ContainingOneof(); o != nil && dst.WhichOneof(o) != fd {
				dst.Set(fd, src.Get(fd))
				continue
			}
			overlayMessage(&f.value, src.Get(fd).Message(), dst.Mutable(fd).Message())
		}
	}
}

// isScalarMessage reports messages that are one value: durations, wrappers, structs.
func isScalarMessage(fd protoreflect.FieldDescriptor) bool {
	return fd.Message().ParentFile().Package() == "google.protobuf"
}
