package meshd

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// Times of elections. Writers are not urgent, and every renewal is a write.
const (
	leaseDuration = 30 * time.Second
	leaseRenew    = 20 * time.Second
	leaseRetry    = 5 * time.Second
)

// elections decide which replica writes. All of them serve.
type elections struct {
	client    kubernetes.Interface
	namespace string
	identity  string // of this replica
	log       *slog.Logger
}

// lead runs work while this replica holds the Lease, again and again until ctx
// ends. work must return when its context ends.
func (e elections) lead(ctx context.Context, lease string, work func(context.Context)) error {
	lock := &resourcelock.LeaseLock{
		LeaseMeta:  metav1.ObjectMeta{Namespace: e.namespace, Name: lease},
		Client:     e.client.CoordinationV1(),
		LockConfig: resourcelock.ResourceLockConfig{Identity: e.identity},
	}
	log := e.log.With("lease", lease)
	var busy sync.Mutex // held while work runs
	for ctx.Err() == nil {
		elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
			Lock: lock, LeaseDuration: leaseDuration, RenewDeadline: leaseRenew, RetryPeriod: leaseRetry,
			// The next writer need not wait for the Lease to run out. What is written is the
			// same whoever writes it, should the two meet.
			ReleaseOnCancel: true, Name: lease,
			Callbacks: leaderelection.LeaderCallbacks{
				OnStartedLeading: func(ctx context.Context) {
					busy.Lock()
					defer busy.Unlock()
					if ctx.Err() != nil {
						return
					}
					log.InfoContext(ctx, "this replica writes")
					work(ctx)
					log.InfoContext(ctx, "this replica no longer writes")
				},
				OnStoppedLeading: func() {},
			},
		})
		if err != nil {
			return fmt.Errorf("elect a leader for %s: %w", lease, err)
		}
		elector.Run(ctx)
		busy.Lock()   // work has ended
		busy.Unlock() //nolint:staticcheck // there is nothing to protect but the wait itself
	}
	return nil
}
