package kube

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/resource"
)

// item is what became of one object of the API.
type item struct {
	meta metav1.ObjectMeta // namespace and name, for client-go's stores
	key  resource.Key
	// object is nil when it is broken, which findings say, or of no interest.
	object   *resource.Object
	findings []diag.Diagnostic
	// standIn refuses in place of a broken policy; refusal says so.
	standIn *resource.Object
	refusal diag.Diagnostic
}

// GetObjectMeta lets client-go find the name.
func (i *item) GetObjectMeta() metav1.Object { return &i.meta }

// item makes an item of what a client returned; an item stays itself.
func (s *Source) item(k kind, o any) (*item, error) {
	switch o := o.(type) {
	case *item:
		return o, nil
	case *unstructured.Unstructured:
		return s.custom(k, o)
	case runtime.Object:
		return s.builtinItem(k, o)
	default:
		return nil, fmt.Errorf("read %s: unexpected %T", k.id, o)
	}
}

func (s *Source) newItem(k kind, m metav1.Object) *item {
	it := &item{
		meta: metav1.ObjectMeta{Namespace: m.GetNamespace(), Name: m.GetName()},
		key:  resource.Key{Kind: k.kind, Namespace: m.GetNamespace(), Name: m.GetName()},
	}
	if s.opts.Remote {
		it.key.Cluster = s.opts.Cluster
	}
	return it
}

// builtinItem takes an object of Kubernetes' own. The API server has checked it, so
// that no rules are applied.
func (s *Source) builtinItem(k kind, o runtime.Object) (*item, error) {
	m, ok := o.(metav1.Object)
	if !ok {
		return nil, fmt.Errorf("read %s: %T has no metadata", k.id, o)
	}
	it := s.newItem(k, m)
	small := k.trim(o)
	if small == nil {
		return it, nil
	}
	obj, err := resource.FromAPI(k.kind, small)
	if err == nil {
		obj.Key = it.key
		it.object = obj
		return it, nil
	}
	it.findings = []diag.Diagnostic{{
		Code: resource.CodeSchema, Severity: diag.Error, Message: err.Error(), Effect: "the object is not used",
		Object: diag.Object{Kind: k.kind.Kind, Namespace: m.GetNamespace(), Name: m.GetName()},
	}}
	return it, nil //nolint:nilerr // the finding says it
}

// validate applies the rules that files are held to. The Gateway API has a status for
// every part of an object: what is wrong with one listener is said there, and the
// others stay in force, as its specification wants it.
func validate(o *resource.Object) []diag.Diagnostic {
	found := resource.Validate(o)
	if o.Key.Kind.Group != resource.GroupGatewayAPI {
		return found
	}
	for i := range found {
		if found[i].Severity == diag.Error {
			found[i].Severity, found[i].Effect = diag.Warning, "the object's status says what is not in force"
		}
	}
	return found
}

// custom decodes and validates an object as if it had been read from a file.
func (s *Source) custom(k kind, u *unstructured.Unstructured) (*item, error) {
	it := s.newItem(k, u)
	if !s.tags.ours(u.GetLabels()) {
		return it, nil
	}
	u.SetManagedFields(nil)
	unstructured.RemoveNestedField(u.Object, "metadata", "annotations", "kubectl.kubernetes.io/last-applied-configuration")
	if k.kind != resource.KindWorkloadEntry { // whose health stands there
		unstructured.RemoveNestedField(u.Object, "status")
	}
	raw, err := u.MarshalJSON()
	if err != nil {
		return nil, fmt.Errorf("read %s %s/%s: %w", k.id, u.GetNamespace(), u.GetName(), err)
	}
	for _, doc := range resource.DecodeDocuments("", raw, resource.Options{}) {
		it.findings = append(it.findings, doc.Diagnostics...)
		it.object = doc.Object
		it.standIn, it.refusal = doc.StandIn()
	}
	if it.object != nil {
		it.findings = append(it.findings, validate(it.object)...)
		it.object.Pos, it.object.Fields = diag.Pos{}, nil // no user wrote this text anywhere
	}
	if worst, ok := diag.Worst(it.findings); ok && worst == diag.Error {
		it.object = nil
	} else {
		it.standIn = nil
	}
	if it.standIn != nil {
		it.standIn.Pos, it.refusal.Pos = diag.Pos{}, diag.Pos{}
	}
	for i := range it.findings {
		it.findings[i].Pos = diag.Pos{}
	}
	return it, nil
}
