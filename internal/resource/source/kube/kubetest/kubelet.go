package kubetest

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"
)

// Kubelet is what a node answers about the pods on it; a nil function answers 404.
type Kubelet struct {
	// Dial connects to a port of a pod's loopback, for port-forward.
	Dial func(namespace, pod string, port string) (net.Conn, error)
	// Log is what a container has written.
	Log func(namespace, pod, container string) string
	// Exec runs a command and gives its output and exit code.
	Exec func(namespace, pod, container string, command []string, stdin []byte) (out string, code int)
}

// Run gives the pods of the cluster a node.
func (a *API) Run(k Kubelet) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.kubelet = k
}

// streaming answers the parts of a pod that are streams, and reports whether it was one.
func (a *API) streaming(w http.ResponseWriter, r *http.Request, parts []string) bool {
	if len(parts) != 7 || parts[0] != "api" || parts[2] != "namespaces" || parts[4] != "pods" {
		return false
	}
	namespace, pod, what := parts[3], parts[5], parts[6]
	a.mu.Lock()
	k, forbid := a.kubelet, a.forbid
	_, there := a.objects["/pods"][namespace+"/"+pod]
	a.mu.Unlock()
	verb := map[string]string{"log": "get", "portforward": "create", "exec": "create"}[what]
	switch {
	case verb == "":
		return false
	case forbid != nil && forbid(verb, "", "pods/"+what, namespace):
		fail(w, http.StatusForbidden, "Forbidden", denial(verb, "", "pods/"+what, namespace))
	case !there:
		fail(w, http.StatusNotFound, "NotFound", fmt.Sprintf("pods %q not found", pod))
	case what == "log" && k.Log != nil:
		_, _ = io.WriteString(w, k.Log(namespace, pod, r.FormValue("container")))
	case what == "portforward" && k.Dial != nil:
		forward(w, r, func(port string) (net.Conn, error) { return k.Dial(namespace, pod, port) })
	case what == "exec" && k.Exec != nil:
		command(w, r, func(stdin []byte) (string, int) {
			return k.Exec(namespace, pod, r.FormValue("container"), r.URL.Query()["command"], stdin)
		})
	default:
		fail(w, http.StatusNotFound, "NotFound", "the pod has no node")
	}
	return true
}

// upgrade makes a connection with streams of the first protocol that both know.
func upgrade(w http.ResponseWriter, r *http.Request, protocol string) (httpstream.Connection, <-chan httpstream.Stream) {
	if _, err := httpstream.Handshake(r, w, []string{protocol}); err != nil {
		return nil, nil
	}
	streams := make(chan httpstream.Stream, 16)
	conn := spdy.NewResponseUpgrader().UpgradeResponse(w, r, func(s httpstream.Stream, _ <-chan struct{}) error {
		streams <- s
		return nil
	})
	return conn, streams
}

// forward connects each pair of streams to the port it names.
func forward(w http.ResponseWriter, r *http.Request, dial func(port string) (net.Conn, error)) {
	conn, streams := upgrade(w, r, "portforward.k8s.io")
	if conn == nil {
		return
	}
	defer conn.Close()
	failures := map[string]httpstream.Stream{}
	for {
		select {
		case <-conn.CloseChan():
			return
		case s := <-streams:
			id := s.Headers().Get("requestID")
			if s.Headers().Get("streamType") == "error" {
				failures[id] = s
				continue
			}
			go relay(s, failures[id], dial)
		}
	}
}

func relay(data, failures httpstream.Stream, dial func(port string) (net.Conn, error)) {
	defer data.Close()
	defer failures.Close()
	c, err := dial(data.Headers().Get("port"))
	if err != nil {
		fmt.Fprintf(failures, "error forwarding port: %v", err)
		return
	}
	defer c.Close()
	go func() {
		_, _ = io.Copy(c, data)
		if half, ok := c.(interface{ CloseWrite() error }); ok {
			_ = half.CloseWrite()
		}
	}()
	_, _ = io.Copy(data, c)
}

// command serves one exec over SPDY, in the fourth version of its protocol.
func command(w http.ResponseWriter, r *http.Request, run func(stdin []byte) (string, int)) {
	conn, streams := upgrade(w, r, "v4.channel.k8s.io")
	if conn == nil {
		return
	}
	defer conn.Close()
	wanted := []string{"error", "stdout"}
	for _, name := range []string{"stdin", "stderr"} {
		if v := r.FormValue(name); v == "true" || v == "1" {
			wanted = append(wanted, name)
		}
	}
	by := map[string]httpstream.Stream{}
	for len(by) < len(wanted) {
		select {
		case s := <-streams:
			by[s.Headers().Get("streamType")] = s
		case <-conn.CloseChan():
			return
		case <-time.After(time.Minute):
			return
		}
	}
	var stdin []byte
	if s := by["stdin"]; s != nil {
		stdin, _ = io.ReadAll(s)
	}
	out, code := run(stdin)
	_, _ = io.Copy(by["stdout"], strings.NewReader(out))
	status := Object{"kind": "Status", "apiVersion": "v1", "status": "Success"}
	if code != 0 {
		status = Object{
			"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NonZeroExitCode",
			"details": Object{"causes": []Object{{"reason": "ExitCode", "message": strconv.Itoa(code)}}},
		}
	}
	b, err := json.Marshal(status)
	if err != nil {
		panic(err) // plain values
	}
	_, _ = by["error"].Write(b)
	for _, s := range by {
		_ = s.Close()
	}
	select { // the client closes when it has read everything
	case <-conn.CloseChan():
	case <-time.After(time.Minute):
	}
}

// denial is the sentence of the API server's authorizers.
func denial(verb, group, plural, namespace string) string {
	where := "at the cluster scope"
	if namespace != "" {
		where = fmt.Sprintf("in the namespace %q", namespace)
	}
	return fmt.Sprintf("%s is forbidden: User %q cannot %s resource %q in API group %q %s", plural, "somebody", verb, plural, group, where)
}
