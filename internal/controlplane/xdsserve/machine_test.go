package xdsserve

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/google/go-cmp/cmp"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"pgregory.net/rapid"
)

// robot is a delta client that follows the protocol: it keeps what it accepts,
// and refuses bodies that say "bad".
type robot struct {
	m      *mesh
	stream discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesClient
	cancel context.CancelFunc
	types  map[string]*robotType
	named  bool // the node was sent on this stream
}

type robotType struct {
	wildcard bool
	names    map[string]bool
	have     map[string]string // name -> body
	version  map[string]string
	due      *discoveryv3.DeltaDiscoveryResponse // not answered yet
	spoken   bool                                // something was sent for it on this stream
}

var machineTypes = []string{TypeCluster, TypeEndpoint, TypeListener, TypeRoute, TypeSecret, "type.googleapis.com/test.Custom"}

func newRobot(m *mesh) *robot {
	r := &robot{m: m, types: map[string]*robotType{}}
	for _, u := range machineTypes {
		r.types[u] = &robotType{names: map[string]bool{}, have: map[string]string{}, version: map[string]string{}}
	}
	return r
}

func (r *robot) send(q *discoveryv3.DeltaDiscoveryRequest) {
	if !r.named {
		q.Node, r.named = &corev3.Node{Id: "robot"}, true
	}
	if err := r.stream.Send(q); err != nil {
		panic(err)
	}
}

func (r *robot) connect() {
	if r.cancel != nil {
		r.cancel()
	}
	ctx, cancel := context.WithCancel(context.Background())
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(r.m.conn).DeltaAggregatedResources(ctx)
	if err != nil {
		panic(err)
	}
	r.stream, r.cancel, r.named = stream, cancel, false
	for _, u := range machineTypes {
		t := r.types[u]
		t.due, t.spoken = nil, false
		if t.wildcard || len(t.names) > 0 {
			r.resubscribe(u, t)
		}
	}
}

func (r *robot) resubscribe(u string, t *robotType) {
	q := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: u, InitialResourceVersions: maps.Clone(t.version)}
	q.ResourceNamesSubscribe = slices.Sorted(maps.Keys(t.names))
	if t.wildcard && (len(t.names) > 0 || ruleOf(u).named) {
		q.ResourceNamesSubscribe = append(q.ResourceNamesSubscribe, wildcardName)
	}
	t.spoken = true
	r.send(q)
}

func (r *robot) subscribe(u, name string) {
	t := r.types[u]
	if name == wildcardName {
		t.wildcard = true
	} else {
		t.names[name] = true
	}
	t.spoken = true
	r.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: u, ResourceNamesSubscribe: []string{name}})
}

func (r *robot) unsubscribe(u, name string) {
	t := r.types[u]
	if !t.spoken || (name == wildcardName && !t.wildcard) || (name != wildcardName && !t.names[name]) {
		return
	}
	if name == wildcardName {
		t.wildcard = false
		for n := range t.have {
			if !t.names[n] {
				t.forget(n)
			}
		}
	} else {
		delete(t.names, name)
		t.forget(name)
	}
	r.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: u, ResourceNamesUnsubscribe: []string{name}})
}

func (t *robotType) forget(name string) {
	delete(t.have, name)
	delete(t.version, name)
}

// answer takes the response in hand over, or refuses it.
func (r *robot) answer(u string) {
	t := r.types[u]
	resp := t.due
	if resp == nil {
		return
	}
	t.due = nil
	q := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: u, ResponseNonce: resp.GetNonce()}
	for _, res := range resp.GetResources() {
		body := string(res.GetResource().GetValue())
		switch {
		case !t.wildcard && !t.names[res.GetName()]: // unsubscribed meanwhile
		case body == "bad":
			q.ErrorDetail = &spb.Status{Code: 3, Message: "refused " + res.GetName()}
		default:
			t.have[res.GetName()], t.version[res.GetName()] = body, res.GetVersion()
		}
	}
	for _, name := range resp.GetRemovedResources() {
		t.forget(name)
	}
	r.send(q)
}

func (r *robot) recv() (*discoveryv3.DeltaDiscoveryResponse, error) {
	resp, err := r.stream.Recv()
	if err != nil {
		return nil, err
	}
	if t := r.types[resp.GetTypeUrl()]; t != nil {
		if t.due != nil {
			return nil, fmt.Errorf("a second response for %s is in flight", resp.GetTypeUrl())
		}
		t.due = resp
	}
	return resp, nil
}

// settle answers everything until the server has nothing more to say. One quiet
// round is not enough: removed clusters go when nothing else is left to send, so
// they may come after a probe.
func (r *robot) settle(probe int) error {
	silent := 0
	for round := 0; ; round++ {
		for _, u := range machineTypes {
			r.answer(u)
		}
		u := fmt.Sprintf("type.googleapis.com/test.Probe%d.%d", probe, round)
		r.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: u, ResourceNamesSubscribe: []string{"x"}})
		quiet, err := r.recvUntil(u)
		if err != nil {
			return err
		}
		if silent++; !quiet {
			silent = 0
		}
		if silent == 3 {
			return nil
		}
	}
}

// peek receives what is there, without answering it.
func (r *robot) peek(probe int) error {
	u := fmt.Sprintf("type.googleapis.com/test.Peek%d", probe)
	r.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: u, ResourceNamesSubscribe: []string{"x"}})
	_, err := r.recvUntil(u)
	return err
}

// recvUntil receives up to the answer to a probe; quiet when there was nothing else.
func (r *robot) recvUntil(probe string) (quiet bool, err error) {
	quiet = true
	for {
		resp, err := r.recv()
		if err != nil || resp.GetTypeUrl() == probe {
			return quiet, err
		}
		quiet = false
	}
}

// check compares what the client has with what its subscription should give.
func (r *robot) check() string {
	for _, u := range machineTypes {
		t := r.types[u]
		want := map[string]string{}
		for res := range r.m.sets[u].All() {
			if !t.wildcard && !t.names[res.Name()] {
				continue
			}
			body := string(res.Body())
			if body == "bad" {
				// The client keeps its last good version, if it has one.
				if old, ok := t.have[res.Name()]; ok {
					want[res.Name()] = old
				}
				continue
			}
			want[res.Name()] = body
		}
		if diff := cmp.Diff(want, t.have); diff != "" {
			return u + " (-want +got):\n" + diff
		}
	}
	return ""
}

// TestMachine: whatever happened, once it is quiet the client has the Set
// restricted to its subscription.
func TestMachine(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		m := newMesh(t, Inputs{Limits: Limits{MaxTypes: 10_000, MaxResponseBytes: rapid.SampledFrom([]int{150, 1 << 20}).Draw(rt, "limit")}}, nil)
		m.publish()
		r := newRobot(m)
		r.connect()
		defer func() { r.cancel() }()
		names := []string{"a", "b", "c", "d"}
		drawType := func() string { return rapid.SampledFrom(machineTypes).Draw(rt, "type") }
		for step := range rapid.IntRange(1, 25).Draw(rt, "steps") {
			switch rapid.SampledFrom([]string{"put", "put", "put", "sub", "sub", "unsub", "peek", "peek", "answer", "answer", "settle", "reconnect"}).Draw(rt, "step") {
			case "put":
				for range rapid.IntRange(1, 3).Draw(rt, "edits") {
					m.edit(drawType(), rapid.SampledFrom(names).Draw(rt, "name"), rapid.SampledFrom([]string{"1", "2", "3", "bad", ""}).Draw(rt, "body"))
				}
				m.publish()
			case "sub":
				r.subscribe(drawType(), rapid.SampledFrom(append(names, wildcardName)).Draw(rt, "name"))
			case "unsub":
				r.unsubscribe(drawType(), rapid.SampledFrom(append(names, wildcardName)).Draw(rt, "name"))
			case "peek":
				if err := r.peek(step); err != nil {
					rt.Fatal(err)
				}
			case "answer":
				r.answer(drawType())
			case "settle":
				if err := r.settle(step); err != nil {
					rt.Fatal(err)
				}
				if diff := r.check(); diff != "" {
					rt.Fatal(diff)
				}
			case "reconnect":
				r.connect()
			}
		}
		if err := r.settle(1000); err != nil {
			rt.Fatal(err)
		}
		if diff := r.check(); diff != "" {
			rt.Fatal(diff)
		}
		if s := m.srv.Ledger().Sessions(); len(s) == 0 {
			rt.Fatal("no session in the ledger")
		}
	})
}
