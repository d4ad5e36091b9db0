package pod

import (
	"os"
	"strings"
)

// canSwitchUser reports whether this node has more than one user id, which is
// so when root started it.
func canSwitchUser() bool {
	b, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return false
	}
	fields := strings.Fields(string(b))
	return len(fields) >= 3 && fields[2] != "1"
}
