package resource

import (
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
)

// KindInfo describes one kind of resource: its names, versions and content.
// Treat as read-only.
type KindInfo struct {
	Kind       Kind
	Plural     string   // lower case, e.g. virtualservices
	Short      []string // kubectl's short names, e.g. vs
	Versions   []string // accepted, the preferred one first
	Namespaced bool

	// Exactly one of these makes an empty value for the content; neither for
	// kinds that are only tolerated: their metadata is checked, nothing else.
	newSpec   func() proto.Message // Istio: the spec message
	newObject func() any           // Kubernetes, Gateway API: the whole object
}

// Singular is the kind's name in lower case, as kubectl accepts it.
func (k *KindInfo) Singular() string { return strings.ToLower(k.Kind.Kind) }

// IsIstio reports whether the content is an istio.io/api message.
func (k *KindInfo) IsIstio() bool { return k.newSpec != nil }

// IsTolerated reports whether objects of the kind are kept without content (Spec nil).
func (k *KindInfo) IsTolerated() bool { return k.newSpec == nil && k.newObject == nil }

// APIVersion is group/version with the preferred version.
func (k *KindInfo) APIVersion() string {
	if k.Kind.Group == "" {
		return k.Versions[0]
	}
	return k.Kind.Group + "/" + k.Versions[0]
}

// Kinds lists every kind that is known, in a fixed order. The result is a copy.
func Kinds() []KindInfo { return slices.Clone(kindTable) }

// InfoOf finds the description of a kind, nil when it is unknown.
func InfoOf(k Kind) *KindInfo {
	for i := range kindTable {
		if kindTable[i].Kind == k {
			return &kindTable[i]
		}
	}
	return nil
}

// LookupKind finds a kind by any name a user may type: short name (vs), kind,
// singular or plural in any case, optionally with .group or .version.group
// (gateways.networking.istio.io). Where a bare name is shared, Istio's kind wins,
// as with kubectl when both are installed: the Gateway API's are named in full
// or by their short name (gtw).
func LookupKind(name string) (*KindInfo, bool) {
	base, group, qualified := strings.Cut(strings.ToLower(name), ".")
	for i := range kindTable {
		k := &kindTable[i]
		if base != k.Plural && base != k.Singular() && !slices.Contains(k.Short, base) {
			continue
		}
		if !qualified || group == k.Kind.Group {
			return k, true
		}
		for _, v := range k.Versions {
			if group == strings.TrimSuffix(v+"."+k.Kind.Group, ".") {
				return k, true
			}
		}
	}
	return nil, false
}

// SuggestKind returns the known name nearest to name, "" when none is near.
func SuggestKind(name string) string {
	var names []string
	for i := range kindTable {
		names = append(names, kindTable[i].Plural, kindTable[i].Singular())
	}
	return nearest(strings.ToLower(name), names)
}
