package mesh

import (
	"maps"

	security "istio.io/api/security/v1beta1"
)

// MTLSMode says what a port accepts.
type MTLSMode string

// Modes of inbound traffic.
const (
	MTLSDisable    MTLSMode = "DISABLE"
	MTLSPermissive MTLSMode = "PERMISSIVE"
	MTLSStrict     MTLSMode = "STRICT"
)

// AuthnPolicy is the effective peer authentication of a workload. Read-only.
type AuthnPolicy struct {
	Default MTLSMode
	Ports   map[uint32]MTLSMode // by the workload's port; only those that differ in origin
	// Origins are the objects that had a say, the closest to the workload first.
	Origins []Origin
}

// Mode is the mode of one of the workload's ports.
func (p AuthnPolicy) Mode(port uint32) MTLSMode {
	if m, ok := p.Ports[port]; ok {
		return m
	}
	return p.Default
}

// Equal compares everything.
func (p AuthnPolicy) Equal(q AuthnPolicy) bool {
	return p.Default == q.Default && maps.Equal(p.Ports, q.Ports) && equalOrigins(p.Origins, q.Origins)
}

func equalOrigins(a, b []Origin) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// EffectiveAuthn decides what a workload demands: its own policy (with a
// selector) before the namespace's before the root namespace's; UNSET inherits;
// of several on one level the oldest counts; nothing said is PERMISSIVE. Port
// settings count only in policies with a selector, and UNSET there inherits
// the workload's mode.
func EffectiveAuthn(all []*PeerAuthentication, rootNamespace, namespace string, labels map[string]string) AuthnPolicy {
	var workload, ns, root *PeerAuthentication
	keep := func(slot **PeerAuthentication, p *PeerAuthentication) {
		if *slot == nil || p.Origin.Before((*slot).Origin) {
			*slot = p
		}
	}
	for _, p := range all {
		selector := p.Spec.GetSelector().GetMatchLabels()
		switch {
		case len(selector) > 0:
			if p.Origin.Namespace == namespace && Selects(selector, labels) {
				keep(&workload, p)
			}
		case p.Origin.Namespace == namespace && namespace != rootNamespace:
			keep(&ns, p)
		case p.Origin.Namespace == rootNamespace:
			keep(&root, p)
		}
	}
	out := AuthnPolicy{Default: MTLSPermissive}
	for _, p := range []*PeerAuthentication{root, ns, workload} {
		if p == nil {
			continue
		}
		out.Origins = append([]Origin{p.Origin}, out.Origins...)
		if m, ok := modeOf(p.Spec.GetMtls()); ok {
			out.Default = m
		}
	}
	if workload != nil {
		for port, mtls := range workload.Spec.GetPortLevelMtls() {
			if m, ok := modeOf(mtls); ok {
				if out.Ports == nil {
					out.Ports = map[uint32]MTLSMode{}
				}
				out.Ports[port] = m
			}
		}
	}
	return out
}

func modeOf(m *security.PeerAuthentication_MutualTLS) (MTLSMode, bool) {
	switch m.GetMode() {
	case security.PeerAuthentication_MutualTLS_DISABLE:
		return MTLSDisable, true
	case security.PeerAuthentication_MutualTLS_PERMISSIVE:
		return MTLSPermissive, true
	case security.PeerAuthentication_MutualTLS_STRICT:
		return MTLSStrict, true
	default:
		return "", false
	}
}
