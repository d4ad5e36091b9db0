package mesh

import (
	"strings"
	"time"
	"unicode"

	networking "istio.io/api/networking/v1alpha3"
	security "istio.io/api/security/v1beta1"
	telemetry "istio.io/api/telemetry/v1alpha1"

	"github.com/meshctl/meshctl/internal/diag"
)

// Origin names the object that a value comes from: whom to blame and whom to show.
type Origin struct {
	Group     string // networking.istio.io; "" for Kubernetes' core group
	Kind      string // VirtualService
	Namespace string
	Name      string
	Cluster   string `json:",omitempty"` // ID of a remote cluster; "" is home
	Pos       diag.Pos
	Created   time.Time // zero when unknown (files)
}

// Key is kind/namespace/name with the group, and @cluster for a remote one, unique
// per object.
func (o Origin) Key() string {
	k := o.Kind
	if o.Group != "" {
		k += "." + o.Group
	}
	k += "/" + o.Namespace + "/" + o.Name
	if o.Cluster != "" {
		k += "@" + o.Cluster
	}
	return k
}

// IsZero reports whether the value comes from no object (a default).
func (o Origin) IsZero() bool { return o.Kind == "" }

// Ref is the origin as a Diagnostic names it.
func (o Origin) Ref() diag.Object {
	return diag.Object{Kind: o.Kind, Namespace: o.Namespace, Name: o.Name}
}

// ConfigPath is the form in which Istio names the deciding object in the
// metadata of generated resources, and in which istioctl and Kiali read it:
// /apis/networking.istio.io/v1alpha3/namespaces/default/virtual-service/reviews.
// The zero Origin has none.
func (o Origin) ConfigPath() string {
	if o.IsZero() {
		return ""
	}
	return "/apis/" + o.Group + "/" + metadataVersion(o.Group) + "/namespaces/" + o.Namespace + "/" + kebab(o.Kind) + "/" + o.Name
}

// metadataVersion is the version that Istio prints per group, whatever version
// the user wrote.
func metadataVersion(group string) string {
	switch group {
	case "security.istio.io":
		return "v1beta1"
	case "telemetry.istio.io", "extensions.istio.io":
		return "v1alpha1"
	case "networking.istio.io":
		return "v1alpha3"
	default:
		return "v1"
	}
}

func kebab(kind string) string {
	var b strings.Builder
	runes := []rune(kind)
	for i, r := range runes {
		// A word begins after a small letter, and with the last capital of an acronym: HTTPRoute.
		if i > 0 && unicode.IsUpper(r) && (!unicode.IsUpper(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1])) {
			b.WriteByte('-')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// Before is the order in which objects of one kind compete: the oldest wins,
// then the name, then the namespace decides, as in Istio. Objects of unknown age
// (files) count as oldest, so among files the names decide.
func (o Origin) Before(p Origin) bool { return o.compare(p) < 0 }

func (o Origin) compare(p Origin) int {
	if c := o.Created.Compare(p.Created); c != 0 {
		return c
	}
	if c := strings.Compare(o.Name, p.Name); c != 0 {
		return c
	}
	if c := strings.Compare(o.Namespace, p.Namespace); c != 0 {
		return c
	}
	return strings.Compare(o.Cluster, p.Cluster)
}

// Fields finds where a field of an object was written ("spec.http[0].route[1]").
type Fields interface {
	Lookup(path string) diag.Pos
}

// Config is a message of Istio's API with its origin. Read-only.
type Config[M any] struct {
	Origin Origin
	Labels map[string]string
	// Annotations that change what the object means (exportTo, dry-run).
	Annotations map[string]string
	Spec        M
	// Hash identifies spec, labels and annotations.
	Hash uint64
	// Fields finds the place of a field; may be nil.
	Fields Fields
}

// CollectionKey makes configs usable in collections.
func (c *Config[M]) CollectionKey() string { return c.Origin.Key() }

// Equal reports whether content and place are the same.
func (c *Config[M]) Equal(d *Config[M]) bool {
	return c == d || c.Hash == d.Hash && c.Origin == d.Origin
}

// At is the place of a field, or of the object.
func (c *Config[M]) At(path string) diag.Pos {
	if c.Fields != nil {
		if p := c.Fields.Lookup(path); !p.IsZero() {
			return p
		}
	}
	return c.Origin.Pos
}

// The kinds that are used as they are written.
type (
	// SidecarConfig is a Sidecar as the user wrote it; SelectSidecar makes a SidecarScope of it.
	SidecarConfig = Config[*networking.Sidecar]
	// PeerAuthentication says which workloads demand mTLS.
	PeerAuthentication = Config[*security.PeerAuthentication]
	// AuthorizationPolicy says who may call. Those that reach a Workload's AuthzPolicies
	// hold nothing that is not supported: RefuseUnsupported has rewritten them.
	AuthorizationPolicy = Config[*security.AuthorizationPolicy]
	// RequestAuthentication names the tokens that a workload accepts.
	RequestAuthentication = Config[*security.RequestAuthentication]
	// TelemetryConfig is a Telemetry object.
	TelemetryConfig = Config[*telemetry.Telemetry]
)

// Problem is something wrong with an object that only other objects, or what is
// built so far, show.
type Problem struct {
	Field   string // path in the object, may be empty
	Message string // what is wrong
	Effect  string // what it does to traffic
	Fix     string // the next step
}
