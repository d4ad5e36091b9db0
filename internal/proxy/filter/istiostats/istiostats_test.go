package istiostats_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/meshctl/meshctl/internal/proxy/codec"
	"github.com/meshctl/meshctl/internal/proxy/filter"
	"github.com/meshctl/meshctl/internal/proxy/filter/istiostats"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
	"github.com/meshctl/meshctl/internal/proxy/stats"
)

func TestDoneCounts(t *testing.T) {
	t.Parallel()
	reg := stats.New(stats.Options{})
	f, err := istiostats.New(&snapshot.IstioStats{}, reg.Worker())
	if err != nil {
		t.Fatal(err)
	}
	x := &filter.Exchange{}
	x.Protocol, x.Status, x.GRPCStatus = codec.HTTP2, 404, -1
	if v := f.Request(x); v != filter.Continue {
		t.Errorf("verdict %d", v)
	}
	f.Done(x)
	var b bytes.Buffer
	if err := reg.WriteMetrics(&b); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(b.String(), `response_code="404"`) {
		t.Errorf("not counted:\n%s", b.String())
	}
}

func TestUnsupportedIsRefused(t *testing.T) {
	t.Parallel()
	if _, err := istiostats.New(&snapshot.IstioStats{Definitions: []snapshot.MetricDefinition{{Name: "mine"}}}, stats.New(stats.Options{}).Worker()); err == nil || !strings.Contains(err.Error(), "mine") {
		t.Errorf("got %v", err)
	}
}
