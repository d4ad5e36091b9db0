package cni

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func newInstaller(t *testing.T) *installer {
	t.Helper()
	dir := t.TempDir()
	in := &installer{
		Program: filepath.Join(dir, "meshproxy"), BinDir: filepath.Join(dir, "bin"), ConfDir: filepath.Join(dir, "net.d"), HostConfDir: "/etc/cni/net.d",
		KubeconfigName: "ZZZ-kubeconfig", Server: "https://10.96.0.1:443", TokenFile: filepath.Join(dir, "token"), CAFile: filepath.Join(dir, "ca"),
		ExcludeNamespaces: []string{"kube-system"}, Log: slog.New(slog.DiscardHandler),
	}
	for _, d := range []string{in.BinDir, in.ConfDir} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for f, text := range map[string]string{in.Program: "program", in.TokenFile: "secret\n", in.CAFile: "ca"} {
		write(t, f, text)
	}
	return in
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func plugins(t *testing.T, file string) (types []string, all map[string]any) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &all); err != nil {
		t.Fatal(err)
	}
	for _, p := range all["plugins"].([]any) {
		types = append(types, p.(map[string]any)["type"].(string))
	}
	return types, all
}

const bridgeList = `{"cniVersion":"1.0.0","name":"k8s","keep":true,"plugins":[{"type":"bridge","mtu":1500},{"type":"portmap"}]}`

func TestInstall(t *testing.T) {
	t.Parallel()
	in := newInstaller(t)
	if _, err := in.sync(); err == nil || !strings.Contains(err.Error(), "not configured yet") {
		t.Fatalf("before the cluster's own plugin: %v", err)
	}
	list := filepath.Join(in.ConfDir, "10-k8s.conflist")
	write(t, list, bridgeList)
	write(t, filepath.Join(in.ConfDir, "20-other.conflist"), bridgeList)
	changed, err := in.sync()
	if err != nil || !strings.HasSuffix(changed, "configuration") {
		t.Fatalf("%q, %v", changed, err)
	}
	types, all := plugins(t, list)
	if d := cmp.Diff([]string{"bridge", "portmap", Type}, types); d != "" || all["keep"] != true {
		t.Error(d, all)
	}
	kube := all["plugins"].([]any)[2].(map[string]any)["kubernetes"].(map[string]any)
	if kube["kubeconfig"] != "/etc/cni/net.d/ZZZ-kubeconfig" {
		t.Errorf("%v", kube)
	}
	if other, _ := plugins(t, filepath.Join(in.ConfDir, "20-other.conflist")); len(other) != 2 {
		t.Errorf("a configuration that is not in use was changed: %v", other)
	}
	info, err := os.Stat(filepath.Join(in.ConfDir, in.KubeconfigName))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("kubeconfig %v %v", info, err)
	}
	in.installed.Store(true)
	if changed, err = in.sync(); changed != "" || err != nil {
		t.Errorf("again: %q, %v", changed, err)
	}

	// The token is renewed; somebody writes the configuration anew.
	write(t, in.TokenFile, "newer")
	write(t, list, bridgeList)
	if changed, err = in.sync(); changed != "kubeconfig, configuration" || err != nil {
		t.Errorf("after changes: %q, %v", changed, err)
	}

	if err := in.remove(); err != nil {
		t.Fatal(err)
	}
	if types, _ := plugins(t, list); len(types) != 2 {
		t.Errorf("left over: %v", types)
	}
	left, err := os.ReadDir(in.BinDir)
	if err != nil || len(left) != 0 {
		t.Errorf("left over: %v %v", left, err)
	}
	if err := in.remove(); err != nil {
		t.Errorf("twice: %v", err)
	}
}

// A single plugin becomes a list, and is put out of the way of it.
func TestInstallBesideASinglePlugin(t *testing.T) {
	t.Parallel()
	in := newInstaller(t)
	write(t, filepath.Join(in.ConfDir, "10-net.conf"), `{"cniVersion":"0.4.0","name":"net","type":"bridge"}`)
	for range 2 {
		if _, err := in.sync(); err != nil {
			t.Fatal(err)
		}
	}
	types, all := plugins(t, filepath.Join(in.ConfDir, "10-net.conflist"))
	if d := cmp.Diff([]string{"bridge", Type}, types); d != "" || all["cniVersion"] != "0.4.0" || all["name"] != "net" {
		t.Error(d, all)
	}
	files, err := in.configurations()
	if err != nil || len(files) != 1 {
		t.Errorf("%v %v", files, err)
	}
}

func TestRepairDeletesOnlyWhatComesBack(t *testing.T) {
	t.Parallel()
	status := func(code string) string {
		return `"status":{"initContainerStatuses":[{"name":"istio-validation","state":{"waiting":{}},"lastState":{"terminated":{"exitCode":` + code + `}}}]}`
	}
	c := newCluster(t, map[string]string{"/api/v1/pods": `{"items":[
	 {"metadata":{"namespace":"a","name":"broken","ownerReferences":[{"controller":true}]},` + status("126") + `},
	 {"metadata":{"namespace":"a","name":"bare"},` + status("126") + `},
	 {"metadata":{"namespace":"a","name":"going","deletionTimestamp":"2026-01-01T00:00:00Z","ownerReferences":[{"controller":true}]},` + status("126") + `},
	 {"metadata":{"namespace":"a","name":"other","ownerReferences":[{"controller":true}]},` + status("1") + `},
	 {"metadata":{"namespace":"a","name":"well","ownerReferences":[{"controller":true}]},"status":{"initContainerStatuses":[
	   {"name":"istio-validation","state":{"terminated":{"exitCode":0}},"lastState":{"terminated":{"exitCode":126}}}]}}]}`})
	in := newInstaller(t)
	in.Node, in.Server = "n1", c.srv.URL
	write(t, in.CAFile, string(c.ca()))
	var log bytes.Buffer
	in.Log = slog.New(slog.NewTextHandler(&log, nil))
	in.repair(t.Context())
	if d := cmp.Diff([]string{"/api/v1/namespaces/a/pods/broken"}, c.deleted); d != "" {
		t.Errorf("deleted (-want +got):\n%s%s", d, log.String())
	}
	if !strings.Contains(log.String(), "pod=a/bare") || !strings.Contains(c.asked[0], "fieldSelector=spec.nodeName%3Dn1") {
		t.Errorf("%s %v", log.String(), c.asked)
	}
}
