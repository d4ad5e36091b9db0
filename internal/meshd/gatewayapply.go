package meshd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/meshctl/meshctl/internal/controlplane/provision"
	"github.com/meshctl/meshctl/internal/mesh"
)

// mark tells whether an object is still what was written.
type mark struct {
	wanted uint64 // hash of it
	found  uint64 // hash of what the API server made of it
}

var errForeign = errors.New("it belongs to somebody else, and stays as it is: rename it, or the Gateway (annotation gateway.istio.io/name-override)")

// check refuses when there is an object of the same name that was not made for
// this Gateway.
func (g *gateways) check(ctx context.Context, gw *gwv1.Gateway, o provision.Object, made cache.Store) error {
	key := o.GetNamespace() + "/" + o.GetName()
	there, known := g.made(made, key)
	if !known {
		live, err := g.d.metadata.Resource(o.Resource).Namespace(o.GetNamespace()).Get(ctx, o.GetName(), metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("look for %s %s: %w", o.GetKind(), key, err)
		}
		there = live
	}
	if there.GetLabels()[mesh.LabelGatewayName] != gw.Name || there.GetLabels()[provision.LabelManaged] == "" {
		return fmt.Errorf("there is a %s %s already: %w", o.GetKind(), key, errForeign)
	}
	return nil
}

// apply writes an object unless it is there as it should be.
func (g *gateways) apply(ctx context.Context, gw *gwv1.Gateway, o provision.Object, made cache.Store) error {
	body, err := json.Marshal(o.Object)
	if err != nil {
		return fmt.Errorf("write %s: %w", o.GetName(), err)
	}
	key := o.GetNamespace() + "/" + o.GetName()
	id := o.Resource.Resource + " " + key
	wanted := hashOf(body)
	g.mu.Lock()
	last, before := g.applied[id]
	g.mu.Unlock()
	there, known := g.made(made, key)
	if before && known && last.wanted == wanted && last.found == fingerprint(there) {
		return nil
	}
	force := true
	got, err := g.d.dynamic.Resource(o.Resource).Namespace(o.GetNamespace()).
		Patch(ctx, o.GetName(), types.ApplyPatchType, body, metav1.PatchOptions{FieldManager: gatewayManager, Force: &force})
	switch {
	case err == nil:
	case apierrors.IsNotFound(err) || apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return nil // the namespace is going away
	default:
		return fmt.Errorf("write %s %s: %w", o.GetKind(), key, err)
	}
	if !known {
		g.log.InfoContext(ctx, "made for a Gateway", "gateway", gw.Namespace+"/"+gw.Name, "object", o.GetKind()+" "+key)
	}
	g.mu.Lock()
	g.applied[id] = mark{wanted, fingerprint(got)}
	g.mu.Unlock()
	return nil
}

func (g *gateways) made(store cache.Store, key string) (metav1.Object, bool) {
	o, ok, err := store.GetByKey(key)
	if err != nil || !ok {
		return nil, false
	}
	m, ok := o.(metav1.Object)
	return m, ok
}

// fingerprint changes when somebody changes what an object says: its generation
// counts that; where there is none, its version does.
func fingerprint(m metav1.Object) uint64 {
	version := m.GetResourceVersion()
	if m.GetGeneration() > 0 {
		version = strconv.FormatInt(m.GetGeneration(), 10)
	}
	b, err := json.Marshal([]any{m.GetUID(), version, m.GetLabels(), m.GetOwnerReferences()})
	if err != nil {
		return 0 // text always encodes
	}
	return hashOf(b)
}

func hashOf(b []byte) uint64 {
	h := fnv.New64a()
	_, _ = h.Write(b)
	return h.Sum64()
}
