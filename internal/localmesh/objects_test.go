package localmesh

import (
	"testing"
	"time"

	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/resource"
)

type nowhere struct{}

func (nowhere) Apply(string, []*resource.Object, []resource.Key) {}
func (nowhere) Report(string, []diag.Diagnostic)                 {}

// TestAgeIsSinceTheObjectCame: a change keeps it, deleting and coming back does not.
func TestAgeIsSinceTheObjectCame(t *testing.T) {
	t.Parallel()
	clock := time.Unix(100, 0)
	o := &objects{
		control: nowhere{}, run: func([]*resource.Object) {}, now: func() time.Time { return clock },
		by: map[resource.Key]map[string]*resource.Object{}, since: map[resource.Key]time.Time{},
	}
	a := &resource.Object{Key: resource.Key{Kind: resource.KindVirtualService, Namespace: "default", Name: "a"}}
	o.Apply("file:x", []*resource.Object{a}, nil)
	came := clock
	clock = clock.Add(time.Minute)
	changed := *a
	o.Apply("api", []*resource.Object{&changed}, nil)
	o.Apply("file:x", nil, []resource.Key{a.Key})
	if got := o.createdAt(&changed); !got.Equal(came) {
		t.Errorf("after a change it is of %v, want %v", got, came)
	}
	o.Apply("api", nil, []resource.Key{a.Key})
	o.Apply("api", []*resource.Object{a}, nil)
	if got := o.createdAt(a); !got.Equal(clock) {
		t.Errorf("come again it is of %v, want %v", got, clock)
	}
	a.Meta.Created = time.Unix(7, 0)
	if got := o.createdAt(a); !got.Equal(a.Meta.Created) {
		t.Errorf("its own time of creation counts: got %v", got)
	}
}
