package node

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// etcFiles are the files every pod has for itself, as Kubernetes gives them.
func etcFiles(cfg SandboxConfig) []File {
	var resolv strings.Builder
	for _, ns := range cfg.Nameservers {
		fmt.Fprintf(&resolv, "nameserver %s\n", ns)
	}
	if len(cfg.Search) > 0 {
		fmt.Fprintf(&resolv, "search %s\n", strings.Join(cfg.Search, " "))
	}
	resolv.WriteString("options ndots:5\n")

	var hosts strings.Builder
	hosts.WriteString("127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n")
	fmt.Fprintf(&hosts, "%s %s\n", cfg.IP, cfg.Hostname)
	for _, name := range slices.Sorted(maps.Keys(cfg.HostEntries)) {
		fmt.Fprintf(&hosts, "%s %s\n", cfg.HostEntries[name], name)
	}
	return []File{
		{Path: "/etc/resolv.conf", Content: []byte(resolv.String()), Mode: 0o644},
		{Path: "/etc/hosts", Content: []byte(hosts.String()), Mode: 0o644},
		{Path: "/etc/hostname", Content: []byte(cfg.Hostname + "\n"), Mode: 0o644},
	}
}

// filePath is where the content of the i-th file of a pod is kept.
func filePath(cfg SandboxConfig, i int) string {
	return filepath.Join(cfg.Dir, "files", strconv.Itoa(i))
}

func allFiles(cfg SandboxConfig) []File { return append(etcFiles(cfg), cfg.Files...) }

func writeEtc(cfg SandboxConfig) error {
	if err := os.MkdirAll(filepath.Join(cfg.Dir, "files"), 0o700); err != nil {
		return fmt.Errorf("make file directory of pod %s: %w", cfg.Name, err)
	}
	for i, f := range allFiles(cfg) {
		if err := os.WriteFile(filePath(cfg, i), f.Content, f.Mode); err != nil {
			return fmt.Errorf("write %s of pod %s: %w", f.Path, cfg.Name, err)
		}
	}
	return nil
}
