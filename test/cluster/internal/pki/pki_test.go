package pki

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"
)

// TestIssue checks a certificate as Kubernetes does: both ways, by name and by
// address, and who it says it is.
func TestIssue(t *testing.T) {
	folder := t.TempDir()
	ca, err := New(folder)
	if err != nil {
		t.Fatal(err)
	}
	if err := ca.Issue("kubelet", "system:node:node1", []string{"system:nodes"}, []string{"10.201.1.2", "node1"}); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(folder, "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	pair, err := tls.LoadX509KeyPair(filepath.Join(folder, "kubelet.crt"), filepath.Join(folder, "kubelet.key"))
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"10.201.1.2", "node1"} {
		for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth} {
			if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: host, KeyUsages: []x509.ExtKeyUsage{usage}}); err != nil {
				t.Errorf("%s: %v", host, err)
			}
		}
	}
	if s := pair.Leaf.Subject; s.CommonName != "system:node:node1" || len(s.Organization) != 1 || s.Organization[0] != "system:nodes" {
		t.Errorf("it is of %s", s)
	}
	if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: "other"}); err == nil {
		t.Error("it is for any host")
	}
	info, err := os.Stat(filepath.Join(folder, "ca.key"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key: %v %v", info.Mode(), err)
	}
}
