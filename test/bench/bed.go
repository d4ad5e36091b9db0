package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/meshctl/meshctl/internal/testenv/stockenvoy"
)

// bed is everything that a run needs: the backend, and the two proxies in front of it.
type bed struct {
	*settings
	dir     string
	self    string // this program, for its roles
	native  string // the program of the native proxy
	envoy   string
	version string // of Envoy
	keys    pki
	backend *process
	ports   backendPorts
	proxies [2]*proxyUnderTest // native, Envoy
}

// kind is one of the two proxies.
type kind int

const (
	native kind = iota
	envoy
)

func (k kind) String() string { return [...]string{"native", "envoy"}[k] }

// proxyUnderTest is a running proxy and its ports.
type proxyUnderTest struct {
	kind  kind
	ports ports
	*process
}

// prepare builds the proxy, starts the backend and both proxies.
func prepare(ctx context.Context, s *settings, dir string) (_ *bed, err error) {
	b := &bed{settings: s, dir: dir}
	defer func() {
		if err != nil {
			b.stop()
		}
	}()
	if s.against == "" {
		if err := b.useEnvoy(ctx); err != nil {
			return nil, err
		}
	}
	if b.self, err = os.Executable(); err != nil {
		return nil, err
	}
	b.native = filepath.Join(dir, "meshproxy")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", b.native, "github.com/meshctl/meshctl/cmd/meshproxy")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build meshproxy: %w\n%s", err, out)
	}
	if b.keys, err = newPKI(filepath.Join(dir, "pki")); err != nil {
		return nil, fmt.Errorf("make certificates: %w", err)
	}
	if b.backend, err = b.role(ctx, "backend", backendTask{Keys: b.keys}); err != nil {
		return nil, err
	}
	if err := readAnswer(b.backend, &b.ports); err != nil {
		return nil, err
	}
	for _, k := range []kind{native, envoy} {
		if b.proxies[k], err = b.startProxy(ctx, k, 0); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// useEnvoy finds the program to compare with.
func (b *bed) useEnvoy(ctx context.Context) (err error) {
	if b.envoy, err = stockenvoy.Locate(); err != nil {
		return err
	}
	out, err := exec.CommandContext(ctx, b.envoy, "--version").Output()
	if err != nil {
		return fmt.Errorf("ask %s for its version: %w", b.envoy, err)
	}
	b.version = versionOf(string(out))
	return nil
}

func (b *bed) stop() {
	b.stopProxies()
	b.backend.stop()
}

func (b *bed) stopProxies() {
	for i, p := range b.proxies {
		if p != nil {
			p.stop()
			b.proxies[i] = nil
		}
	}
}

// role starts this program as one of its roles, on the load's processor.
func (b *bed) role(ctx context.Context, name string, task any) (*process, error) {
	text, err := marshal(task)
	if err != nil {
		return nil, err
	}
	return start(ctx, name, b.loadCPU, filepath.Join(b.dir, name+".log"), b.self, name, text)
}

// startProxy starts a proxy on its processor and waits until it answers.
func (b *bed) startProxy(ctx context.Context, k kind, services int) (*proxyUnderTest, error) {
	p := &proxyUnderTest{kind: k}
	file, err := b.writeBootstrap(&p.ports, fmt.Sprintf("%s-%d.yaml", k, services), services)
	if err != nil {
		return nil, err
	}
	log := filepath.Join(b.dir, k.String()+".log")
	switch {
	case k == native:
		p.process, err = b.startNative(ctx, log, b.native, file)
	case b.against != "":
		p.process, err = b.startNative(ctx, log, b.against, file)
	default:
		// Istio's flags, but for the id of shared memory: nothing is restarted.
		p.process, err = start(ctx, "envoy", b.proxyCPU, log, b.envoy, "-c", file, "--concurrency", "1", "-l", "error",
			"--disable-hot-restart", "--drain-strategy", "immediate", "--file-flush-interval-msec", "1000")
	}
	if err != nil {
		return nil, err
	}
	if err := waitReady(ctx, p.ports.H1); err != nil {
		p.stop()
		return nil, fmt.Errorf("%s: %w; its log: %s", k, err, tail(log))
	}
	return p, nil
}

func (b *bed) startNative(ctx context.Context, log, program, config string) (*process, error) {
	return start(ctx, "meshproxy", b.proxyCPU, log, program, "serve", "--config", config, "--concurrency", "1")
}

// writeBootstrap chooses ports and writes the configuration.
func (b *bed) writeBootstrap(p *ports, name string, services int) (string, error) {
	p.Backend = b.ports
	if err := freePorts(&p.H1, &p.H1TLS, &p.H1Out, &p.H2, &p.GRPCTLS, &p.TCP, &p.Bulk); err != nil {
		return "", err
	}
	file := filepath.Join(b.dir, name)
	return file, os.WriteFile(file, []byte(bootstrap(*p, b.keys, services)), 0o600)
}

// freePorts chooses ports that nobody listened on a moment ago. Each is held until all
// are chosen: one that is given back at once may be given out again.
func freePorts(ports ...*int) (err error) {
	for _, port := range ports {
		l, listenErr := net.Listen("tcp", "127.0.0.1:0")
		if listenErr != nil {
			return fmt.Errorf("choose a port: %w", listenErr)
		}
		defer func() { err = errors.Join(err, l.Close()) }()
		*port = l.Addr().(*net.TCPAddr).Port
	}
	return nil
}

// waitReady asks until the answer is 200.
func waitReady(ctx context.Context, port int) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 2 * time.Second}
	var last error
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1:"+strconv.Itoa(port)+"/api/v1/ready", nil)
		if err != nil {
			return err
		}
		req.Host = host
		res, err := client.Do(req)
		if err == nil {
			_ = res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return nil
			}
			err = fmt.Errorf("status %s", res.Status)
		}
		last = err
		select {
		case <-ctx.Done():
			return fmt.Errorf("not ready: %w", last)
		case <-time.After(50 * time.Millisecond):
		}
	}
}
