package register

import (
	"fmt"
	"maps"
	"net/netip"
	"strings"

	"google.golang.org/protobuf/proto"
	networking "istio.io/api/networking/v1alpha3"

	"github.com/meshctl/meshctl/internal/controlplane/derive"
	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/resource"
)

// Entry is a WorkloadEntry in a Store. What was read must not be changed.
type Entry struct {
	Namespace, Name string
	Version         string // of the store; "" before it is made
	Labels          map[string]string
	Annotations     map[string]string
	Spec            *networking.WorkloadEntry
	// Group and GroupUID are the owner's; with the group its entries go.
	Group, GroupUID string
}

// maxName bounds names of objects.
const maxName = 253

// nameOf is the name of a machine's entry: GROUP-ADDRESS[-NETWORK]. A name that would
// be too long loses its beginning: the end tells machines apart.
func nameOf(p *mesh.Proxy) string {
	name := p.Group + "-" + p.IPs[0]
	if p.Network != "" {
		name += "-" + p.Network
	}
	name = strings.ToLower(strings.ReplaceAll(name, ":", "-"))
	if len(name) > maxName {
		name = strings.TrimLeft(name[len(name)-maxName:], "-.")
	}
	return name
}

// fromGroup makes the entry of a machine. Of labels, those of the group's metadata
// count more than the template's, and both more than what the machine says of itself:
// labels decide about policies.
func fromGroup(p *mesh.Proxy, o *resource.Object, g *networking.WorkloadGroup) Entry {
	spec := &networking.WorkloadEntry{}
	if t := g.GetTemplate(); t != nil {
		spec = proto.Clone(t).(*networking.WorkloadEntry)
	}
	labels := maps.Clone(p.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	maps.Copy(labels, spec.GetLabels())
	maps.Copy(labels, g.GetMetadata().GetLabels())
	spec.Address, spec.Labels = p.IPs[0], labels
	if p.Network != "" {
		spec.Network = p.Network
	}
	if l := p.Locality.String(); l != "" {
		spec.Locality = l
	}
	annotations := maps.Clone(g.GetMetadata().GetAnnotations())
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[AnnotationGroup] = p.Group
	if p.Probed {
		annotations[derive.AnnotationHealthChecks] = "true"
	}
	return Entry{
		Namespace: p.Namespace, Name: p.Entry, Labels: maps.Clone(labels), Annotations: annotations, Spec: spec,
		Group: o.Key.Name, GroupUID: o.Meta.UID,
	}
}

// checkAddress refuses addresses at which nobody else could reach the machine.
func checkAddress(text string) error {
	a, err := netip.ParseAddr(text)
	if err != nil {
		return refusef("address %q: %v", text, err)
	}
	if a.IsLoopback() || a.IsUnspecified() || a.IsMulticast() || a.IsLinkLocalUnicast() {
		return refusef("others cannot reach a machine at the address %s: set INSTANCE_IP on it", a)
	}
	return nil
}

// groupKey is the key of the group that a proxy names.
func groupKey(p *mesh.Proxy) resource.Key {
	return resource.Key{Kind: resource.KindWorkloadGroup, Namespace: p.Namespace, Name: p.Group}
}

// checkGroup returns the group that a proxy may join, or why it may not. The proxy's
// namespace and account are those that it proved.
func checkGroup(m Mesh, p *mesh.Proxy) (*resource.Object, *networking.WorkloadGroup, error) {
	o := m.Object(groupKey(p))
	if o == nil {
		return nil, nil, refusef("there is no WorkloadGroup %s/%s to register in", p.Namespace, p.Group)
	}
	g, ok := o.Spec.(*networking.WorkloadGroup)
	if !ok {
		return nil, nil, refusef("WorkloadGroup %s/%s cannot be read", p.Namespace, p.Group)
	}
	want := g.GetTemplate().GetServiceAccount()
	if want == "" {
		want = "default"
	}
	if p.ServiceAccount != want {
		return nil, nil, refusef("service account %q may not register in WorkloadGroup %s/%s, whose machines run as %q", p.ServiceAccount, p.Namespace, p.Group, want)
	}
	return o, g, checkAddress(p.IPs[0])
}

// RefusedError says why a machine may not register. Anything else that goes wrong may be
// over when it tries again.
type RefusedError string

// Error implements error.
func (r RefusedError) Error() string { return string(r) }

func refusef(format string, args ...any) error { return RefusedError(fmt.Sprintf(format, args...)) }
