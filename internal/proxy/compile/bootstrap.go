package compile

import (
	"encoding/json"
	"errors"
	"fmt"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"go.yaml.in/yaml/v4"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// FromBootstrap compiles the static resources of an Envoy bootstrap file in
// YAML or JSON. The rest of the bootstrap (admin, node, stats, overload...) is
// not looked at: it configures another program. Any refused resource is an
// error, and so is a reference to a resource that is not in the file.
func FromBootstrap(text []byte, opts Options) (*snapshot.Snapshot, error) {
	c, err := New(opts)
	if err != nil {
		return nil, err
	}
	updates, err := StaticUpdates(text)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, u := range updates {
		for _, e := range c.Apply(u) {
			errs = append(errs, e)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	s := c.Snapshot()
	if m := s.Missing; len(m.Routes)+len(m.Endpoints)+len(m.Secrets)+len(m.Clusters) > 0 {
		return nil, fmt.Errorf("the file refers to what it does not hold: routes %q, endpoints %q, secrets %q, clusters %q",
			m.Routes, m.Endpoints, m.Secrets, m.Clusters)
	}
	return s, nil
}

// StaticUpdates turns the static resources of a bootstrap file into updates,
// in the order in which they should be applied.
func StaticUpdates(text []byte) ([]Update, error) {
	if len(text) > maxResourceBytes {
		return nil, fmt.Errorf("bootstrap of %d bytes, at most %d", len(text), maxResourceBytes)
	}
	var doc struct {
		StaticResources struct {
			Secrets   []json.RawMessage `json:"secrets"`
			Clusters  []json.RawMessage `json:"clusters"`
			Listeners []json.RawMessage `json:"listeners"`
		} `json:"static_resources"`
		StaticCamel json.RawMessage `json:"staticResources"`
	}
	var tree any
	if err := yaml.Unmarshal(text, &tree); err != nil {
		return nil, fmt.Errorf("read bootstrap: %w", err)
	}
	asJSON, err := json.Marshal(tree)
	if err != nil {
		return nil, fmt.Errorf("read bootstrap: %w", err)
	}
	if err := json.Unmarshal(asJSON, &doc); err != nil {
		return nil, fmt.Errorf("read bootstrap: %w", err)
	}
	if doc.StaticCamel != nil {
		if err := json.Unmarshal(doc.StaticCamel, &doc.StaticResources); err != nil {
			return nil, fmt.Errorf("read bootstrap: %w", err)
		}
	}
	var out []Update
	for _, k := range []struct {
		field, url string
		list       []json.RawMessage
		empty      func() proto.Message
	}{
		{"secrets", TypeSecret, doc.StaticResources.Secrets, func() proto.Message { return &tlsv3.Secret{} }},
		{"clusters", TypeCluster, doc.StaticResources.Clusters, func() proto.Message { return &clusterv3.Cluster{} }},
		{"listeners", TypeListener, doc.StaticResources.Listeners, func() proto.Message { return &listenerv3.Listener{} }},
	} {
		u := Update{TypeURL: k.url}
		for i, raw := range k.list {
			m := k.empty()
			if err := protojson.Unmarshal(raw, m); err != nil {
				return nil, fmt.Errorf("static_resources.%s[%d]: %w", k.field, i, err)
			}
			b, err := proto.Marshal(m)
			if err != nil {
				return nil, fmt.Errorf("static_resources.%s[%d]: %w", k.field, i, err)
			}
			u.Set = append(u.Set, Raw{Bytes: b})
		}
		out = append(out, u)
	}
	return out, nil
}
