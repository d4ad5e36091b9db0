package troubleshoot

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/poddial"
	"github.com/meshctl/meshctl/internal/cli/proxyconfig/dump"
	"github.com/meshctl/meshctl/internal/inspect"
	"github.com/meshctl/meshctl/internal/local/api"
	"github.com/meshctl/meshctl/internal/local/client"
	"github.com/meshctl/meshctl/internal/logline"
	"github.com/meshctl/meshctl/internal/whatif"
)

// Limits of what is asked of a running mesh.
const (
	adminPort = 15000
	patience  = 15 * time.Second // for the probe: longer than Envoy's default of 15 s for a route is no answer
	expiring  = time.Hour        // certificates live a day, and are renewed long before
)

// look asks the running mesh what objects do not tell. What is found stands behind a
// cause that the objects already show.
func (o *Options) look(ctx context.Context, d *inspect.Diagnosis) error {
	m, err := o.Env.Mesh(ctx)
	if err != nil {
		return nil //nolint:nilerr // the pods came from files: there is nobody to ask
	}
	if d.Cause != "" {
		return nil
	}
	pods, err := m.PodsIn(ctx, "")
	if err != nil {
		return err
	}
	var involved []api.Pod
	for _, want := range append([]whatif.Pod{d.Caller}, d.Callees...) {
		i := slices.IndexFunc(pods, func(p api.Pod) bool { return p.Name == want.Name && p.Namespace == want.Namespace })
		if i >= 0 {
			involved = append(involved, pods[i])
		}
	}
	for _, step := range []func(context.Context, *env.Mesh, *inspect.Diagnosis, []api.Pod) error{o.sync, o.certificates, o.probe} {
		if err := step(ctx, m, d, involved); err != nil || d.Cause != "" {
			return err
		}
	}
	return nil
}

func add(d *inspect.Diagnosis, check string, state inspect.State, what string, next ...string) {
	d.Checks = append(d.Checks, inspect.Check{Name: check, State: state, What: what, Next: next})
	if state == inspect.Failed {
		d.Cause, d.Stopped = what, 100
	}
}

// sync: has every proxy on the way acknowledged what it was sent?
func (o *Options) sync(ctx context.Context, m *env.Mesh, d *inspect.Diagnosis, pods []api.Pod) error {
	const check = "proxies"
	sessions, err := m.Sessions(ctx)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		add(d, check, inspect.Odd, "whether they are in sync is not known: "+err.Error())
		return nil //nolint:nilerr // it is said; other checks go on
	}
	for _, p := range pods {
		if p.Proxy == "none" {
			continue
		}
		name := p.Name + "." + p.Namespace
		s := sessions[name]
		if s == nil {
			add(d, check, inspect.Failed, "the proxy of "+name+" is not connected to the control plane: it has old configuration, or none", "meshctl logs "+name+" -c istio-proxy")
			return nil
		}
		for _, t := range s.Types {
			if t.Refusal != nil {
				add(d, check, inspect.Failed, fmt.Sprintf("the proxy of %s refuses %s: %s", name, strings.ToUpper(t.Short), t.Refusal.Text), "meshctl proxy-status "+name)
				return nil
			}
			if t.Stale {
				add(d, check, inspect.Odd, fmt.Sprintf("the proxy of %s has not yet acknowledged %s", name, strings.ToUpper(t.Short)))
			}
		}
	}
	add(d, check, inspect.Passed, "connected, and in sync")
	return nil
}

// certificates: are those that the proxies hold valid?
func (o *Options) certificates(ctx context.Context, m *env.Mesh, d *inspect.Diagnosis, pods []api.Pod) error {
	const check = "certificates"
	now, first := o.Env.Now(), time.Time{}
	var silent []string // pods whose proxies did not say, and why the first did not
	var why error
	for _, p := range pods {
		if p.Proxy == "none" {
			continue
		}
		secrets, err := held(ctx, m, p, now)
		if err != nil {
			silent, why = append(silent, p.Name), cmp.Or(why, err)
			continue
		}
		for _, s := range secrets {
			switch {
			case s.NotAfter.IsZero():
				continue
			case !s.Valid:
				add(d, check, inspect.Failed, fmt.Sprintf("certificate %s of the proxy of %s is not valid: it holds from %s to %s", s.Name, p.Name, when(s.NotBefore), when(s.NotAfter)),
					"meshctl proxy-config secret "+p.Name+"."+p.Namespace)
				return nil
			case s.Type == "Cert Chain" && s.NotAfter.Sub(now) < expiring:
				add(d, check, inspect.Odd, fmt.Sprintf("certificate %s of the proxy of %s ends at %s", s.Name, p.Name, when(s.NotAfter)))
			}
			if first.IsZero() || s.NotAfter.Before(first) {
				first = s.NotAfter
			}
		}
	}
	if len(silent) == 1 {
		add(d, check, inspect.Odd, fmt.Sprintf("the proxy of %s does not say which it holds: %v", silent[0], why))
	} else if len(silent) > 1 {
		add(d, check, inspect.Odd, fmt.Sprintf("the proxies of %s do not say which they hold: %v", strings.Join(silent, ", "), why))
	}
	if !first.IsZero() {
		add(d, check, inspect.Passed, "valid; the first ends at "+when(first))
	}
	return nil
}

func when(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func held(ctx context.Context, m *env.Mesh, p api.Pod, now time.Time) ([]dump.Secret, error) {
	data, err := m.AskProxy(ctx, p, adminPort, http.MethodGet, "/config_dump")
	if err != nil {
		return nil, err
	}
	c, err := dump.Parse(data)
	if err != nil {
		return nil, err
	}
	return c.Secrets(now), nil
}

// probe sends the request from the caller's pod.
func (o *Options) probe(ctx context.Context, m *env.Mesh, d *inspect.Diagnosis, pods []api.Pod) error {
	if !o.Probe || len(pods) == 0 || pods[0].Proxy == "gateway" {
		return nil
	}
	const check = "probe"
	if d.Method != http.MethodGet && d.Method != http.MethodHead && d.Method != http.MethodOptions {
		add(d, check, inspect.Odd, "not sent: "+d.Method+" may change something")
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if m.Cluster != nil {
		o.byCurl(ctx, m, d, pods)
		return nil
	}
	l, err := o.Env.Local(ctx)
	if err != nil {
		return err
	}
	dialer, err := poddial.New(ctx, l, pods[0])
	if err != nil {
		return err
	}
	if strings.HasPrefix(d.URL, "tcp://") || strings.HasPrefix(d.URL, "grpc://") {
		_, address, _ := strings.Cut(d.URL, "://")
		address, _, _ = strings.Cut(address, "/")
		conn, err := dialer.Dial(ctx, "tcp", address)
		if err != nil {
			add(d, check, inspect.Failed, "a connection from "+pods[0].Name+" fails: "+err.Error(), "meshctl logs "+pods[0].Name+" -c istio-proxy")
			return nil
		}
		conn.Close()
		add(d, check, inspect.Passed, "a connection from "+pods[0].Name+" is taken")
		return nil
	}
	req, err := http.NewRequestWithContext(ctx, d.Method, d.URL, nil)
	if err != nil {
		return err
	}
	id := requestID()
	req.Header.Set(idHeader, id)
	for _, h := range o.Question.Headers {
		if strings.EqualFold(h.Name, "host") {
			req.Host = h.Value
		}
		req.Header.Add(h.Name, h.Value)
	}
	asker := &http.Client{
		Transport:     &http.Transport{DialContext: dialer.Dial, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	start := o.Env.Now()
	resp, err := asker.Do(req)
	if err != nil {
		add(d, check, inspect.Failed, "the request from "+pods[0].Name+" gets no answer: "+err.Error(), "meshctl logs "+pods[0].Name+" -c istio-proxy")
		return nil
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 200)) // what came of it is shown
	took := o.Env.Now().Sub(start).Round(time.Millisecond)
	answered(d, resp.StatusCode, resp.Header.Get("x-envoy-upstream-service-time") != "", strings.TrimSpace(string(body)), took, pods[0])
	o.explain(ctx, m, d, pods, id)
	return nil
}

// idHeader is what proxies write into their logs of a request.
const idHeader = "x-request-id"

func requestID() string { return rand.Text() }

// explain puts what the access logs of the proxies tell of a probe that failed in the
// place of a guess; nothing, when they log nothing.
func (o *Options) explain(ctx context.Context, m *env.Mesh, d *inspect.Diagnosis, pods []api.Pod, id string) {
	last := &d.Checks[len(d.Checks)-1]
	if last.State != inspect.Failed {
		return
	}
	for _, p := range pods {
		if p.Proxy == "none" {
			continue
		}
		var log bytes.Buffer
		if err := m.Logs(ctx, p.Namespace, p.Name, client.LogOptions{Container: proxyContainer, Lines: logLines}, &log); err != nil {
			continue
		}
		entries, _, _ := logline.Read(&log) // what could be read counts
		for _, e := range entries {
			if e.RequestID != id || len(e.Flags) == 0 && (e.Details == "" || e.Details == "via_upstream") {
				continue
			}
			e.Pod = p.Name + "." + p.Namespace
			x := logline.Explain(e)
			if len(x.Says) == 0 {
				continue
			}
			last.What += "; its log says " + x.Says[0].Name + ": " + x.Says[0].What
			last.Next, d.Cause = x.Next, last.What
			return
		}
	}
}

const (
	proxyContainer = "istio-proxy"
	logLines       = 200 // of a log in which the probe is looked for
)

// answered says who answered the probe, and what it means.
func answered(d *inspect.Diagnosis, code int, byProgram bool, body string, took time.Duration, from api.Pod) {
	const check = "probe"
	what := fmt.Sprintf("%d after %s", code, took)
	switch {
	case code < 400:
		add(d, check, inspect.Passed, what)
	case byProgram && code < 500:
		add(d, check, inspect.Odd, what+": the program itself answers so; the mesh delivers the request")
	case byProgram:
		add(d, check, inspect.Failed, what+": the program itself answers so; the mesh delivers the request", "look into the program's log: meshctl logs "+d.To())
	default:
		if body != "" {
			what += fmt.Sprintf(" (%q)", body)
		}
		add(d, check, inspect.Failed, what+": a proxy answers so, though its configuration lets the request pass", "look for the response flag: meshctl logs "+from.Name+" -c istio-proxy")
	}
}

// byCurl lets the caller's own image send the request, if it can.
func (o *Options) byCurl(ctx context.Context, m *env.Mesh, d *inspect.Diagnosis, pods []api.Pod) {
	const check = "probe"
	from := pods[0]
	target := d.URL
	if strings.HasPrefix(target, "tcp://") || strings.HasPrefix(target, "grpc://") {
		add(d, check, inspect.Odd, "not sent: only requests of HTTP are sent from a pod of a cluster")
		return
	}
	args := []string{"curl", "-sS", "-o", "/dev/null", "-m", strconv.Itoa(int(patience.Seconds()) - 1), "-X", d.Method, "-w", "%{http_code} %{time_total} %header{x-envoy-upstream-service-time}"}
	id := requestID()
	args = append(args, "-H", idHeader+": "+id)
	for _, h := range o.Question.Headers {
		args = append(args, "-H", h.Name+": "+h.Value)
	}
	res, err := m.Exec(ctx, from.Namespace, from.Name, api.ExecRequest{Command: append(args, target), TimeoutSeconds: int(patience.Seconds())})
	if err != nil || res.ExitCode == 126 || res.ExitCode == 127 {
		add(d, check, inspect.Odd, "not sent: the image of "+from.Name+" has no curl")
		return
	}
	parts := strings.Fields(string(res.Stdout))
	if res.ExitCode != 0 || len(parts) < 2 {
		add(d, check, inspect.Failed, "the request from "+from.Name+" gets no answer: "+strings.TrimSpace(string(res.Stderr)), "meshctl logs "+from.Name+" -c istio-proxy")
		return
	}
	code, _ := strconv.Atoi(parts[0]) // curl prints a number
	seconds, _ := strconv.ParseFloat(parts[1], 64)
	answered(d, code, len(parts) > 2, "", time.Duration(seconds*float64(time.Second)).Round(time.Millisecond), from)
	o.explain(ctx, m, d, pods, id)
}
