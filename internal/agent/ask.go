package agent

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// maxAnswer bounds what a subcommand reads of the sidecar's answer.
const maxAnswer = 256 << 20

// waitReady is "meshproxy wait": it returns when the sidecar of this pod is ready.
func waitReady(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("meshproxy wait", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	url := fs.String("url", "http://localhost:15021/healthz/ready", "what to ask")
	timeout := fs.Int("timeoutSeconds", 60, "how long to wait")
	period := fs.Int("periodMillis", 200, "how often to ask")
	once := fs.Int("requestTimeoutMillis", 500, "how long one answer may take")
	if err := fs.Parse(args); err != nil {
		return usageError("meshproxy wait: " + err.Error())
	}
	if fs.NArg() > 0 || *timeout <= 0 || *period <= 0 || *once <= 0 {
		return usageError("use: meshproxy wait [--timeoutSeconds N] [--periodMillis N] [--requestTimeoutMillis N] [--url URL]")
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(*timeout)*time.Second)
	defer cancel()
	client := &http.Client{Timeout: time.Duration(*once) * time.Millisecond}
	for {
		_, err := ask(ctx, client, http.MethodGet, *url)
		if err == nil {
			return nil
		}
		t := time.NewTimer(time.Duration(*period) * time.Millisecond)
		select {
		case <-ctx.Done():
			t.Stop()
			return fmt.Errorf("the sidecar is not ready after %d s: %w", *timeout, err)
		case <-t.C:
		}
	}
}

// request is "meshproxy request": one call of an interface that only this pod has.
func request(ctx context.Context, args []string, out io.Writer) error {
	fs := flag.NewFlagSet("meshproxy request", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	port := fs.Int("debug-port", 15000, "port on localhost: 15000 the proxy's admin, 15020 the agent")
	if err := fs.Parse(args); err != nil {
		return usageError("meshproxy request: " + err.Error())
	}
	if fs.NArg() != 2 || *port < 1 || *port > 65535 {
		return usageError("use: meshproxy request [--debug-port PORT] GET|POST PATH")
	}
	method := strings.ToUpper(fs.Arg(0))
	if method != http.MethodGet && method != http.MethodPost {
		return usageError(fmt.Sprintf("meshproxy request: %q is neither GET nor POST", fs.Arg(0)))
	}
	url := fmt.Sprintf("http://localhost:%d/%s", *port, strings.TrimPrefix(fs.Arg(1), "/"))
	body, err := ask(ctx, &http.Client{Timeout: time.Minute}, method, url)
	if err != nil {
		return err
	}
	_, err = out.Write(body)
	return err
}

func ask(ctx context.Context, client *http.Client, method, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s %s: %s: %s", method, url, resp.Status, strings.TrimSpace(string(body)))
	}
	return body, nil
}
