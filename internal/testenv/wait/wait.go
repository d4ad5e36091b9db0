// Package wait is how tests wait for what comes by itself: by asking again, with
// a deadline, never by sleeping.
package wait

import (
	"testing"
	"time"
)

// pause is between two questions.
const pause = 50 * time.Millisecond

// For asks again until check finds nothing wrong, and ends the test when it still
// does after the time given; what is the event that is waited for, as in "the new
// certificate".
func For(t testing.TB, within time.Duration, what string, check func() error) {
	t.Helper()
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for deadline := time.Now().Add(within); ; {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s did not come within %s: %v", what, within, err)
		}
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatalf("%s did not come: %v", what, err)
		}
	}
}
