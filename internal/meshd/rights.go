package meshd

import (
	"maps"
	"slices"

	"github.com/meshctl/meshctl/internal/controlplane/provision"
	"github.com/meshctl/meshctl/internal/controlplane/status"
	"github.com/meshctl/meshctl/internal/resource"
	"github.com/meshctl/meshctl/internal/resource/source/kube"
)

// Right is what the control plane may do to some kinds in a cluster: the rule of
// a ClusterRole, or of a Role in the root namespace.
type Right struct {
	Group     string
	Resources []string
	Names     []string // empty: every object
	Verbs     []string
	Root      bool // in the root namespace only
	Why       string
}

// RemoteRights are all rights that it needs in a remote cluster: what the service
// account of a remote Secret may do there.
func RemoteRights() []Right {
	var out []Right
	for _, r := range kube.RemoteRights() {
		out = append(out, Right{Group: r.Group, Resources: r.Resources, Verbs: []string{"get", "list", "watch"}, Why: "where workloads are"})
	}
	return append(out, Right{Group: "authentication.k8s.io", Resources: []string{"tokenreviews"}, Verbs: []string{"create"}, Why: "whose a token is"})
}

// Rights are all rights that `meshd discovery` needs, no more and no less: the
// chart grants exactly these. revision is the control plane's.
func Rights(revision string) []Right {
	o := discoveryOptions{revision: revision}
	read := []string{"get", "list", "watch"}
	var out []Right
	for _, r := range kube.Rights() {
		out = append(out, Right{
			Group: r.Group, Resources: r.Resources, Names: r.Names, Verbs: read, Root: r.Namespace == kube.Root,
			Why: "what the mesh is made of",
		})
	}
	for _, info := range resource.Kinds() {
		if info.IsIstio() || status.OwnedKind(info.Kind) {
			out = append(out, Right{
				Group: info.Kind.Group, Resources: []string{info.Plural + "/status"}, Verbs: []string{"patch"}, Why: "what became of a resource",
			})
		}
	}
	entries := resource.InfoOf(resource.KindWorkloadEntry)
	byGroup := map[string][]string{}
	for _, r := range provision.Resources() {
		byGroup[r.Group] = append(byGroup[r.Group], r.Resource)
	}
	for _, g := range slices.Sorted(maps.Keys(byGroup)) {
		out = append(out, Right{
			Group: g, Resources: byGroup[g], Verbs: []string{"get", "list", "watch", "create", "patch"}, Why: "what serves a Gateway",
		})
	}
	return append(out,
		Right{Group: resource.GroupGatewayAPI, Resources: []string{"gatewayclasses"}, Verbs: []string{"create"}, Why: "the class of the mesh's own gateways"},
		Right{Group: entries.Kind.Group, Resources: []string{entries.Plural}, Verbs: []string{"create", "update", "delete"}, Why: "machines that register themselves"},
		Right{Group: "authentication.k8s.io", Resources: []string{"tokenreviews"}, Verbs: []string{"create"}, Why: "whose a token is"},
		Right{Resources: []string{"configmaps"}, Names: []string{rootConfigMap}, Verbs: []string{"patch"}, Why: "the root certificate in every namespace"},
		Right{Resources: []string{"configmaps"}, Verbs: []string{"create"}, Why: "the root certificate in a new namespace"},
		Right{
			Group: "admissionregistration.k8s.io", Resources: []string{"mutatingwebhookconfigurations", "validatingwebhookconfigurations"},
			Verbs: []string{"get", "list", "watch", "update"}, Why: "the root certificate in the webhooks of this revision",
		},
		Right{Resources: []string{"secrets"}, Names: []string{secretGiven, secretOwn}, Verbs: []string{"get"}, Root: true, Why: "the certificate authority"},
		Right{Resources: []string{"secrets"}, Verbs: []string{"create"}, Root: true, Why: "a certificate authority where none was given"},
		Right{
			Group: "coordination.k8s.io", Resources: []string{"leases"},
			Names: []string{leaseRootCerts, o.revisioned(leaseStatuses), o.revisioned(leaseWebhooks), o.revisioned(leaseGateways)},
			Verbs: []string{"get", "update"}, Root: true, Why: "which replica writes",
		},
		Right{Group: "coordination.k8s.io", Resources: []string{"leases"}, Verbs: []string{"create"}, Root: true, Why: "the first election"},
	)
}
