package process_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/meshctl/meshctl/internal/local/localtest"
	"github.com/meshctl/meshctl/internal/local/process"
)

func children(t *testing.T) []string {
	t.Helper()
	var all []string
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range stats {
		b, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		fields := strings.Fields(string(b)[strings.LastIndexByte(string(b), ')')+1:])
		if fields[1] == "1" {
			all = append(all, string(b))
		}
	}
	return all
}

// Orphans are taken in; our own children are left to who waits for them.
func TestOrphansAreTakenIn(t *testing.T) {
	t.Parallel()
	localtest.InNode(t, func(t *testing.T) {
		go process.ReapOrphans(t.Context())
		for range 20 {
			// The shell ends before its child, which becomes ours.
			if out, err := exec.Command("sh", "-c", "(sleep 0.05; exit 3) & exit 0").CombinedOutput(); err != nil {
				t.Fatalf("our own child was taken away: %v %s", err, out)
			}
		}
		deadline := time.After(20 * time.Second)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for len(children(t)) > 0 {
			select {
			case <-tick.C:
			case <-deadline:
				t.Fatalf("left: %v", children(t))
			}
		}
	})
}
