package mesh_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/meshctl/meshctl/internal/mesh"
)

func TestBound(t *testing.T) {
	t.Parallel()
	b, err := mesh.ParseBound("127.9.3.0/24,127.9.0.0/24")
	if err != nil {
		t.Fatal(err)
	}
	if got := b.Workload().String(); got != "127.9.3.1" {
		t.Errorf("workload at %s", got)
	}
	for virtual, want := range map[string]string{
		"127.9.0.77": "127.9.3.77",
		"127.9.0.1":  "", // the workload's own
		"127.9.0.0":  "",
		"127.9.1.77": "", // of another network
		"10.96.0.77": "",
		"reviews":    "",
	} {
		got, ok := b.Service(virtual)
		if ok != (want != "") || ok && got.String() != want {
			t.Errorf("%s is at %s %v, want %q", virtual, got, ok, want)
		}
	}
	if got := b.String(); got != "127.9.3.0/24,127.9.0.0/24" {
		t.Errorf("String: %s", got)
	}
	if (mesh.Bound{}).IsValid() || (mesh.Bound{}).String() != "" {
		t.Error("the zero value is a network")
	}
	alone, err := mesh.ParseBound("127.9.3.0/24")
	if _, ok := alone.Service("127.9.0.77"); err != nil || ok {
		t.Errorf("without a network of services: %v %v", ok, err)
	}
}

// A proxy cannot be told to listen where others than this machine reach it.
func TestBoundRefuses(t *testing.T) {
	t.Parallel()
	for _, s := range []string{
		"", "127.9.3.0", "127.9.3.1/24", "10.0.0.0/24", "0.0.0.0/0", "127.0.0.0/4", "127.9.3.0/31", "::1/128", "fe80::/24",
		"127.9.3.0/24,", "127.9.3.0/24,10.96.0.1/24", "127.9.3.0/24,fd00::/24", "127.9.3.0/24,127.9.0.0/16", "127.9.3.0/24,127.9.0.0/24,x",
	} {
		if b, err := mesh.ParseBound(s); err == nil {
			t.Errorf("%q was read as %s", s, b)
		}
	}
}

func TestBoundPort(t *testing.T) {
	t.Parallel()
	for port, want := range map[uint32]uint32{80: 20080, 443: 20443, 9080: 29080, 50051: 20051, 15021: 15021, 29080: 19080} {
		if got := mesh.BoundPort(port); got != want {
			t.Errorf("%d is %d, want %d", port, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		p := rapid.Uint32Range(1, 65535).Draw(t, "port")
		got := mesh.BoundPort(p)
		if own := p >= 15000 && p < 15100; own && got != p || !own && got == p || got < 1024 || got >= 32768 {
			t.Errorf("%d is %d", p, got)
		}
	})
}
