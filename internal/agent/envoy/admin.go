package envoy

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// adminTimeout bounds one question to Envoy.
const adminTimeout = 10 * time.Second

// call asks Envoy's admin interface. The body is the caller's to close.
func (p *Plane) call(method, path string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(context.Background(), method, "http://"+p.o.Admin.String()+path, http.NoBody)
	if err != nil {
		return nil, err
	}
	resp, err := p.admin.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask Envoy: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		b, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
		_ = resp.Body.Close()
		return nil, fmt.Errorf("ask Envoy for %s: %s: %s", path, resp.Status, bytes.TrimSpace(b))
	}
	return resp.Body, nil
}

// stats are counters and gauges whose names match a regular expression (RE2).
func (p *Plane) stats(filter string) (map[string]uint64, error) {
	body, err := p.call(http.MethodGet, "/stats?format=json&filter="+url.QueryEscape(filter))
	if err != nil {
		return nil, err
	}
	defer func() { _ = body.Close() }()
	var all struct {
		Stats []struct {
			Name  string          `json:"name"`
			Value json.RawMessage `json:"value"` // histograms have none
		} `json:"stats"`
	}
	if err := json.NewDecoder(body).Decode(&all); err != nil {
		return nil, fmt.Errorf("read Envoy's statistics: %w", err)
	}
	out := map[string]uint64{}
	for _, s := range all.Stats {
		var n uint64
		if json.Unmarshal(s.Value, &n) == nil {
			out[s.Name] = n
		}
	}
	return out, nil
}

// What tells that Envoy serves: it has taken clusters and listeners, all that the
// first listeners refer to has come, and its workers run.
const (
	statClusters  = "cluster_manager.cds.update_success"
	statListeners = "listener_manager.lds.update_success"
	statRejectedC = "cluster_manager.cds.update_rejected"
	statRejectedL = "listener_manager.lds.update_rejected"
	statWorkers   = "listener_manager.workers_started"
	statState     = "server.state"

	readyFilter = `^(cluster_manager\.cds|listener_manager\.lds)\.update_(success|rejected)$|^listener_manager\.workers_started$|^server\.state$`
)

// stateLive is server.state of an Envoy that serves.
const stateLive = 0

// Ready reports whether Envoy has everything to serve with. Once it has, it is
// ready as long as its process lives: an absent control plane takes nothing away.
func (p *Plane) Ready() (bool, string) {
	if p.ready.Load() {
		return true, ""
	}
	if !p.secrets.have() {
		return false, "no certificate yet"
	}
	s, err := p.stats(readyFilter)
	if err != nil {
		return false, "Envoy does not answer yet: " + err.Error()
	}
	switch {
	case s[statClusters] == 0 || s[statListeners] == 0:
		why := "no configuration yet"
		switch f := p.relay.failure.Load(); {
		case s[statRejectedC] > 0:
			why = "Envoy has refused its clusters; its log says which"
		case s[statRejectedL] > 0:
			why = "Envoy has refused its listeners; its log says which"
		case f != nil:
			why += ": the control plane has not been reached: " + *f
		}
		return false, why
	case s[statState] != stateLive || s[statWorkers] == 0:
		return false, "Envoy's listeners wait for routes or secrets"
	}
	p.ready.Store(true)
	return true, ""
}

// Drain tells clients to go, and stops listening when the drain time is over.
func (p *Plane) Drain(inboundOnly bool) {
	path := "/drain_listeners?graceful"
	if inboundOnly {
		path += "&inboundonly"
	}
	for _, path := range []string{"/healthcheck/fail", path} {
		body, err := p.call(http.MethodPost, path)
		if err != nil {
			p.log.Warn("Envoy is not drained", "err", err)
			return
		}
		_ = body.Close()
	}
}

// Connections is the number of connections that clients have open.
func (p *Plane) Connections() int {
	s, err := p.stats(`^listener\..*\.downstream_cx_active$`)
	if err != nil {
		return 0 // it does not serve
	}
	n := uint64(0)
	for name, v := range s {
		if !strings.HasPrefix(name, "listener.admin.") && !strings.Contains(name, ".worker_") {
			n += v
		}
	}
	return int(n)
}

// Envoy puts its own name before metrics that loggers make; dashboards know the
// mesh's without.
const (
	meshPrefix = "istio_"
	ownPrefix  = "envoy_" + meshPrefix
	typeLine   = "# TYPE "
)

// WriteMetrics writes what Envoy counts, the mesh's metrics under their names.
func (p *Plane) WriteMetrics(w io.Writer) error {
	body, err := p.call(http.MethodGet, "/stats/prometheus")
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }()
	return rename(w, body)
}

// rename copies Prometheus' text with names as meshes have them.
func rename(w io.Writer, r io.Reader) error {
	in, out := bufio.NewReader(r), bufio.NewWriter(w)
	for {
		line, err := in.ReadSlice('\n')
		begins := !errors.Is(err, bufio.ErrBufferFull)
		rest := line
		if after, ok := bytes.CutPrefix(rest, []byte(typeLine)); ok {
			_, _ = out.WriteString(typeLine)
			rest = after
		}
		if after, ok := bytes.CutPrefix(rest, []byte(ownPrefix)); ok {
			_, _ = out.WriteString(meshPrefix)
			rest = after
		}
		_, _ = out.Write(rest)
		for !begins { // the rest of a long line, as it is
			line, err = in.ReadSlice('\n')
			_, _ = out.Write(line)
			begins = !errors.Is(err, bufio.ErrBufferFull)
		}
		if errors.Is(err, io.EOF) {
			return out.Flush()
		}
		if err != nil {
			return errors.Join(fmt.Errorf("read Envoy's metrics: %w", err), out.Flush())
		}
	}
}
