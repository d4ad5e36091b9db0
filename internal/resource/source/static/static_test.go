package static_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/resource"
	"github.com/meshctl/meshctl/internal/resource/source/static"
)

// log prints what a sink was told.
type log struct{ lines chan string }

func (l log) Apply(_ string, set []*resource.Object, deleted []resource.Key) {
	var b strings.Builder
	for _, o := range set {
		fmt.Fprintf(&b, "+%s=%s ", o.Key.Name, o.Meta.Labels["v"])
	}
	for _, k := range deleted {
		fmt.Fprintf(&b, "-%s ", k.Name)
	}
	l.lines <- strings.TrimSpace(b.String())
}

func (l log) Report(string, []diag.Diagnostic) {}

func object(t *testing.T, name, v, version string) *resource.Object {
	t.Helper()
	objects, ds := resource.Decode("x.yaml", fmt.Appendf(nil,
		"apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: %s, labels: {v: %q}, resourceVersion: %q}", name, v, version), resource.Options{})
	if len(objects) != 1 {
		t.Fatalf("decode: %v", ds)
	}
	return objects[0]
}

func actions(results []static.Result) string {
	var b strings.Builder
	for _, r := range results {
		fmt.Fprintf(&b, "%s %s %d; ", r.Key.Name, r.Action, r.Version)
	}
	return strings.TrimSuffix(b.String(), "; ")
}

func TestApplyAndDelete(t *testing.T) {
	t.Parallel()
	s := static.New("api")
	apply := func(opts static.ApplyOptions, objects ...*resource.Object) string {
		t.Helper()
		results, err := s.Apply(objects, opts)
		if err != nil {
			t.Fatal(err)
		}
		return actions(results)
	}
	equal := func(got, want string) {
		t.Helper()
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
	}
	equal(apply(static.ApplyOptions{}, object(t, "before", "1", "")), "before created 1")

	sink := log{make(chan string, 10)}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, sink) }()
	equal(<-sink.lines, "+before=1") // what was applied before Run

	equal(apply(static.ApplyOptions{}, object(t, "a", "1", ""), object(t, "b", "1", "")), "a created 2; b created 3")
	equal(<-sink.lines, "+a=1 +b=1")
	equal(apply(static.ApplyOptions{}, object(t, "a", "1", ""), object(t, "b", "2", "3")), "a unchanged 2; b configured 4")
	equal(<-sink.lines, "+b=2")
	equal(apply(static.ApplyOptions{DryRun: true}, object(t, "a", "9", "")), "a configured 5")

	_, err := s.Apply([]*resource.Object{object(t, "a", "5", ""), object(t, "b", "5", "3")}, static.ApplyOptions{})
	if !errors.Is(err, static.ErrConflict) {
		t.Errorf("stale version: %v", err)
	}
	if o, _, _ := s.Get(object(t, "a", "", "").Key); o.Meta.Labels["v"] != "1" {
		t.Error("a call that fails changed an object")
	}
	if _, err := s.Apply([]*resource.Object{object(t, "new", "1", "7")}, static.ApplyOptions{}); !errors.Is(err, static.ErrNotFound) {
		t.Errorf("version of an object that does not exist: %v", err)
	}

	results, err := s.Delete([]resource.Key{object(t, "a", "", "").Key}, false)
	if err != nil {
		t.Fatal(err)
	}
	equal(actions(results), "a deleted 2")
	equal(<-sink.lines, "-a")
	if _, err := s.Delete([]resource.Key{object(t, "a", "", "").Key}, false); !errors.Is(err, static.ErrNotFound) {
		t.Errorf("delete twice: %v", err)
	}
	if _, err := s.Delete([]resource.Key{object(t, "a", "", "").Key}, true); err != nil {
		t.Errorf("delete twice, ignoring: %v", err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestApplyRefuses(t *testing.T) {
	t.Parallel()
	s := static.New("api")
	if _, err := s.Apply([]*resource.Object{object(t, "a", "1", ""), object(t, "a", "2", "")}, static.ApplyOptions{}); err == nil {
		t.Error("the same object twice in one call was taken")
	}
	if _, err := s.Apply([]*resource.Object{object(t, "a", "not a label!", "")}, static.ApplyOptions{}); err == nil {
		t.Error("an object with an impossible label was taken")
	}
	if n := len(s.List()); n != 0 {
		t.Errorf("%d objects held after refusals", n)
	}
}
