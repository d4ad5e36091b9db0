package meshd

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"github.com/meshctl/meshctl/internal/collection"
	"github.com/meshctl/meshctl/internal/controlplane"
	"github.com/meshctl/meshctl/internal/controlplane/gatewayapi"
	"github.com/meshctl/meshctl/internal/controlplane/status"
	"github.com/meshctl/meshctl/internal/resource"
)

// Pace of statuses of the Gateway API: people and tools wait for them, so that a
// round comes soon, and writes little.
const (
	gatewayStatusEvery    = 200 * time.Millisecond
	gatewayStatusPerRound = 10
)

// gatewayStatuses writes the statuses of the Gateway API's kinds and of Ingresses.
// One replica runs it.
type gatewayStatuses struct {
	client dynamic.Interface
	cp     *controlplane.ControlPlane
	log    *slog.Logger
}

func (s *gatewayStatuses) run(ctx context.Context) {
	changed := make(chan struct{}, 1)
	defer collection.Subscribe(s.cp.GatewayStatuses(), func(uint64, []collection.Event[*gatewayapi.Status]) {
		select {
		case changed <- struct{}{}:
		default:
		}
	})()
	(&status.Reconciler[status.Owned]{
		Writer: s, Desired: s.desired, Changed: changed, Every: gatewayStatusEvery, PerRound: gatewayStatusPerRound,
		Now: time.Now, Logger: s.log.With("writer", "gateway statuses"),
	}).Run(ctx)
}

func (s *gatewayStatuses) desired() map[resource.Key]status.Owned {
	out := map[resource.Key]status.Owned{}
	for _, st := range s.cp.GatewayStatuses().List() {
		o := s.cp.Object(st.Key)
		if o == nil {
			continue
		}
		owned, err := status.OwnedOf(o.Meta.UID, st)
		if err != nil {
			s.log.Error("a status cannot be written", "err", err)
			continue
		}
		out[st.Key] = owned
	}
	return out
}

// ownedKinds are the kinds that have such a status.
func ownedKinds() []resource.KindInfo {
	var out []resource.KindInfo
	for _, info := range resource.Kinds() {
		if status.OwnedKind(info.Kind) {
			out = append(out, info)
		}
	}
	return out
}

// apis are where a kind is read and written, by version, the preferred one first: a
// cluster may have older definitions.
func (s *gatewayStatuses) apis(info resource.KindInfo) []dynamic.NamespaceableResourceInterface {
	out := make([]dynamic.NamespaceableResourceInterface, len(info.Versions))
	for i, v := range info.Versions {
		out[i] = s.client.Resource(schema.GroupVersionResource{Group: info.Kind.Group, Version: v, Resource: info.Plural})
	}
	return out
}

// Read implements status.Writer.
func (s *gatewayStatuses) Read(ctx context.Context) (map[resource.Key]status.Owned, error) {
	out := map[resource.Key]status.Owned{}
	for _, info := range ownedKinds() {
		for _, api := range s.apis(info) {
			served, err := eachObject(ctx, api, info.Plural, func(u *unstructured.Unstructured) {
				if owned, ok := status.ReadOwned(info.Kind, string(u.GetUID()), statusOf(u)); ok {
					out[resource.Key{Kind: info.Kind, Namespace: u.GetNamespace(), Name: u.GetName()}] = owned
				}
			})
			if err != nil {
				return nil, err
			}
			if served {
				break
			}
		}
	}
	return out, nil
}

func statusOf(u *unstructured.Unstructured) []byte {
	if u.Object["status"] == nil {
		return nil
	}
	b, err := json.Marshal(u.Object["status"])
	if err != nil {
		return nil // it came as JSON
	}
	return b
}

// Write implements status.Writer. It looks at what is there, since others write
// into the same lists, and writes only if nobody has meanwhile.
func (s *gatewayStatuses) Write(ctx context.Context, k resource.Key, st status.Owned) error {
	info := resource.InfoOf(k.Kind)
	for _, versioned := range s.apis(*info) {
		var api dynamic.ResourceInterface = versioned
		if info.Namespaced {
			api = versioned.Namespace(k.Namespace)
		}
		u, err := api.Get(ctx, k.Name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("read the status of %s: %w", k, err)
		}
		if st.UID != "" && string(u.GetUID()) != st.UID {
			return status.ErrGone
		}
		return s.write(ctx, api, k, u, st)
	}
	return status.ErrGone
}

func (s *gatewayStatuses) write(ctx context.Context, api dynamic.ResourceInterface, k resource.Key, u *unstructured.Unstructured, st status.Owned) error {
	whole, ok, err := st.Merge(k.Kind, statusOf(u), time.Now())
	if err != nil || !ok {
		return err
	}
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]string{"resourceVersion": u.GetResourceVersion()}, "status": json.RawMessage(whole),
	})
	if err != nil {
		return fmt.Errorf("write the status of %s: %w", k, err)
	}
	_, err = api.Patch(ctx, k.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: statusManager}, "status")
	switch {
	case apierrors.IsNotFound(err):
		return status.ErrGone
	case err != nil:
		return fmt.Errorf("write the status of %s: %w", k, err)
	}
	return nil
}
