package cli_test

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/rogpeppe/go-internal/testscript"
	"sigs.k8s.io/yaml"

	"github.com/meshctl/meshctl/internal/resource"
	"github.com/meshctl/meshctl/internal/resource/source/kube/kubetest"
)

// startCluster is the script command "cluster NAME": a Kubernetes with the objects
// of NAME.yaml, and a kubeconfig at $KUBECONFIG with the context NAME. What answers on
// a port of a pod are files: NAMESPACE/POD/PORT/PATH, with ? as _; a port without a
// folder is refused. log.txt is what every container has written. Rights are taken
// away by the script command "forbid VERB RESOURCE…".
func startCluster(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: cluster NAME")
	}
	name := args[0]
	c := &fakeCluster{api: kubetest.New(), dir: ts.MkAbs("."), ports: map[string]string{}}
	for _, info := range resource.Kinds() {
		if strings.Contains(info.Kind.Group, "istio.io") || info.Kind.Group == "apps" {
			c.api.Define(info.Kind.Group, info.Plural, info.Kind.Kind, info.Namespaced, info.Versions...)
		}
	}
	for doc := range strings.SplitSeq(ts.ReadFile(name+".yaml"), "\n---\n") {
		b, err := yaml.YAMLToJSON([]byte(doc))
		ts.Check(err)
		ts.Check(c.api.Apply(string(b)))
	}
	c.api.Run(kubetest.Kubelet{Dial: c.dial, Log: c.log, Exec: c.exec})
	server := httptest.NewServer(c.api)
	ts.Defer(func() { server.CloseClientConnections(); server.Close() })
	ts.Defer(c.close)
	config := fmt.Sprintf(`{"apiVersion": "v1", "kind": "Config", "current-context": %q, "contexts": [{"name": %q, "context": {"cluster": %q}}],
		"clusters": [{"name": %q, "cluster": {"server": %q}}]}`, name, name, name, name, server.URL)
	ts.Check(os.WriteFile(ts.Getenv("KUBECONFIG"), []byte(config), 0o600))
	ts.Setenv("FORBID", filepath.Join(c.dir, "forbidden"))
	c.api.Forbid(func(verb, _, plural, namespace string) bool {
		b, err := os.ReadFile(filepath.Join(c.dir, "forbidden"))
		return err == nil && (strings.Contains(string(b), verb+" "+plural+" everywhere\n") ||
			namespace == "" && strings.Contains(string(b), verb+" "+plural+"\n"))
	})
}

// forbid is the script command "forbid VERB RESOURCE [everywhere]": the right is taken
// away in the whole cluster, or in each namespace, too.
func forbid(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: forbid VERB RESOURCE [everywhere]")
	}
	f, err := os.OpenFile(ts.Getenv("FORBID"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	ts.Check(err)
	defer f.Close()
	_, err = fmt.Fprintln(f, strings.Join(args, " "))
	ts.Check(err)
}

type fakeCluster struct {
	api *kubetest.API
	dir string

	mu    sync.Mutex
	ports map[string]string // namespace/pod/port: address
	ended []func()
}

func (c *fakeCluster) close() {
	for _, end := range c.ended {
		end()
	}
}

// dial starts what answers on a port of a pod, when there is something.
func (c *fakeCluster) dial(namespace, pod, port string) (net.Conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := filepath.Join(namespace, pod, port)
	if c.ports[key] == "" {
		dir := filepath.Join(c.dir, key)
		if _, err := os.Stat(dir); err != nil {
			return nil, errors.New("dial tcp 127.0.0.1:" + port + ": connect: connection refused")
		}
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			b, err := os.ReadFile(filepath.Join(dir, strings.ReplaceAll(strings.TrimPrefix(r.URL.RequestURI(), "/"), "?", "_")))
			if err != nil {
				http.NotFound(w, r)
				return
			}
			_, _ = w.Write(b)
		}))
		c.ended = append(c.ended, s.Close)
		c.ports[key] = s.Listener.Addr().String()
	}
	return net.Dial("tcp", c.ports[key])
}

func (c *fakeCluster) log(namespace, pod, container string) string {
	b, err := os.ReadFile(filepath.Join(c.dir, "log.txt"))
	if err != nil {
		return ""
	}
	return strings.ReplaceAll(string(b), "WHO", container+" of "+pod+"."+namespace)
}

func (c *fakeCluster) exec(namespace, pod, container string, command []string, stdin []byte) (string, int) {
	if command[0] == "false" {
		return "", 3
	}
	return namespace + "/" + pod + " " + container + " " + strings.Join(command, " ") + "\n" + string(stdin), 0
}
