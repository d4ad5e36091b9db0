// Package client talks to a running local mesh over its control socket.
package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/meshctl/meshctl/internal/local/api"
)

// Client is one mesh's control API. Make it with New; it may be used by many
// goroutines and needs no closing.
type Client struct {
	socket string
	http   *http.Client
}

// Error is an answer that says no.
type Error struct {
	Status  int
	Message string
}

func (e *Error) Error() string { return e.Message }

// New makes a client for the socket at path. Nothing is contacted yet.
func New(path string) *Client {
	return &Client{socket: path, http: &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		},
	}}}
}

// HTTP is for endpoints that others added: any URL with this client's
// transport goes to the mesh, e.g. http://mesh/v1/objects.
func (c *Client) HTTP() *http.Client { return c.http }

func (c *Client) do(ctx context.Context, method, path string, query url.Values, body any) (*http.Response, error) {
	var in io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("encode request: %w", err)
		}
		in = bytes.NewReader(b)
	}
	u := url.URL{Scheme: "http", Host: "mesh", Path: path, RawQuery: query.Encode()}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), in)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask the local mesh: %w", err)
	}
	if resp.StatusCode >= 400 {
		defer resp.Body.Close()
		return nil, readError(resp)
	}
	return resp, nil
}

func readError(resp *http.Response) error {
	var e api.Error
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&e); err != nil || e.Message == "" {
		e.Message = resp.Status
	}
	return &Error{Status: resp.StatusCode, Message: e.Message}
}

func (c *Client) get(ctx context.Context, path string, out any) error {
	resp, err := c.do(ctx, http.MethodGet, path, nil, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return fmt.Errorf("read answer of the local mesh: %w", err)
	}
	return nil
}

func (c *Client) post(ctx context.Context, path string, query url.Values, body any) (*http.Response, error) {
	return c.do(ctx, http.MethodPost, path, query, body)
}

// Status is the mesh at a glance.
func (c *Client) Status(ctx context.Context) (api.Status, error) {
	var s api.Status
	return s, c.get(ctx, api.PathStatus, &s)
}

// Pods lists all pods.
func (c *Client) Pods(ctx context.Context) ([]api.Pod, error) {
	var pods []api.Pod
	return pods, c.get(ctx, api.PathPods, &pods)
}

// Stop asks the mesh to end; it does so after this returns.
func (c *Client) Stop(ctx context.Context) error {
	resp, err := c.post(ctx, api.PathStop, nil, nil)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// Events calls each with every event after the number, and with follow goes on
// until ctx ends or the mesh does (io.EOF is not an error then).
func (c *Client) Events(ctx context.Context, after uint64, follow bool, each func(api.Event) error) error {
	resp, err := c.do(ctx, http.MethodGet, api.PathEvents, url.Values{
		"after": {strconv.FormatUint(after, 10)}, "follow": {strconv.FormatBool(follow)},
	}, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	d := json.NewDecoder(resp.Body)
	for {
		var e api.Event
		err := d.Decode(&e)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read events: %w", err)
		}
		if err := each(e); err != nil {
			return err
		}
	}
}

func podPath(pattern, namespace, pod string) string {
	return strings.NewReplacer("{namespace}", url.PathEscape(namespace), "{pod}", url.PathEscape(pod)).Replace(pattern)
}

// LogOptions selects what of a log is copied.
type LogOptions struct {
	Container string // "" is the first
	Lines     int    // the last ones; negative: all
	Follow    bool
}

// Logs copies a container's output to w.
func (c *Client) Logs(ctx context.Context, namespace, pod string, o LogOptions, w io.Writer) error {
	resp, err := c.do(ctx, http.MethodGet, podPath(api.PathLogs, namespace, pod), url.Values{
		"container": {o.Container}, "lines": {strconv.Itoa(o.Lines)}, "follow": {strconv.FormatBool(o.Follow)},
	}, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(w, resp.Body); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("read log: %w", err)
	}
	return nil
}

// Exec runs a command in a pod.
func (c *Client) Exec(ctx context.Context, namespace, pod string, req api.ExecRequest) (api.ExecResult, error) {
	resp, err := c.post(ctx, podPath(api.PathExec, namespace, pod), nil, req)
	if err != nil {
		return api.ExecResult{}, err
	}
	defer resp.Body.Close()
	var r api.ExecResult
	if err := json.NewDecoder(resp.Body).Decode(&r); err != nil {
		return r, fmt.Errorf("read result: %w", err)
	}
	return r, nil
}

// Restart ends a pod so that a new one takes its place.
func (c *Client) Restart(ctx context.Context, namespace, pod string) error {
	resp, err := c.post(ctx, podPath(api.PathRestart, namespace, pod), nil, nil)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// Scale sets the number of replicas of a workload.
func (c *Client) Scale(ctx context.Context, kind, namespace, name string, replicas int) error {
	path := strings.NewReplacer("{kind}", url.PathEscape(kind), "{namespace}", url.PathEscape(namespace), "{name}", url.PathEscape(name)).Replace(api.PathScale)
	resp, err := c.post(ctx, path, url.Values{"replicas": {strconv.Itoa(replicas)}}, nil)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// Dial connects to ip:port from inside a pod ("namespace/name"), or from the
// node when pod is "". The caller closes the connection.
func (c *Client) Dial(ctx context.Context, pod, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", c.socket)
	if err != nil {
		return nil, fmt.Errorf("ask the local mesh: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	query := url.Values{"address": {address}}
	if pod != "" {
		query.Set("pod", pod)
	}
	_, err = fmt.Fprintf(conn, "GET %s?%s HTTP/1.1\r\nHost: mesh\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", api.PathDial, query.Encode(), api.Upgrade)
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("ask the local mesh: %w", err)
	}
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, nil) //nolint:bodyclose // what follows is the connection itself
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("ask the local mesh: %w", err)
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		defer conn.Close()
		return nil, readError(resp)
	}
	if !stop() {
		conn.Close()
		return nil, ctx.Err()
	}
	return &bufferedConn{Conn: conn, r: r}, nil
}

// bufferedConn first gives what came together with the answer.
type bufferedConn struct {
	net.Conn
	r *bufio.Reader
}

func (b *bufferedConn) Read(p []byte) (int, error) { return b.r.Read(p) }

// CloseWrite passes the end of the stream on.
func (b *bufferedConn) CloseWrite() error {
	if cw, ok := b.Conn.(interface{ CloseWrite() error }); ok {
		return cw.CloseWrite()
	}
	return errors.New("this connection cannot be half-closed")
}
