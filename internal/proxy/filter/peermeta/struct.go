package peermeta

import (
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/meshctl/meshctl/internal/proxy/flow"
)

// FromStruct reads a workload's metadata in the form the exchange over TCP has it.
func FromStruct(s *structpb.Struct, nodeID string) *flow.Peer {
	get := func(k string) string { return s.GetFields()[k].GetStringValue() }
	labels := s.GetFields()["LABELS"].GetStructValue().GetFields()
	return &flow.Peer{
		NodeID: nodeID, Workload: get("WORKLOAD_NAME"), Namespace: get("NAMESPACE"), Cluster: get("CLUSTER_ID"),
		Owner: get("OWNER"), Identity: get("IDENTITY"),
		App: labels["app"].GetStringValue(), Version: labels["version"].GetStringValue(),
		CanonicalName:     labels["service.istio.io/canonical-name"].GetStringValue(),
		CanonicalRevision: labels["service.istio.io/canonical-revision"].GetStringValue(),
	}
}
