package identity

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Files of a workload's certificate in a folder, as Istio's agent names them.
const (
	fileChain = "cert-chain.pem"
	fileKey   = "key.pem"
	fileRoots = "root-cert.pem"
)

// SaveWorkload keeps a certificate in a folder, for a process to come. Only the owner
// can read it.
func SaveWorkload(dir string, w *Workload) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("keep certificate: %w", err)
	}
	for _, f := range []struct {
		name string
		text []byte
	}{{fileKey, w.KeyPEM}, {fileRoots, w.RootsPEM}, {fileChain, w.ChainPEM}} {
		path := filepath.Join(dir, f.name)
		if err := errors.Join(os.WriteFile(path+".new", f.text, 0o600), os.Rename(path+".new", path)); err != nil {
			return fmt.Errorf("keep certificate: %w", err)
		}
	}
	return nil
}

// LoadWorkload reads what SaveWorkload kept. What has expired is an error, as are
// files that do not belong together; os.ErrNotExist when nothing was kept.
func LoadWorkload(dir string) (*Workload, error) {
	var text [3][]byte
	for i, name := range []string{fileChain, fileRoots, fileKey} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return nil, fmt.Errorf("read certificate: %w", err)
		}
		text[i] = b
	}
	w, err := NewWorkload([]string{string(text[0]), string(text[1])}, text[2])
	if err != nil {
		return nil, fmt.Errorf("certificate in %s: %w", dir, err)
	}
	return w, nil
}

// TokenExpiry is when a token says that it ends; ok is false when it does not say.
// Nobody has vouched for it: it is for whoever holds the token.
func TokenExpiry(token string) (at time.Time, ok bool) {
	parts := strings.Split(strings.TrimSpace(token), ".")
	if len(parts) != 3 {
		return time.Time{}, false
	}
	var c struct {
		Expires float64 `json:"exp"`
	}
	if decodeSegment(parts[1], &c) != nil || c.Expires <= 0 {
		return time.Time{}, false
	}
	return time.Unix(int64(c.Expires), 0), true
}
