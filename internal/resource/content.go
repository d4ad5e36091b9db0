package resource

import (
	"reflect"
	"slices"

	"github.com/cespare/xxhash/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// istioObject decodes an object whose spec is an istio.io/api message. Its
// status is for the control plane to write, so what stands there is not read, but
// for the health of a WorkloadEntry.
func (d *decoder) istioObject(root *node, info *KindInfo, obj *Object, r *reporter) {
	known := []string{"apiVersion", "kind", "metadata", "spec", "status"}
	for i := range root.fields {
		if f := &root.fields[i]; !slices.Contains(known, f.name) {
			d.misplaced(f, info, r, known)
		}
	}
	d.metadata(root, obj, r)
	spec := info.newSpec()
	if n := root.child("spec"); n != nil {
		r.push("spec")
		protoDecoder{r}.message(n, spec.ProtoReflect())
		r.pop()
	}
	obj.Spec = spec
	if obj.Key.Kind == KindWorkloadEntry {
		obj.Healthy = healthyIn(root.child("status"))
	}
}

// healthyIn finds the condition Healthy of a status.
func healthyIn(status *node) string {
	if status == nil || status.child("conditions") == nil {
		return ""
	}
	items := status.child("conditions").items
	for i := range items {
		if items[i].str("type") == ConditionHealthy {
			return items[i].str("status")
		}
	}
	return ""
}

// misplaced reports an unknown field beside spec; most often it belongs in it.
func (d *decoder) misplaced(f *field, info *KindInfo, r *reporter, known []string) {
	if info.newSpec().ProtoReflect().Descriptor().Fields().ByJSONName(f.name) != nil {
		r.push(f.name)
		r.errorf(f.pos, "indent it under spec", "the field %s belongs in spec", f.name)
		r.pop()
		return
	}
	r.unknownField(f, known)
}

// kubeObject decodes an object whose content is a Kubernetes Go type. Status is
// read leniently: a dump of a newer cluster must not fail on what it reports.
func (d *decoder) kubeObject(root *node, info *KindInfo, obj *Object, r *reporter) {
	g := goDecoder{r, d.types}
	value := info.newObject()
	v := reflect.ValueOf(value).Elem()
	fields := g.fieldsOf(v.Type())
	for i := range root.fields {
		f := &root.fields[i]
		index, ok := fields.byName[f.name]
		if !ok {
			r.unknownField(f, fields.names)
			continue
		}
		r.push(f.name)
		r.muted = f.name == "status"
		g.value(&f.value, fieldByIndex(v, index))
		r.muted = false
		r.pop()
	}
	obj.Spec = value
	if m, ok := value.(metav1.Object); ok {
		obj.Meta = metaOf(m)
	}
}

// metadataOnly keeps an object whose content the mesh does not read.
func (d *decoder) metadataOnly(root *node, obj *Object, r *reporter) {
	d.metadata(root, obj, r)
}

func (d *decoder) metadata(root *node, obj *Object, r *reporter) {
	n := root.child("metadata")
	if n == nil {
		return
	}
	var m metav1.ObjectMeta
	r.push("metadata")
	goDecoder{r, d.types}.value(n, reflect.ValueOf(&m).Elem())
	r.pop()
	obj.Meta = metaOf(&m)
}

// metaOf keeps the part of metadata that the mesh uses.
func metaOf(m metav1.Object) Meta {
	out := Meta{
		Labels: m.GetLabels(), Annotations: m.GetAnnotations(),
		UID: string(m.GetUID()), ResourceVersion: m.GetResourceVersion(),
		Generation: m.GetGeneration(), Created: m.GetCreationTimestamp().Time,
	}
	if c := metav1.GetControllerOfNoCopy(m); c != nil {
		out.OwnerKind, out.OwnerName = c.Kind, c.Name
	}
	return out
}

// canonical returns the object's JSON and the hash of its content: everything
// but the metadata that changes without the user, and Istio's status.
func (d *decoder) canonical(root *node) ([]byte, uint64) {
	raw := appendJSON(make([]byte, 0, 512), root)
	b := d.scratch[:0]
	if m := root.child("metadata"); m != nil {
		for _, name := range [...]string{"labels", "annotations"} {
			if c := m.child(name); c != nil && len(c.fields) > 0 {
				b = appendJSON(append(b, name...), c)
			}
		}
	}
	info := InfoOf(kindOf(root))
	for _, f := range sortedFields(root.fields) {
		switch {
		case f.name == "apiVersion" || f.name == "kind" || f.name == "metadata":
		case f.name == "status" && (info == nil || info.IsIstio()):
		default:
			b = appendJSON(append(b, f.name...), &f.value)
		}
	}
	d.scratch = b
	return slices.Clip(raw), xxhash.Sum64(b)
}
