package xdsgen_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
	"pgregory.net/rapid"

	"github.com/meshctl/meshctl/internal/controlplane/xdsgen"
	"github.com/meshctl/meshctl/internal/controlplane/xdsgen/xdsgentest"
	"github.com/meshctl/meshctl/internal/mesh"
)

// validator is what the API's own rules generate.
type validator interface{ ValidateAll() error }

// checkValid applies the rules of the API to a message and all that is packed in it.
func checkValid(t *rapid.T, m proto.Message) {
	if v, ok := m.(validator); ok {
		if err := v.ValidateAll(); err != nil {
			t.Fatalf("%T: %v", m, err)
		}
	}
	var walk func(m protoreflect.Message)
	visit := func(fd protoreflect.FieldDescriptor, v protoreflect.Value) {
		switch {
		case fd.IsMap() && fd.MapValue().Message() != nil:
			v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool { walk(v.Message()); return true })
		case fd.Message() == nil || fd.IsMap():
		case fd.IsList():
			for i := range v.List().Len() {
				walk(v.List().Get(i).Message())
			}
		default:
			walk(v.Message())
		}
	}
	walk = func(m protoreflect.Message) {
		if a, ok := m.Interface().(*anypb.Any); ok {
			inner, err := a.UnmarshalNew()
			if err != nil {
				t.Fatalf("%s: %v", a.GetTypeUrl(), err)
			}
			checkValid(t, inner)
			return
		}
		m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool { visit(fd, v); return true })
	}
	walk(m.ProtoReflect())
}

// validProperty: whatever users write, the result obeys the rules of the API.
func validProperty(t *rapid.T) {
	s := xdsgentest.Draw(t)
	for _, d := range []mesh.Dialect{mesh.DialectNative, mesh.DialectEnvoy} {
		for _, m := range s.SidecarBundle(d).All() {
			checkValid(t, m)
		}
		for _, m := range s.GatewayBundle(d).All() {
			checkValid(t, m)
		}
	}
}

func TestWhateverUsersWriteTheResultIsValid(t *testing.T) {
	t.Parallel()
	rapid.Check(t, validProperty)
}

func FuzzWhateverUsersWrite(f *testing.F) { f.Fuzz(rapid.MakeFuzz(validProperty)) }

// bytesOf are the resources by name.
func bytesOf(t *rapid.T, b *xdsgentest.Bundle) map[string]string {
	out := map[string]string{}
	for _, m := range b.All() {
		body, _, err := xdsgen.Encode(m)
		if err != nil {
			t.Fatal(err)
		}
		name := fmt.Sprint(m.ProtoReflect().Descriptor().Name(), "/", nameOf(m))
		if _, twice := out[name]; twice {
			t.Fatalf("%s is made twice", name)
		}
		out[name] = string(body)
	}
	return out
}

func nameOf(m proto.Message) string {
	switch m := m.(type) {
	case interface{ GetName() string }:
		return m.GetName()
	case interface{ GetClusterName() string }:
		return m.GetClusterName()
	default:
		return ""
	}
}

func TestOrderOfInputsChangesNothing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := xdsgentest.Draw(t)
		d := rapid.SampledFrom([]mesh.Dialect{mesh.DialectNative, mesh.DialectEnvoy}).Draw(t, "dialect")
		sidecar, gateway := bytesOf(t, s.SidecarBundle(d)), bytesOf(t, s.GatewayBundle(d))
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		// Rules and routes of one host are chosen by whoever selects them, before; here
		// services, endpoints and ports change places.
		r.Shuffle(len(s.Services), func(i, j int) { s.Services[i], s.Services[j] = s.Services[j], s.Services[i] })
		for _, x := range s.Services {
			r.Shuffle(len(x.Endpoints), func(i, j int) { x.Endpoints[i], x.Endpoints[j] = x.Endpoints[j], x.Endpoints[i] })
		}
		p := s.Workload.Ports
		r.Shuffle(len(p), func(i, j int) { p[i], p[j] = p[j], p[i] })
		if diff := cmp.Diff(sidecar, bytesOf(t, s.SidecarBundle(d))); diff != "" {
			t.Fatalf("differs after a shuffle: %s", diff)
		}
		if diff := cmp.Diff(gateway, bytesOf(t, s.GatewayBundle(d))); diff != "" {
			t.Fatalf("the gateway's differ after a shuffle: %s", diff)
		}
	})
}
