package compile

import (
	"fmt"
	"strings"
	"testing"

	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// echo answers every operator with its own description, or with nothing.
type echo struct{ empty bool }

func (e echo) AppendOperator(dst []byte, p *snapshot.FormatPart) ([]byte, bool) {
	if e.empty {
		return dst, false
	}
	return fmt.Appendf(dst, "<%d %s %s %s>", p.Op, p.Text, p.Alt, strings.Join(p.Path, ".")), true
}

func TestFormats(t *testing.T) {
	t.Parallel()
	c := newCompiler(t)
	op := func(o snapshot.Operator, args string) string { return fmt.Sprintf("<%d %s>", o, args) }
	for text, want := range map[string]string{
		"plain 100%%":                           "plain 100%",
		"%REQ(X-A?:PATH)%!":                     op(snapshot.OpReq, "x-a :path ") + "!",
		"%RESP(Y):3%":                           op(snapshot.OpResp, "y  ")[:3],
		"%START_TIME(%s.%3f)%":                  op(snapshot.OpStartTime, "%s.%3f  "),
		"%DYNAMIC_METADATA(a:b:c)%":             op(snapshot.OpDynamicMetadata, "a  b.c"),
		`%UPSTREAM_METADATA(["ns", "k"])%`:      op(snapshot.OpUpstreamMetadata, "ns  k"),
		"%METADATA(CLUSTER:istio:host)%":        op(snapshot.OpClusterMetadata, "istio  host"),
		"%FILTER_STATE(k:PLAIN)%":               op(snapshot.OpFilterState, "k PLAIN "),
		"%CEL(request.headers['a)'] == \")\")%": op(snapshot.OpCEL, "  "),
		"%REQ(HOST)%":                           op(snapshot.OpReq, ":authority  "),
	} {
		f, err := c.format(text, false)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := string(f.Append(nil, echo{})); got != want {
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
	}
	for _, text := range []string{"%", "%REQ%", "%REQ(", "%REQ(a", "%REQ(a)", "%REQ(a):x%", "%PROTOCOL(x)%", "%METADATA(X:y)%", "%CEL(1 +)%", "%DYNAMIC_METADATA()%", "50% off"} {
		if _, err := c.format(text, false); err == nil {
			t.Errorf("%s: no error", text)
		}
	}
	f := must(c.format("a%PROTOCOL%b", false))
	g := must(c.format("a%PROTOCOL%b", true))
	if got := string(f.Append(nil, echo{empty: true})) + string(g.Append(nil, echo{empty: true})); got != "a-bab" {
		t.Error(got)
	}
}

func FuzzFormat(f *testing.F) {
	f.Add("%REQ(a?b):3% %CEL('x')% %%")
	f.Add(`%DYNAMIC_METADATA(["a"])%`)
	c, err := New(Options{})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(_ *testing.T, text string) {
		if p, err := c.format(text, true); err == nil {
			p.Append(nil, echo{})
		}
	})
}

// FuzzApply: no bytes of a control plane can end the proxy.
func FuzzApply(f *testing.F) {
	types := []string{TypeListener, TypeRoute, TypeVirtualHost, TypeCluster, TypeEndpoints, TypeSecret}
	f.Add(uint8(0), lds("a", 1, "r").Bytes)
	f.Add(uint8(1), rds("a", vhost("v", "c")).Bytes)
	f.Add(uint8(3), edsCluster("a", 1).Bytes)
	f.Add(uint8(4), eds("a", 2).Bytes)
	f.Fuzz(func(t *testing.T, kind uint8, b []byte) {
		c := newCompiler(t)
		for _, e := range c.Apply(Update{TypeURL: types[int(kind)%len(types)], Set: []Raw{{Name: "a", Bytes: b}}}) {
			if strings.Contains(e.Error(), "internal error") {
				t.Fatal(e)
			}
		}
		c.Snapshot()
		c.ReleaseHeld()
		c.Snapshot()
	})
}
