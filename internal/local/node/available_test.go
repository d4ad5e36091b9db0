package node_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/meshctl/meshctl/internal/local/node"
)

func TestExplain(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		err     error
		setting string // file below /proc/sys and its content
		want    string // in the message; "" for unchanged
	}{
		"debian":         {syscall.EPERM, "kernel/unprivileged_userns_clone=0", "kernel.unprivileged_userns_clone is 0"},
		"ubuntu":         {syscall.EACCES, "kernel/apparmor_restrict_unprivileged_userns=1", "AppArmor"},
		"switched off":   {syscall.ENOSPC, "user/max_user_namespaces=0", "user.max_user_namespaces is 0"},
		"limit":          {syscall.EUSERS, "", "limit"},
		"no kernel part": {syscall.ENOSYS, "", "CONFIG_USER_NS"},
		"container":      {syscall.EPERM, "", "security policy"},
		"something else": {syscall.EIO, "user/max_user_namespaces=0", ""},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := t.TempDir()
			if path, value, ok := strings.Cut(tc.setting, "="); ok {
				path = filepath.Join(root, "proc/sys", path)
				if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(value+"\n"), 0o644)); err != nil {
					t.Fatal(err)
				}
			}
			in := fmt.Errorf("start node: %w", tc.err)
			got := node.Explain(in, root)
			var unavailable *node.UnavailableError
			switch {
			case tc.want == "" && got != in: //nolint:errorlint // it must be the same, not one that wraps it
				t.Errorf("changed to %v", got)
			case tc.want != "" && (!errors.As(got, &unavailable) || unavailable.Fix == "" || !strings.Contains(got.Error(), tc.want) || !errors.Is(got, tc.err)):
				t.Errorf("got %v, want %q", got, tc.want)
			}
			if node.Explain(got, root) != got { //nolint:errorlint // the same, not wrapped again
				t.Error("explaining twice changes the explanation")
			}
		})
	}
}

func TestCheckHere(t *testing.T) {
	t.Parallel()
	if err := node.Check("/"); err != nil {
		t.Errorf("the other tests of this package run here, but: %v", err)
	}
}
