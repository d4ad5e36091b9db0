package xdsserve

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	"pgregory.net/rapid"
)

func mustResource(t testing.TB, typeURL, name, body string, extra ...Extra) *Resource {
	if h, ok := t.(interface{ Helper() }); ok {
		h.Helper()
	}
	r, err := NewRawResource(typeURL, name, []byte(body), extra...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// raw makes a resource outside of a testing.TB.
func raw(typeURL, name, body string) *Resource {
	r, err := NewRawResource(typeURL, name, []byte(body))
	if err != nil {
		panic(err)
	}
	return r
}

func setOf(prev *Set, typeURL string, content map[string]string) *Set {
	var rs []*Resource
	for name, body := range content {
		rs = append(rs, raw(typeURL, name, body))
	}
	s, err := NewSet(prev, rs)
	if err != nil {
		panic(err)
	}
	return s
}

func contentOf(s *Set) map[string]string {
	out := map[string]string{}
	for r := range s.All() {
		out[r.Name()] = string(r.Body())
	}
	return out
}

func drawContent(t *rapid.T) map[string]string {
	name := rapid.Custom(func(t *rapid.T) string { return fmt.Sprintf("n%03d", rapid.IntRange(0, 300).Draw(t, "n")) })
	return rapid.MapOfN(name, rapid.SampledFrom([]string{"1", "2", "3"}), 0, 200).Draw(t, "content")
}

func TestSetIsCanonicalAndDiffIsExact(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		before, after := drawContent(t), drawContent(t)
		a := setOf(nil, TypeCluster, before)
		b := setOf(a, TypeCluster, after)
		if !maps.Equal(contentOf(b), after) || b.Len() != len(after) {
			t.Fatal("set does not hold what it was made of")
		}
		if alone := setOf(nil, TypeCluster, after); alone.Version() != b.Version() {
			t.Fatal("version depends on the previous set")
		}
		var removed []string
		var changed []*Resource
		got := map[string]string{}
		Diff(a, b, func(old, now *Resource) {
			if now == nil {
				removed = append(removed, old.Name())
				got[old.Name()] = "-"
			} else {
				changed = append(changed, now)
				got[now.Name()] = string(now.Body())
			}
		})
		want := map[string]string{}
		for n, v := range after {
			if before[n] != v {
				want[n] = v
			}
		}
		for n := range before {
			if _, ok := after[n]; !ok {
				want[n] = "-"
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("diff (-want +got):\n%s", diff)
		}
		if edited := a.With(changed, removed); edited.Version() != b.Version() || !maps.Equal(contentOf(edited), after) {
			t.Fatal("With gives another set than NewSet")
		}
		for n, v := range after {
			if r, ok := b.Get(n); !ok || string(r.Body()) != v {
				t.Fatalf("Get(%q) = %v %v", n, r, ok)
			}
		}
		if _, ok := b.Get("absent"); ok {
			t.Fatal("Get finds what is not there")
		}
		if again := setOf(b, TypeCluster, after); again != b {
			t.Fatal("an equal set is another one")
		}
	})
}

func TestDiffSkipsSharedChunks(t *testing.T) {
	t.Parallel()
	content := map[string]string{}
	for i := range 1000 {
		content[fmt.Sprintf("outbound|8080||svc-%04d.ns.svc.cluster.local", i)] = "x"
	}
	a := setOf(nil, TypeCluster, content)
	b := a.With([]*Resource{raw(TypeCluster, "outbound|8080||svc-0500.ns.svc.cluster.local", "y")}, nil)
	shared := 0
	for _, c := range a.chunks {
		if slices.Contains(b.chunks, c) {
			shared++
		}
	}
	if len(a.chunks) < 8 || shared < len(a.chunks)-1 {
		t.Fatalf("%d of %d chunks are shared after one change", shared, len(a.chunks))
	}
}

func TestNewSetRefusesTwoOfOneName(t *testing.T) {
	t.Parallel()
	a, b := mustResource(t, TypeCluster, "a", "1"), mustResource(t, TypeCluster, "a", "2")
	if _, err := NewSet(nil, []*Resource{a, b}); err == nil {
		t.Fatal("two resources of one name are accepted")
	}
}

// TestFrameDecodesAsTheMessage checks the hand-made bytes against protobuf.
func TestFrameDecodesAsTheMessage(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		str := rapid.StringN(1, 20, 300)
		version, nonce := rapid.String().Draw(t, "version"), rapid.String().Draw(t, "nonce")
		typeURL := "type.googleapis.com/google.protobuf.StringValue"
		removed := rapid.SliceOfN(str, 0, 5).Draw(t, "removed")
		delta := &discoveryv3.DeltaDiscoveryResponse{SystemVersionInfo: version, TypeUrl: typeURL, Nonce: nonce, RemovedResources: removed}
		sotw := &discoveryv3.DiscoveryResponse{VersionInfo: version, TypeUrl: typeURL, Nonce: nonce}
		var rs []*Resource
		for range rapid.IntRange(0, 5).Draw(t, "resources") {
			aliases := rapid.SliceOfN(str, 0, 2).Draw(t, "aliases")
			r, err := NewResource(str.Draw(t, "name"), wrapperspb.String(rapid.String().Draw(t, "body")), Extra{Aliases: aliases})
			if err != nil {
				t.Fatal(err)
			}
			rs = append(rs, r)
			body := &anypb.Any{TypeUrl: typeURL, Value: r.Body()}
			delta.Resources = append(delta.Resources, &discoveryv3.Resource{Name: r.Name(), Version: r.Version(), Aliases: aliases, Resource: body})
			sotw.Resources = append(sotw.Resources, body)
		}
		f := deltaFrame(version, typeURL, nonce, rs, removed)
		var gotDelta discoveryv3.DeltaDiscoveryResponse
		if err := proto.Unmarshal(f.bytes.Materialize(), &gotDelta); err != nil {
			t.Fatal(err)
		}
		if f.size != f.bytes.Len() {
			t.Fatalf("size %d, bytes %d", f.size, f.bytes.Len())
		}
		var gotSotW discoveryv3.DiscoveryResponse
		if err := proto.Unmarshal(sotwFrame(version, typeURL, nonce, rs).bytes.Materialize(), &gotSotW); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(delta, &gotDelta, protocmp.Transform()) + cmp.Diff(sotw, &gotSotW, protocmp.Transform()); diff != "" {
			t.Fatalf("(-message +frame):\n%s", diff)
		}
	})
}
