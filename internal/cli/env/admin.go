package env

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/kube"
	"github.com/meshctl/meshctl/internal/local/api"
)

// MaxAnswer bounds what is read of a proxy, or of a file with what one said.
const MaxAnswer = 512 << 20

// AskProxy asks the admin interface of a pod's proxy.
func (m *Mesh) AskProxy(ctx context.Context, p api.Pod, port int, method, path string) ([]byte, error) {
	name := p.Name + "." + p.Namespace
	req, err := http.NewRequestWithContext(ctx, method, "http://localhost"+path, nil)
	if err != nil {
		return nil, fmt.Errorf("ask the proxy of %s: %w", name, err)
	}
	resp, err := m.HTTP(p, port).Do(req)
	var cluster *kube.Error
	if errors.As(err, &cluster) {
		return nil, cluster // it is not the proxy that does not answer
	}
	if err != nil {
		return nil, exit.New(exit.Unreachable, "the proxy of %s does not answer", name).Because(rootOf(err)).Try("meshctl logs %s -c istio-proxy", name)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, MaxAnswer+1))
	switch {
	case err != nil:
		return nil, exit.New(exit.Unreachable, "the proxy of %s broke off", name).Because(err)
	case len(body) > MaxAnswer:
		return nil, exit.Failuref("the proxy of %s says more than %d bytes", name, MaxAnswer)
	case resp.StatusCode != http.StatusOK:
		return nil, exit.Failuref("the proxy of %s refuses %s", name, path).Because(errors.New(resp.Status + ": " + strings.TrimSpace(string(bytes.TrimSpace(body)))))
	}
	return body, nil
}

// rootOf leaves out what net/http puts around an error.
func rootOf(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}
