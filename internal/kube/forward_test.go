package kube_test

import (
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/meshctl/meshctl/internal/kube"
	"github.com/meshctl/meshctl/internal/resource/source/kube/kubetest"
)

// patience is how long a client here waits for a server that says nothing.
const patience = 500 * time.Millisecond

func pemOf(s *httptest.Server) string {
	return base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
}

// node is a cluster with one pod, whose loopback is this machine's.
func node(t *testing.T) *kube.Client {
	t.Helper()
	api := kubetest.New()
	if err := api.Apply(`{"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "mesh", "name": "istiod"}}`); err != nil {
		t.Fatal(err)
	}
	api.Run(kubetest.Kubelet{Dial: func(_, _, port string) (net.Conn, error) { return net.Dial("tcp", "127.0.0.1:"+port) }})
	s := httptest.NewServer(api)
	t.Cleanup(s.Close)
	c, err := kube.New(kube.Options{Kubeconfig: kubeconfig(t, s.URL, ""), Timeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func portOf(t *testing.T, address string) int {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(u.Port())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func TestForward(t *testing.T) {
	t.Parallel()
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s", r.URL.Path, b)
	}))
	t.Cleanup(web.Close)
	f, err := node(t).Forward(t.Context(), "mesh", "istiod")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	client := http.Client{Transport: f.Transport(portOf(t, web.URL))}
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			body := strings.Repeat(strconv.Itoa(i), 10000)
			resp, err := client.Post("http://istiod/echo", "text/plain", strings.NewReader(body))
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			if got, err := io.ReadAll(resp.Body); err != nil || string(got) != "/echo "+body {
				t.Errorf("got %d bytes, %v", len(got), err)
			}
		})
	}
	all.Wait()
}

func TestForwardToAPortWhereNobodyListens(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	f, err := node(t).Forward(t.Context(), "mesh", "istiod")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	client := http.Client{Transport: f.Transport(port)}
	_, err = client.Get("http://istiod/")
	if err == nil || !strings.Contains(err.Error(), "port "+strconv.Itoa(port)+" of istiod.mesh") || !strings.Contains(err.Error(), "refused") {
		t.Errorf("got %v", err)
	}
}

func TestForwardedDeadline(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	f, err := node(t).Forward(t.Context(), "mesh", "istiod")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	c, err := f.Dial(l.Addr().(*net.TCPAddr).Port)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.SetDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestForwardToNoPod(t *testing.T) {
	t.Parallel()
	if _, err := node(t).Forward(t.Context(), "mesh", "gone"); err == nil || !strings.Contains(err.Error(), "forward ports of pod gone.mesh") {
		t.Errorf("got %v", err)
	}
}
