package status

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/meshctl/meshctl/internal/controlplane/gatewayapi"
	"github.com/meshctl/meshctl/internal/resource"
)

// Entries of other controllers stay, what says the same keeps its time, and what is
// read back is what was to be written.
func TestMergeOfARoute(t *testing.T) {
	t.Parallel()
	k := key(resource.KindHTTPRoute, "r")
	ours := func(ok metav1.ConditionStatus) *gatewayapi.Status {
		return &gatewayapi.Status{Key: k, Route: &gwv1.RouteStatus{Parents: []gwv1.RouteParentStatus{{
			ParentRef: gwv1.ParentReference{Name: "front"}, ControllerName: gatewayapi.ControllerName,
			Conditions: []metav1.Condition{{Type: "Accepted", Status: ok, Reason: "Accepted"}, {Type: "ResolvedRefs", Status: "True", Reason: "ResolvedRefs"}},
		}}}}
	}
	want, err := OwnedOf("1", ours("True"))
	if err != nil {
		t.Fatal(err)
	}
	theirs := `{"parents":[{"parentRef":{"name":"other"},"controllerName":"example.com/c","conditions":[
		{"type":"Accepted","status":"True","reason":"x","message":"","lastTransitionTime":"2020-01-01T00:00:00Z"}]}]}`
	first := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	out, ok, err := want.Merge(k.Kind, []byte(theirs), first)
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	if back, ok := ReadOwned(k.Kind, "1", out); !ok || !back.Equal(want) {
		t.Errorf("written was %v, read is %v", want, back)
	}
	changed, err := OwnedOf("1", ours("False"))
	if err != nil {
		t.Fatal(err)
	}
	if out, ok, err = changed.Merge(k.Kind, out, first.Add(time.Hour)); err != nil || !ok {
		t.Fatal(ok, err)
	}
	var st gwv1.RouteStatus
	if err := json.Unmarshal(out, &st); err != nil || len(st.Parents) != 2 {
		t.Fatalf("%v: %s", err, out)
	}
	if c := st.Parents[0].Conditions; !c[0].LastTransitionTime.Time.Equal(first.Add(time.Hour)) || !c[1].LastTransitionTime.Time.Equal(first) {
		t.Errorf("conditions are %v", c)
	}
	if p := st.Parents[1]; p.ControllerName != "example.com/c" || p.Conditions[0].LastTransitionTime.Year() != 2020 {
		t.Errorf("theirs is %v", p)
	}
	out, ok, err = changed.Rest().Merge(k.Kind, out, first)
	if err != nil || !ok || strings.Contains(string(out), "istio.io") || !strings.Contains(string(out), "example.com/c") {
		t.Errorf("taken back: %t %v %s", ok, err, out)
	}
	if _, ok := ReadOwned(k.Kind, "1", out); ok {
		t.Error("something of ours is left")
	}
}

// A condition that another controller adds to a Gateway stays; a Gateway that is
// ours no longer is left as it is.
func TestMergeOfAGateway(t *testing.T) {
	t.Parallel()
	k := key(resource.KindKubeGateway, "g")
	want, err := OwnedOf("1", &gatewayapi.Status{Key: k, Gateway: &gwv1.GatewayStatus{Conditions: []metav1.Condition{{Type: "Accepted", Status: "True", Reason: "Accepted"}}}})
	if err != nil {
		t.Fatal(err)
	}
	found := `{"addresses":[{"value":"old"}],"conditions":[
		{"type":"Accepted","status":"Unknown","reason":"Pending","message":"","lastTransitionTime":"1970-01-01T00:00:00Z"},
		{"type":"example.com/Known","status":"True","reason":"x","message":"","lastTransitionTime":"2020-01-01T00:00:00Z"}]}`
	out, ok, err := want.Merge(k.Kind, []byte(found), time.Now())
	var st gwv1.GatewayStatus
	if err != nil || !ok || json.Unmarshal(out, &st) != nil || len(st.Conditions) != 2 || len(st.Addresses) != 0 {
		t.Errorf("%t %v: %s", ok, err, out)
	}
	if !strings.Contains(string(out), `"addresses":null`) {
		t.Errorf("what is no more is left out of the patch, so that it stays: %s", out)
	}
	if back, ok := ReadOwned(k.Kind, "1", out); !ok || !back.Equal(want) {
		t.Errorf("written was %v, read is %v", want, back)
	}
	if _, ok, err := want.Rest().Merge(k.Kind, out, time.Now()); ok || err != nil {
		t.Errorf("a Gateway of somebody else's is written: %v", err)
	}
}
