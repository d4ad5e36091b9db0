package proxystatus

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/inspection"
	"github.com/meshctl/meshctl/internal/cli/proxyconfig/dump"
	"github.com/meshctl/meshctl/internal/cli/stdio"
	"github.com/meshctl/meshctl/internal/compare"
	"github.com/meshctl/meshctl/internal/controlplane/xdsserve"
	"github.com/meshctl/meshctl/internal/local/api"
	"github.com/meshctl/meshctl/internal/localmesh/meshapi"
)

// difference is what a proxy has otherwise than its control plane sends it.
type difference struct {
	Same    bool             `json:"same"`
	Counts  map[string]int   `json:"counts"`            // resources compared, by type
	Changes []compare.Change `json:"changes,omitempty"` // from what is sent to what the proxy has
	// Unknown are resources that cannot be compared, and why.
	Unknown []string `json:"unknown,omitempty"`
}

// compareWith asks both sides. The proxy is asked last: what has just been sent may
// have arrived by then.
func (o *Options) compareWith(ctx context.Context, m *env.Mesh, in meshapi.Instance, pod api.Pod) (*difference, error) {
	name := pod.Name + "." + pod.Namespace
	page, err := m.API.Page(ctx, in, "/debug/config_dump?proxyID="+name)
	if err != nil {
		return nil, err
	}
	admin, err := m.AskProxy(ctx, pod, o.AdminPort, http.MethodGet, "/config_dump?include_eds")
	if err != nil {
		return nil, err
	}
	out := &difference{Counts: map[string]int{}}
	sent, err := out.read(page)
	if err != nil {
		return nil, fmt.Errorf("read what control plane %s sends: %w", in.Name, err)
	}
	has, err := out.read(admin)
	if err != nil {
		return nil, fmt.Errorf("read what the proxy of %s has: %w", name, err)
	}
	for t, set := range has.Sets {
		out.Counts[typeName(t)] = set.Len()
	}
	who := compare.Proxy{Name: pod.Name, Namespace: pod.Namespace}
	d, err := compare.Configs([]compare.Config{{Proxy: who, Snapshot: sent}}, []compare.Config{{Proxy: who, Snapshot: has}})
	if err != nil {
		return nil, err
	}
	for _, g := range d.Groups {
		out.Changes = append(out.Changes, g.Changes...)
	}
	out.Same = len(out.Changes) == 0
	return out, nil
}

// read makes a snapshot of a dump, so that what is compared has one form. What it
// cannot decode is noted, by its name.
func (d *difference) read(data []byte) (*xdsserve.Snapshot, error) {
	parsed, err := dump.Parse(data)
	if err != nil {
		return nil, err
	}
	byType := map[string][]*xdsserve.Resource{}
	for _, raw := range parsed.Sent() {
		r, err := resourceOf(raw)
		if err != nil {
			if text := err.Error(); !slices.Contains(d.Unknown, text) {
				d.Unknown = append(d.Unknown, text)
			}
			continue
		}
		byType[r.TypeURL()] = append(byType[r.TypeURL()], r)
	}
	out := &xdsserve.Snapshot{Sets: map[string]*xdsserve.Set{}}
	for t, list := range byType {
		if out.Sets[t], err = xdsserve.NewSet(nil, list); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// resourceOf decodes one resource of a dump.
func resourceOf(raw json.RawMessage) (*xdsserve.Resource, error) {
	var head struct {
		Type    string `json:"@type"`
		Name    string `json:"name"`
		Cluster string `json:"cluster_name"`
		// As protobuf's JSON has it.
		ClusterCamel string `json:"clusterName"`
	}
	if err := json.Unmarshal(raw, &head); err != nil {
		return nil, fmt.Errorf("a resource that is no JSON object: %w", err)
	}
	name := head.Name + head.Cluster + head.ClusterCamel
	var a anypb.Any
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(raw, &a); err != nil {
		return nil, fmt.Errorf("%s %s: %w", typeName(head.Type), name, err)
	}
	m, err := a.UnmarshalNew()
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", typeName(head.Type), name, err)
	}
	body, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", typeName(head.Type), name, err)
	}
	return xdsserve.NewRawResource(a.GetTypeUrl(), name, body)
}

// typeName is what people call a type.
func typeName(url string) string {
	switch url {
	case xdsserve.TypeCluster:
		return "clusters"
	case xdsserve.TypeListener:
		return "listeners"
	case xdsserve.TypeRoute:
		return "routes"
	case xdsserve.TypeEndpoint:
		return "endpoints"
	}
	return url[strings.LastIndexByte(url, '.')+1:]
}

// print says in what the two differ.
func (d *difference) print(io *stdio.Streams, istiod string, all bool) {
	var counts []string
	for _, t := range []string{"listeners", "routes", "clusters", "endpoints"} {
		if n := d.Counts[t]; n > 0 {
			counts = append(counts, fmt.Sprintf("%d %s", n, t))
		}
	}
	if d.Same {
		io.Printf("\n%s the proxy has what %s sends: %s\n", io.OutPaint(stdio.Green, "✓"), istiod, strings.Join(counts, ", "))
	} else {
		io.Printf("\n%s the proxy has something else than %s sends (- sent, + in the proxy):\n", io.OutPaint(stdio.Red, "✖"), istiod)
		inspection.Changes{Indent: "  ", All: all}.Print(io, d.Changes)
	}
	for _, u := range d.Unknown {
		io.Sayf("not compared: %s\n", u)
	}
}
