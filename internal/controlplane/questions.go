package controlplane

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	statusv3 "github.com/envoyproxy/go-control-plane/envoy/service/status/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/meshctl/meshctl/internal/controlplane/xdsserve"
	"github.com/meshctl/meshctl/internal/identity"
	"github.com/meshctl/meshctl/internal/version"
)

// Types by which istioctl asks over xDS.
const (
	typeDebug      = "istio.io/debug"             // the page is named as a resource: syncz, config_dump?proxyID=…
	typeSyncz      = "istio.io/debug/syncz"       // a ClientConfig for each proxy
	typeConfigDump = "istio.io/debug/config_dump" // the parts of a ConfigDump of the proxy named
)

// questions answers Istio's debug types. It implements xdsserve.Answerer.
type questions struct{ cp *ControlPlane }

// Answers implements xdsserve.Answerer.
func (q *questions) Answers(typeURL string) bool {
	return typeURL == typeDebug || strings.HasPrefix(typeURL, typeDebug+"/")
}

// Identifier implements xdsserve.Answerer, in the form that Istio's tools read.
func (q *questions) Identifier() string {
	b, err := json.Marshal(map[string]any{
		"Component": "istiod", "ID": q.cp.set.Instance,
		"Info": map[string]string{"version": strings.TrimPrefix(version.Get(), "v")},
	})
	if err != nil {
		panic(err) // plain strings
	}
	return string(b)
}

// Answer implements xdsserve.Answerer.
func (q *questions) Answer(ctx context.Context, _ *corev3.Node, peer xdsserve.Peer, typeURL string, names []string) ([]*anypb.Any, error) {
	if err := q.authorize(ctx, peer); err != nil {
		return nil, status.Error(codes.PermissionDenied, err.Error())
	}
	what := strings.TrimPrefix(typeURL, typeDebug+"/")
	switch {
	case typeURL == typeSyncz:
		return q.syncz()
	case typeURL == typeConfigDump || strings.HasPrefix(typeURL, typeConfigDump+"?"):
		_, id, ok := strings.Cut(what, "?proxyID=")
		if !ok {
			if len(names) != 1 {
				return nil, status.Errorf(codes.InvalidArgument, "%s needs the name of one proxy, <pod>.<namespace>", typeConfigDump)
			}
			id = names[0]
		}
		dump, err := q.cp.ConfigDump(id)
		if err != nil {
			return nil, status.Error(codes.NotFound, err.Error())
		}
		return dump.GetConfigs(), nil
	case typeURL != typeDebug:
	case len(names) != 1:
		return nil, status.Errorf(codes.InvalidArgument, "%s needs the name of one page, such as syncz", typeDebug)
	default:
		what = names[0]
	}
	return q.page(ctx, what)
}

// page is a page of Debug as bytes.
func (q *questions) page(ctx context.Context, name string) ([]*anypb.Any, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost/debug/"+name, nil)
	if err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "%q is no page", name)
	}
	w := &recorded{header: http.Header{}, code: http.StatusOK}
	q.cp.Debug().ServeHTTP(w, r)
	if w.code != http.StatusOK {
		return nil, status.Errorf(codes.NotFound, "%s: %s", name, strings.TrimSpace(w.body.String()))
	}
	return []*anypb.Any{{TypeUrl: typeDebug, Value: w.body.Bytes()}}, nil
}

// recorded keeps an answer.
type recorded struct {
	header http.Header
	code   int
	body   bytes.Buffer
}

func (r *recorded) Header() http.Header         { return r.header }
func (r *recorded) WriteHeader(code int)        { r.code = code }
func (r *recorded) Write(p []byte) (int, error) { return r.body.Write(p) }

// authorize lets those ask who may see the whole mesh: identities of the root
// namespace, and whoever is on this machine where proxies may come without
// credentials (kubectl port-forward).
func (q *questions) authorize(ctx context.Context, peer xdsserve.Peer) error {
	err := identity.ErrNoCredentials
	var caller identity.Caller
	if q.cp.set.Authenticator != nil {
		caller, err = q.cp.set.Authenticator.Authenticate(ctx)
	}
	root := q.cp.set.MeshConfig.GetRootNamespace()
	switch {
	case errors.Is(err, identity.ErrNoCredentials) && q.cp.set.AllowPlaintext && peer.AuthInfo == nil && isLoopback(peer.Addr):
		return nil
	case err != nil:
		return fmt.Errorf("authenticate: %w", err)
	case caller.ID.Namespace != root:
		return fmt.Errorf("identity %s may not see the whole mesh: only those of namespace %s may", caller.ID, root)
	}
	return nil
}

// syncz is how far each proxy is, as ClientConfig has it.
func (q *questions) syncz() ([]*anypb.Any, error) {
	out := []*anypb.Any{}
	for _, s := range q.cp.syncStatuses() {
		meta, err := structpb.NewStruct(map[string]any{"CLUSTER_ID": s.ClusterID, "ISTIO_VERSION": s.IstioVersion})
		if err != nil {
			return nil, err
		}
		// Istio's tools call a proxy by pod.namespace, and do not know virtual hosts
		// that are sent by themselves: those count with their routes.
		c := &statusv3.ClientConfig{Node: &corev3.Node{Id: s.Proxy, Cluster: s.Cluster, Metadata: meta}}
		for _, t := range s.Types {
			if t.TypeURL == xdsserve.TypeVirtualHost {
				continue
			}
			state := t.State()
			if t.TypeURL == xdsserve.TypeRoute {
				state = worst(state, s.Types)
			}
			x := &statusv3.ClientConfig_GenericXdsConfig{TypeUrl: t.TypeURL, VersionInfo: t.Acked.Version, ConfigStatus: configStatus(state)}
			if !t.Changed.IsZero() {
				x.LastUpdated = timestamppb.New(t.Changed)
			}
			c.GenericXdsConfigs = append(c.GenericXdsConfigs, x)
		}
		a, err := anypb.New(c)
		if err != nil {
			return nil, err
		}
		out = append(out, a)
	}
	return out, nil
}

// worst is the state of routes with their virtual hosts.
func worst(routes xdsserve.State, types []xdsserve.TypeStatus) xdsserve.State {
	order := []xdsserve.State{xdsserve.NotSent, xdsserve.Synced, xdsserve.Behind, xdsserve.Refused}
	for _, t := range types {
		if t.TypeURL == xdsserve.TypeVirtualHost && slices.Index(order, t.State()) > slices.Index(order, routes) {
			routes = t.State()
		}
	}
	return routes
}

func configStatus(s xdsserve.State) statusv3.ConfigStatus {
	switch s {
	case xdsserve.Refused:
		return statusv3.ConfigStatus_ERROR
	case xdsserve.Behind:
		return statusv3.ConfigStatus_STALE
	case xdsserve.NotSent:
		return statusv3.ConfigStatus_NOT_SENT
	default:
		return statusv3.ConfigStatus_SYNCED
	}
}
