// Package register makes WorkloadEntries for machines that connect: a proxy that
// names a WorkloadGroup gets an entry made from it, which goes when the machine has
// been away for a while.
//
//  1. Join: the group must be there, and the proxy's identity that of the group.
//     The entry is made, or taken over from another replica, before the proxy gets
//     any configuration.
//  2. Report: the machine's agent says whether its workload is healthy; that becomes
//     the condition Healthy in the entry's status.
//  3. Leave: the last session of a machine here has ended. The entry is marked with
//     the time, unless another replica has taken it over meanwhile.
//  4. Sweep: what was left for longer than the grace period is deleted. Entries of a
//     replica that is gone are marked as left, and what was taken away while its
//     machine is connected here is made again.
//
// Who writes an entry says so in its annotations, and every write is of the version
// that was read: replicas need no leader for this. Where entries are kept is a Store.
package register

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/meshctl/meshctl/internal/resource"
)

// Annotations of entries that were made here, Istio's names.
const (
	AnnotationGroup        = "istio.io/autoRegistrationGroup"
	AnnotationController   = "istio.io/workloadController" // the replica that the machine is connected to
	AnnotationConnected    = "istio.io/connectedAt"
	AnnotationDisconnected = "istio.io/disconnectedAt"
)

// DefaultGrace is how long an entry outlives its machine's connection.
const DefaultGrace = 10 * time.Second

// Errors of a Store.
var (
	ErrNotFound = errors.New("not found")
	ErrConflict = errors.New("changed by someone else") // or made by someone else, of Create
)

// Condition is the condition Healthy of an entry.
type Condition struct {
	Healthy bool
	Message string
	Since   time.Time
}

// Store keeps WorkloadEntries.
type Store interface {
	// Get returns an entry as it is now, or ErrNotFound.
	Get(ctx context.Context, namespace, name string) (Entry, error)
	// Create makes an entry, or returns ErrConflict when there is one.
	Create(ctx context.Context, e Entry) error
	// Update replaces labels, annotations and spec of the version that e was read in;
	// ErrConflict when there is another.
	Update(ctx context.Context, e Entry) error
	// Delete removes the version that e was read in. ErrNotFound, ErrConflict.
	Delete(ctx context.Context, e Entry) error
	// SetHealth writes the condition into the entry's status. ErrNotFound.
	SetHealth(ctx context.Context, namespace, name string, c Condition) error
}

// Mesh is what a Registry reads of the control plane.
type Mesh interface {
	// Object is the object in force under a key; nil for none.
	Object(k resource.Key) *resource.Object
	// ObjectsOf are all objects in force of a kind.
	ObjectsOf(k resource.Kind) []*resource.Object
}

// Options of a Registry.
type Options struct {
	Store Store
	Mesh  Mesh
	// Instance names this replica.
	Instance string
	// Alive reports whether another replica still runs; nil: there is no other.
	Alive  func(instance string) bool
	Grace  time.Duration // default DefaultGrace
	Logger *slog.Logger
	Now    func() time.Time // default time.Now
}
