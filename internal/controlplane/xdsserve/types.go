package xdsserve

// Type URLs with rules of their own; every other type is served generically.
const (
	TypeCluster     = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
	TypeEndpoint    = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
	TypeListener    = "type.googleapis.com/envoy.config.listener.v3.Listener"
	TypeRoute       = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
	TypeScopedRoute = "type.googleapis.com/envoy.config.route.v3.ScopedRouteConfiguration"
	TypeVirtualHost = "type.googleapis.com/envoy.config.route.v3.VirtualHost"
	TypeSecret      = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
	TypeExtension   = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig"
	TypeNameTable   = "type.googleapis.com/istio.networking.nds.v1.NameTable"
)

// TypeHealth is no subscription: a request of this type is a report of the
// workload's health, an error detail in it says what is wrong.
const TypeHealth = "type.googleapis.com/istio.v1.HealthInformation"

// typeRule is what the protocol says about a type.
type typeRule struct {
	short string // name of the type in metrics and ledger
	rank  int    // order of sending
	// named types have no legacy wildcard: a first request without names
	// subscribes to nothing.
	named bool
	// whole types are always sent in full in the state-of-the-world protocol.
	whole bool
	// refers to clusters, so that removed clusters wait for it.
	refers bool
}

const lastRank = 100

func ruleOf(typeURL string) typeRule {
	switch typeURL {
	case TypeCluster:
		return typeRule{short: "cds", rank: 0, whole: true}
	case TypeEndpoint:
		return typeRule{short: "eds", rank: 1, named: true}
	case TypeListener:
		return typeRule{short: "lds", rank: 2, whole: true, refers: true}
	case TypeRoute:
		return typeRule{short: "rds", rank: 3, named: true, refers: true}
	case TypeScopedRoute:
		return typeRule{short: "srds", rank: 4, whole: true, refers: true}
	case TypeVirtualHost:
		return typeRule{short: "vhds", rank: 5, named: true, refers: true}
	case TypeSecret:
		return typeRule{short: "sds", rank: 6, named: true}
	case TypeExtension:
		return typeRule{short: "ecds", rank: 7, named: true}
	case TypeNameTable:
		return typeRule{short: "nds", rank: 8, whole: true}
	default:
		// Clients choose type URLs freely, so they are no label of a metric.
		return typeRule{short: "other", rank: lastRank, whole: true}
	}
}
