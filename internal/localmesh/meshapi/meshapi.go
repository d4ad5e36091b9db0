// Package meshapi is the API by which commands talk to the control plane of a
// local mesh, over the mesh's control socket: paths, types, and a client.
//
//	c := meshapi.New(mesh.HTTP())        // mesh: *local.Mesh
//	r, err := c.Apply(ctx, meshapi.ApplyRequest{Files: files})
package meshapi

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/meshctl/meshctl/internal/controlplane/xdsserve"
	"github.com/meshctl/meshctl/internal/diag"
)

// Paths on the control socket.
const (
	PathApply       = "/mesh/apply"       // POST ApplyRequest -> ChangeResponse
	PathDelete      = "/mesh/delete"      // POST DeleteRequest -> ChangeResponse
	PathObjects     = "/mesh/objects"     // GET ?kind=&namespace=&name= -> []Object
	PathDiagnostics = "/mesh/diagnostics" // GET -> []diag.Diagnostic
	PathSessions    = "/mesh/sessions"    // GET -> []xdsserve.Session
	PathWait        = "/mesh/wait"        // POST ?timeout= -> 204 when every proxy has what is applied
	PathInfo        = "/mesh/info"        // GET -> Info
	PathDebug       = "/mesh/debug/"      // GET: the control plane's debug pages
	PathOutage      = "/mesh/outage"      // POST ?for=60s: the control plane's ports go away for so long (tests)
	PathToken       = "/mesh/token"       // POST ?namespace=&serviceAccount=&ttl= -> Token
)

// File is a file as the user wrote it, so that findings name its lines.
type File struct {
	Name string `json:"name"`
	Data []byte `json:"data"`
}

// ApplyRequest puts the objects of files into the mesh, all or none.
type ApplyRequest struct {
	Files     []File `json:"files"`
	Namespace string `json:"namespace,omitempty"` // for objects without one; default "default"
	DryRun    bool   `json:"dryRun,omitempty"`
}

// DeleteRequest takes objects out: those of files, or those named.
type DeleteRequest struct {
	Files         []File `json:"files,omitempty"`
	Keys          []Key  `json:"keys,omitempty"`
	Namespace     string `json:"namespace,omitempty"`
	IgnoreMissing bool   `json:"ignoreMissing,omitempty"`
}

// Key names an object.
type Key struct {
	Group     string `json:"group,omitempty"`
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
}

// Change is what happened to one object: created, configured, unchanged, deleted.
type Change struct {
	Key
	Action string `json:"action"`
}

// ChangeResponse answers Apply and Delete. Findings are those of the files given;
// with an error among them nothing was changed.
type ChangeResponse struct {
	Changes  []Change          `json:"changes"`
	Findings []diag.Diagnostic `json:"findings,omitempty"`
}

// Object is an object in force.
type Object struct {
	Key
	APIVersion string          `json:"apiVersion"`
	Pos        diag.Pos        `json:"pos"`
	Source     string          `json:"source"`
	Created    time.Time       `json:"created,omitzero"`
	Raw        json.RawMessage `json:"raw"`
}

// Info describes the control plane.
type Info struct {
	Version     string    `json:"version"`
	APIVersion  string    `json:"apiVersion"`
	Started     time.Time `json:"started"`
	TrustDomain string    `json:"trustDomain"`
	RootExpires time.Time `json:"rootExpires"`
	Discovery   string    `json:"discovery"`
	Instance    string    `json:"instance"` // as ps shows it
	Sources     []string  `json:"sources"`
}

// Instance is one process of the control plane, with the proxies connected to it.
type Instance struct {
	Name       string             `json:"name"` // as ps shows it
	Namespace  string             `json:"namespace,omitempty"`
	Revision   string             `json:"revision,omitempty"`
	Version    string             `json:"version,omitempty"`
	APIVersion string             `json:"apiVersion,omitempty"`
	Cluster    string             `json:"cluster"` // where proxies are that name no cluster
	Sessions   []xdsserve.Session `json:"sessions,omitempty"`
	Problem    error              `json:"-"` // why it could not be asked; what is above is what was learned without it
}

// Token is what a machine needs to join the mesh.
type Token struct {
	Token     string `json:"token"`
	RootCert  string `json:"rootCert"`  // PEM
	Discovery string `json:"discovery"` // host:port of the control plane, as pods reach it
}

// Error is an answer that is not a success.
type Error struct {
	Status  int    `json:"-"`
	Message string `json:"error"`
	Fix     string `json:"fix,omitempty"`
}

func (e *Error) Error() string { return e.Message }

// Client calls the API.
type Client struct{ http *http.Client }

// New makes a client; h must connect to the control socket whatever the host.
func New(h *http.Client) *Client { return &Client{http: h} }

const maxAnswer = 256 << 20

func (c *Client) call(ctx context.Context, method, path string, q url.Values, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("encode request: %w", err)
		}
		body = bytes.NewReader(b)
	}
	u := "http://mesh" + path
	if len(q) > 0 {
		u += "?" + q.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, u, body)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("ask the mesh: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("read the mesh's answer: %w", err)
	}
	if resp.StatusCode/100 != 2 {
		e := &Error{Status: resp.StatusCode}
		if json.Unmarshal(b, e) != nil || e.Message == "" {
			e.Message = resp.Status
		}
		return e
	}
	if out == nil || len(b) == 0 {
		return nil
	}
	if err := json.Unmarshal(b, out); err != nil {
		return fmt.Errorf("decode the mesh's answer: %w", err)
	}
	return nil
}

// Apply changes the mesh. Check ChangeResponse.Findings for errors.
func (c *Client) Apply(ctx context.Context, r ApplyRequest) (ChangeResponse, error) {
	var out ChangeResponse
	return out, c.call(ctx, http.MethodPost, PathApply, nil, r, &out)
}

// Delete takes objects out.
func (c *Client) Delete(ctx context.Context, r DeleteRequest) (ChangeResponse, error) {
	var out ChangeResponse
	return out, c.call(ctx, http.MethodPost, PathDelete, nil, r, &out)
}

// Objects lists objects in force; empty arguments mean all.
func (c *Client) Objects(ctx context.Context, group, kind, namespace, name string) ([]Object, error) {
	q := url.Values{}
	for k, v := range map[string]string{"group": group, "kind": kind, "namespace": namespace, "name": name} {
		if v != "" {
			q.Set(k, v)
		}
	}
	var out []Object
	return out, c.call(ctx, http.MethodGet, PathObjects, q, nil, &out)
}

// Diagnostics are all present findings.
func (c *Client) Diagnostics(ctx context.Context) ([]diag.Diagnostic, error) {
	var out []diag.Diagnostic
	return out, c.call(ctx, http.MethodGet, PathDiagnostics, nil, nil, &out)
}

// Sessions are the connected proxies.
func (c *Client) Sessions(ctx context.Context) ([]xdsserve.Session, error) {
	var out []xdsserve.Session
	return out, c.call(ctx, http.MethodGet, PathSessions, nil, nil, &out)
}

// Wait returns when every connected proxy has acknowledged what is applied.
func (c *Client) Wait(ctx context.Context, timeout time.Duration) error {
	return c.call(ctx, http.MethodPost, PathWait, url.Values{"timeout": {timeout.String()}}, nil, nil)
}

// Instances is the one process that a local mesh has.
func (c *Client) Instances(ctx context.Context) ([]Instance, error) {
	info, err := c.Info(ctx)
	if err != nil {
		return nil, err
	}
	sessions, err := c.Sessions(ctx)
	if err != nil {
		return nil, err
	}
	return []Instance{{
		Name: info.Instance, Version: info.Version, APIVersion: info.APIVersion,
		Cluster: "local:" + strings.TrimPrefix(info.Instance, "istiod-"), Sessions: sessions,
	}}, nil
}

// Page is one of the control plane's debug pages, such as /debug/syncz; a local mesh
// has one process, and its control socket no other pages.
func (c *Client) Page(ctx context.Context, _ Instance, path string) ([]byte, error) {
	rest, ok := strings.CutPrefix(path, "/debug/")
	if !ok {
		return nil, &Error{Status: http.StatusNotFound, Message: "the control plane of a local mesh shows /debug/ only, not " + path}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://mesh"+PathDebug+rest, nil)
	if err != nil {
		return nil, fmt.Errorf("ask the mesh for %s: %w", path, err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask the mesh for %s: %w", path, err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("read the mesh's answer: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, &Error{Status: resp.StatusCode, Message: strings.TrimSpace(string(b))}
	}
	return b, nil
}

// Info describes the control plane.
func (c *Client) Info(ctx context.Context) (Info, error) {
	var out Info
	return out, c.call(ctx, http.MethodGet, PathInfo, nil, nil, &out)
}

// Outage takes the control plane's ports away for d and returns at once: what
// proxies do without it can be seen.
func (c *Client) Outage(ctx context.Context, d time.Duration) error {
	return c.call(ctx, http.MethodPost, PathOutage, url.Values{"for": {strconv.FormatInt(int64(d/time.Millisecond), 10) + "ms"}}, nil, nil)
}

// Token makes a token for a service account that is not bound to a pod.
func (c *Client) Token(ctx context.Context, namespace, serviceAccount string, ttl time.Duration) (Token, error) {
	var out Token
	q := url.Values{"namespace": {namespace}, "serviceAccount": {serviceAccount}, "ttl": {ttl.String()}}
	return out, c.call(ctx, http.MethodPost, PathToken, q, nil, &out)
}
