package analyze

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meshctl/meshctl/internal/resource"
)

// conditions reports what a controller has written of an object that it could not
// serve: only dumps of a cluster and clusters have such status.
func conditions(w *world, f *findings) {
	kinds := []resource.Kind{
		resource.KindService, resource.KindServiceEntry, resource.KindWorkloadEntry, resource.KindAuthorizationPolicy,
		resource.KindKubeGateway, resource.KindHTTPRoute, resource.KindGRPCRoute,
	}
	for _, k := range kinds {
		for _, o := range w.of(k) {
			if !bytes.Contains(o.Raw, []byte(`"conditions"`)) {
				continue
			}
			for _, c := range conditionsOf(o.Raw) {
				if c.Status != metav1.ConditionFalse || slices.Contains(goodWhenFalse, c.Type) {
					continue
				}
				f.add(o, codeNegativeCondition, "status", text{
					fmt.Sprintf("condition %s is False: %s %s", c.Type, c.Reason, c.Message), "the object is not served as it is written",
					"see what the controller says, and correct the object",
				})
			}
		}
	}
}

// goodWhenFalse are conditions that tell of trouble when they are True.
var goodWhenFalse = []string{"Conflicted", "OverlappingTLSConfig", "PartiallyInvalid"}

// conditionsOf reads the conditions of a status: its own, those of listeners, and
// those of parents.
func conditionsOf(raw []byte) []metav1.Condition {
	type holder struct {
		Conditions []metav1.Condition `json:"conditions"`
	}
	var o struct {
		Status struct {
			holder
			Listeners []holder `json:"listeners"`
			Parents   []holder `json:"parents"`
		} `json:"status"`
	}
	if json.Unmarshal(raw, &o) != nil {
		return nil // a status of another form is not ours to judge
	}
	out := o.Status.Conditions
	for _, h := range append(o.Status.Listeners, o.Status.Parents...) {
		out = append(out, h.Conditions...)
	}
	return out
}
