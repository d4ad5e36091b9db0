package local

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"time"

	"github.com/meshctl/meshctl/internal/local/network"
	"github.com/meshctl/meshctl/internal/local/runtime"
)

// Settings of one mesh. They are written to its state directory and read by
// all its processes.
type Settings struct {
	Name string `json:"name"`
	// Folder is where manifests and meshctl-local.yaml are, absolute; programs
	// with relative paths are found from it.
	Folder  string             `json:"folder,omitempty"`
	Domain  string             `json:"domain,omitempty"` // "" is cluster.local
	Publish runtime.Publishing `json:"publish"`
	// Closed keeps pods from reaching addresses outside of the mesh.
	Closed bool `json:"closed,omitempty"`
	// Reach are addresses of this machine's network that the control plane may reach,
	// also when the mesh is closed.
	Reach []netip.AddrPort `json:"reach,omitempty"`
	// Settle is how long an ending pod still serves while others learn that it
	// goes; 0 is half a second.
	Settle time.Duration `json:"settle,omitempty"`
	// Extra is the caller's own, for its Node hook.
	Extra json.RawMessage `json:"extra,omitempty"`
	// Network connects the pods; "" is namespaces where the machine allows them, else
	// explicit.
	Network network.Mode `json:"network,omitempty"`
	// Lacking is why Network is explicit although nobody asked for it.
	Lacking *Lacking `json:"lacking,omitempty"`
	// LogLevel of mesh.log: debug, info, warn or error. "" is info.
	LogLevel string `json:"logLevel,omitempty"`
}

// Lacking says why this machine has no namespaces for a mesh.
type Lacking struct {
	Cause string `json:"cause"`
	Fix   string `json:"fix"`
}

func (s Settings) withDefaults() Settings {
	if s.Name == "" {
		s.Name = DefaultName
	}
	if s.Domain == "" {
		s.Domain = "cluster.local"
	}
	if s.Settle == 0 {
		s.Settle = 500 * time.Millisecond
	}
	return s
}

func (s Settings) write(path string) error {
	b, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("encode settings: %w", err)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		return fmt.Errorf("write settings: %w", err)
	}
	return nil
}

func readSettings(path string) (Settings, error) {
	var s Settings
	b, err := os.ReadFile(path)
	if err != nil {
		return s, fmt.Errorf("read settings: %w", err)
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return s, fmt.Errorf("decode settings: %w", err)
	}
	return s.withDefaults(), nil
}
