package resource

import (
	"encoding/json"
	"fmt"
	"reflect"

	"github.com/cespare/xxhash/v2"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meshctl/meshctl/internal/diag"
)

// Objects that no user wrote: made by a runtime (Pods, EndpointSlices), or read
// from an API. They take the same way as text, so that whatever exists as an
// Object has passed the same checks and compares by the same hash.

// FromKube makes an Object of a Kubernetes or Gateway API value such as
// *corev1.Pod. The value is copied. Its TypeMeta may be empty.
func FromKube(value metav1.Object) (*Object, error) {
	t := reflect.TypeOf(value)
	for i := range kindTable {
		if k := &kindTable[i]; k.newObject != nil && reflect.TypeOf(k.newObject()) == t {
			return fromValue(k, value)
		}
	}
	return nil, fmt.Errorf("make an object of %T: not a kind the mesh reads", value)
}

// FromAPI makes an Object of a value that an API server has checked, and that is
// the Object's from now on: it is neither copied nor decoded, for a cluster has
// thousands of Pods, and each of them changes often. There is no Raw.
func FromAPI(k Kind, value metav1.Object) (*Object, error) {
	info := InfoOf(k)
	if info == nil || info.newObject == nil || reflect.TypeOf(info.newObject()) != reflect.TypeOf(value) {
		return nil, fmt.Errorf("make a %s of %T: not its type", k, value)
	}
	o := &Object{
		Key:        Key{Kind: k, Namespace: value.GetNamespace(), Name: value.GetName()},
		APIVersion: info.APIVersion(), Meta: metaOf(value), Spec: value,
	}
	v := reflect.ValueOf(value).Elem()
	content := reflect.New(v.Type()).Elem()
	content.Set(v)
	content.FieldByName("ObjectMeta").SetZero() // what changes without the user
	h := xxhash.New()
	e := json.NewEncoder(h)
	for _, part := range []any{o.Meta.Labels, o.Meta.Annotations, content.Addr().Interface()} {
		if err := e.Encode(part); err != nil {
			return nil, fmt.Errorf("make a %s: %w", k, err)
		}
	}
	o.Hash = h.Sum64()
	return o, nil
}

func fromValue(k *KindInfo, value any) (*Object, error) {
	raw, err := json.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("make a %s: %w", k.Kind, err)
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil {
		return nil, fmt.Errorf("make a %s: %w", k.Kind, err)
	}
	return fromFields(k, fields)
}

// FromSpec makes an Object of an Istio spec message such as
// *networkingv1alpha3.VirtualService. The message is copied.
func FromSpec(k Kind, m metav1.ObjectMeta, spec proto.Message) (*Object, error) {
	info := InfoOf(k)
	if info == nil || !info.IsIstio() {
		return nil, fmt.Errorf("make a %s: not an Istio kind", k)
	}
	if got, want := spec.ProtoReflect().Descriptor(), info.newSpec().ProtoReflect().Descriptor(); got != want {
		return nil, fmt.Errorf("make a %s: content is %s, want %s", k, got.FullName(), want.FullName())
	}
	body, err := protojson.Marshal(spec)
	if err != nil {
		return nil, fmt.Errorf("make a %s: %w", k, err)
	}
	meta, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("make a %s: %w", k, err)
	}
	return fromFields(info, map[string]json.RawMessage{"metadata": meta, "spec": body})
}

func fromFields(k *KindInfo, fields map[string]json.RawMessage) (*Object, error) {
	fields["apiVersion"] = json.RawMessage(`"` + k.APIVersion() + `"`)
	fields["kind"] = json.RawMessage(`"` + k.Kind.Kind + `"`)
	raw, err := json.Marshal(fields)
	if err != nil {
		return nil, fmt.Errorf("make a %s: %w", k.Kind, err)
	}
	objects, ds := Decode("", raw, Options{})
	if len(objects) != 1 {
		return nil, fmt.Errorf("make a %s: %w", k.Kind, firstError(ds))
	}
	o := objects[0]
	o.Pos, o.Fields = diag.Pos{}, nil // no user wrote it anywhere
	return o, nil
}

func firstError(ds []diag.Diagnostic) error {
	for _, d := range ds {
		if d.Severity == diag.Error {
			return d
		}
	}
	return fmt.Errorf("not one object")
}
