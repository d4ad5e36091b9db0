package httpconn

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/meshctl/meshctl/internal/proxy/flow"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// combos are the protocols of client and upstream.
var combos = []struct {
	name string
	h2   bool
	up   snapshot.UpstreamProtocol
}{
	{"h1 to h1", false, snapshot.UpstreamHTTP1},
	{"h1 to h2", false, snapshot.UpstreamHTTP2},
	{"h2 to h1", true, snapshot.UpstreamHTTP1},
	{"h2 to h2", true, snapshot.UpstreamHTTP2},
}

func TestRequestsAndBodiesPassUnchanged(t *testing.T) {
	t.Parallel()
	for _, c := range combos {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			be := backend(t, func(w http.ResponseWriter, q *http.Request) {
				b, err := io.ReadAll(q.Body)
				if err != nil {
					t.Error(err)
				}
				w.Header().Set("X-Sum", fmt.Sprintf("%x", sha256.Sum256(b)))
				w.Header().Set("X-Path", q.URL.RequestURI())
				w.Header().Set("X-Id", q.Header.Get("X-Request-Id"))
				_, _ = w.Write(b)
			})
			r := start(t, all("be"), []*snapshot.Cluster{to("be", c.up, be)})
			cl := client(t, c.h2)
			rnd := rand.NewChaCha8([32]byte{1})
			for _, n := range []int{0, 1, 1000, 70_000, 3_000_000} {
				body := make([]byte, n)
				_, _ = rnd.Read(body)
				resp, got := r.do(cl, "POST", "/a/b?c=d", bytes.NewReader(body))
				if resp.StatusCode != http.StatusOK || got != string(body) || resp.Header.Get("X-Sum") != fmt.Sprintf("%x", sha256.Sum256(body)) {
					t.Fatalf("%d bytes: status %d, %d bytes back", n, resp.StatusCode, len(got))
				}
				if resp.Header.Get("X-Path") != "/a/b?c=d" || len(resp.Header.Get("X-Id")) != 36 {
					t.Errorf("path %q, request id %q", resp.Header.Get("X-Path"), resp.Header.Get("X-Id"))
				}
				if resp.Header.Get("Server") != "istio-envoy" || resp.Header.Get("X-Envoy-Upstream-Service-Time") == "" || resp.Header.Get("Date") == "" {
					t.Errorf("response headers %v", resp.Header)
				}
			}
			if rec := r.record(4); rec.Status != 200 || rec.Flags != 0 || rec.BytesReceived != 3_000_000 || rec.BytesSent != 3_000_000 || rec.Details != "via_upstream" {
				t.Errorf("record %+v", rec)
			}
		})
	}
}

func TestManyRequestsAtOnce(t *testing.T) {
	t.Parallel()
	for _, c := range combos {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			be := backend(t, func(w http.ResponseWriter, q *http.Request) { _, _ = io.WriteString(w, q.URL.Path) })
			r := start(t, all("be"), []*snapshot.Cluster{to("be", c.up, be)})
			cl := client(t, c.h2)
			var wg sync.WaitGroup
			for i := range 40 {
				wg.Go(func() {
					for j := range 25 {
						p := fmt.Sprintf("/%d/%d", i, j)
						if resp, got := r.do(cl, "GET", p, nil); resp.StatusCode != http.StatusOK || got != p {
							t.Errorf("%s: %d %q", p, resp.StatusCode, got)
						}
					}
				})
			}
			wg.Wait()
			r.record(999)
			r.on(func() {
				if n := r.server.Active(); n != 0 {
					t.Errorf("%d requests are still active", n)
				}
			})
		})
	}
}

func TestTrailersAndInterimResponsesPass(t *testing.T) {
	t.Parallel()
	for _, c := range combos {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			be := backend(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Trailer", "Grpc-Status")
				w.Header().Set("Link", "</a>")
				w.WriteHeader(http.StatusEarlyHints)
				_, _ = io.WriteString(w, "body")
				w.(http.Flusher).Flush() // the length is not known: there is room for trailers
				w.Header().Set("Grpc-Status", "0")
			})
			r := start(t, all("be"), []*snapshot.Cluster{to("be", c.up, be)})
			resp, got := r.do(client(t, c.h2), "GET", "/", nil, "TE", "trailers")
			if got != "body" || resp.Trailer.Get("Grpc-Status") != "0" {
				t.Errorf("%q, trailers %v", got, resp.Trailer)
			}
		})
	}
}

func TestRoutesThatAnswerByThemselves(t *testing.T) {
	t.Parallel()
	exact := func(p string) snapshot.RouteMatch {
		return snapshot.RouteMatch{Path: snapshot.PathMatch{Kind: snapshot.PathExact, Value: p}, Fraction: -1}
	}
	r := start(t, []*snapshot.Route{
		{Match: exact("/gone"), Direct: &snapshot.Direct{Status: 410, Body: []byte("gone for good")}},
		{Match: exact("/old"), Redirect: &snapshot.Redirect{Path: "/new", Code: 302}},
		{Match: exact("/nowhere"), Forward: &snapshot.Forward{Cluster: "unknown"}},
		{Match: exact("/empty"), Forward: &snapshot.Forward{Cluster: "empty"}},
	}, []*snapshot.Cluster{to("empty", snapshot.UpstreamHTTP1)})
	cl := client(t, false)
	for i, c := range []struct {
		path, body, location string
		status               int
		flags                flow.Flags
		details              string
	}{
		{"/gone", "gone for good", "", 410, 0, "direct_response"},
		{"/old", "", "http://" + r.addr + "/new", 302, 0, "direct_response"},
		{"/nowhere", "", "", 503, flow.FlagNoCluster, "cluster_not_found"},
		{"/empty", "no healthy upstream", "", 503, flow.FlagNoHealthyUpstream, "no_healthy_upstream"},
		{"/none", "", "", 404, flow.FlagNoRoute, "route_not_found"},
	} {
		resp, body := r.do(cl, "GET", c.path, nil)
		rec := r.record(i)
		if resp.StatusCode != c.status || body != c.body || resp.Header.Get("Location") != c.location || rec.Flags != c.flags || rec.Details != c.details {
			t.Errorf("%s: %d %q %q %s %s", c.path, resp.StatusCode, body, resp.Header.Get("Location"), rec.Flags, rec.Details)
		}
	}
}

func TestAnUpstreamThatRefusesConnectionsIsA503(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead := ln.Addr().String()
	_ = ln.Close()
	r := start(t, all("be"), []*snapshot.Cluster{to("be", snapshot.UpstreamHTTP1, dead)})
	resp, body := r.do(client(t, false), "GET", "/", nil)
	rec := r.record(0)
	if resp.StatusCode != http.StatusServiceUnavailable || rec.Flags != flow.FlagUpstreamConnectionFailure || !strings.Contains(body, "connection_failure") || !strings.Contains(rec.UpstreamFailure, "refused") {
		t.Errorf("%d %q, %s %q", resp.StatusCode, body, rec.Flags, rec.UpstreamFailure)
	}
}

func TestRetriesFindTheHostThatWorks(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead := ln.Addr().String()
	_ = ln.Close()
	var calls atomic.Int32
	be := backend(t, func(w http.ResponseWriter, q *http.Request) {
		b, _ := io.ReadAll(q.Body)
		if calls.Add(1)%3 == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write(b)
	})
	routes := all("be")
	routes[0].Forward.Retry = &snapshot.Retry{
		On: snapshot.RetryConnectFailure | snapshot.RetryGatewayError, Max: 5, PreviousHosts: true, HostAttempts: 5,
		Backoff: snapshot.Backoff{Base: time.Millisecond},
	}
	for _, proto := range []snapshot.UpstreamProtocol{snapshot.UpstreamHTTP1, snapshot.UpstreamHTTP2} {
		r := start(t, routes, []*snapshot.Cluster{to("be", proto, dead, be)})
		cl := client(t, false)
		for i := range 20 {
			resp, body := r.do(cl, "POST", "/", strings.NewReader("hello"))
			if resp.StatusCode != http.StatusOK || body != "hello" {
				t.Fatalf("request %d: %d %q (%+v)", i, resp.StatusCode, body, r.record(i))
			}
		}
	}
}

func TestRetriesEndAndSaySo(t *testing.T) {
	t.Parallel()
	var calls atomic.Int32
	be := backend(t, func(w http.ResponseWriter, _ *http.Request) {
		calls.Add(1)
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = io.WriteString(w, "broken")
	})
	routes := all("be")
	routes[0].Forward.Retry = &snapshot.Retry{On: snapshot.Retry5xx, Max: 2, Backoff: snapshot.Backoff{Base: time.Millisecond}}
	r := start(t, routes, []*snapshot.Cluster{to("be", snapshot.UpstreamHTTP1, be)})
	resp, body := r.do(client(t, false), "GET", "/", nil)
	rec := r.record(0)
	if resp.StatusCode != http.StatusInternalServerError || body != "broken" || calls.Load() != 3 || rec.Attempts != 3 || rec.Flags != flow.FlagUpstreamRetryLimit {
		t.Errorf("%d %q after %d calls: %+v", resp.StatusCode, body, calls.Load(), rec)
	}
}

func TestTimeouts(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	var calls atomic.Int32
	be := backend(t, func(_ http.ResponseWriter, q *http.Request) {
		if q.URL.Path == "/once" && calls.Add(1) > 1 {
			return
		}
		select {
		case <-release:
		case <-q.Context().Done():
		}
	})
	t.Cleanup(func() { close(release) })
	routes := all("be")
	routes[0].Forward.Timeout = 60 * time.Millisecond
	once := all("be")
	once[0].Match.Path = snapshot.PathMatch{Kind: snapshot.PathExact, Value: "/once"}
	once[0].Forward.Timeout = 5 * time.Second
	once[0].Forward.Retry = &snapshot.Retry{On: snapshot.Retry5xx, Max: 2, PerTryTimeout: 50 * time.Millisecond, Backoff: snapshot.Backoff{Base: time.Millisecond}}
	r := start(t, append(once, routes...), []*snapshot.Cluster{to("be", snapshot.UpstreamHTTP1, be)})
	cl := client(t, false)
	resp, body := r.do(cl, "GET", "/", nil)
	if rec := r.record(0); resp.StatusCode != http.StatusGatewayTimeout || body != "upstream request timeout" || rec.Flags != flow.FlagUpstreamRequestTimeout || rec.Details != "response_timeout" {
		t.Errorf("%d %q %+v", resp.StatusCode, body, rec)
	}
	if resp, _ = r.do(cl, "GET", "/once", nil); resp.StatusCode != http.StatusOK {
		t.Errorf("a try that timed out was not repeated: %d", resp.StatusCode)
	}
}

func TestAClientThatLeavesTakesItsRequestAlong(t *testing.T) {
	t.Parallel()
	began, ended := make(chan struct{}), make(chan struct{})
	be := backend(t, func(_ http.ResponseWriter, q *http.Request) {
		close(began)
		<-q.Context().Done()
		close(ended)
	})
	r := start(t, all("be"), []*snapshot.Cluster{to("be", snapshot.UpstreamHTTP1, be)})
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	<-began
	_ = c.Close()
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
		t.Fatal("the backend was not told")
	}
	if rec := r.record(0); rec.Flags != flow.FlagDownstreamConnectionTermination || rec.Status != 0 {
		t.Errorf("record %s %d %s", rec.Flags, rec.Status, rec.Details)
	}
}

func TestAnUpstreamThatBreaksOffBreaksTheResponse(t *testing.T) {
	t.Parallel()
	be := backend(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, "short")
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	})
	r := start(t, all("be"), []*snapshot.Cluster{to("be", snapshot.UpstreamHTTP1, be)})
	resp, err := client(t, false).Get("http://" + r.addr + "/")
	if err == nil {
		_, err = io.ReadAll(resp.Body)
		_ = resp.Body.Close()
	}
	if err == nil {
		t.Error("a cut-off response looked complete")
	}
	if rec := r.record(0); rec.Flags != flow.FlagUpstreamConnectionTermination {
		t.Errorf("%s %s", rec.Flags, rec.Details)
	}
}

func TestASlowClientHoldsTheUpstreamBackWithBoundedMemory(t *testing.T) {
	t.Parallel()
	const size = 64 << 20
	for _, c := range combos {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var sent atomic.Int64
			be := backend(t, func(w http.ResponseWriter, q *http.Request) {
				chunk := make([]byte, 64<<10)
				for sent.Load() < size {
					n, err := w.Write(chunk)
					if err != nil || q.Context().Err() != nil {
						return
					}
					sent.Add(int64(n))
				}
			})
			r := start(t, all("be"), []*snapshot.Cluster{to("be", c.up, be)})
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+r.addr+"/", nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := client(t, c.h2).Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = resp.Body.Close() }()
			// Nothing is read: the backend must come to a stop.
			last, still := int64(-1), 0
			for still < 5 {
				timer := time.NewTimer(50 * time.Millisecond)
				<-timer.C
				if n := sent.Load(); n == last {
					still++
				} else {
					last, still = n, 0
				}
			}
			if last >= size/2 {
				t.Fatalf("%d bytes were taken from the backend though nobody reads", last)
			}
			n, err := io.Copy(io.Discard, resp.Body)
			if err != nil || n < size {
				t.Fatalf("read %d, %v", n, err)
			}
		})
	}
}

func TestPoliciesFaultsAndCORS(t *testing.T) {
	t.Parallel()
	be := backend(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })
	routes := all("be")
	routes[0].Overrides = []snapshot.FilterOverride{
		{Name: "fault", Config: &snapshot.Fault{
			Headers:     []snapshot.HeaderMatch{{Name: "end-user", Kind: snapshot.HeaderString, Value: snapshot.StringMatch{Kind: snapshot.StringExact, Value: "jason"}}},
			AbortStatus: 418, AbortFraction: 1_000_000, Delay: 20 * time.Millisecond, DelayFraction: 1_000_000,
		}},
		{Name: "cors", Config: &snapshot.CORS{
			Origins: []snapshot.StringMatch{{Kind: snapshot.StringExact, Value: "https://a.example"}}, AllowMethods: "GET", MaxAge: "60", Fraction: -1, ForwardUnmatched: true,
		}},
	}
	deny := &snapshot.RBAC{Rules: &snapshot.Policies{Action: snapshot.ActionDeny, Policies: []snapshot.Policy{{
		Name:        "ns[default]-policy[no-admin]-rule[0]",
		Permissions: []snapshot.Rule{{Op: snapshot.RulePath, Str: &snapshot.StringMatch{Kind: snapshot.StringPrefix, Value: "/admin"}}},
		Principals:  []snapshot.Rule{{Op: snapshot.RuleAny}},
	}}}}
	r := start(t, routes, []*snapshot.Cluster{to("be", snapshot.UpstreamHTTP1, be)}, func(m *snapshot.HTTPManager, _ *snapshot.Snapshot) {
		m.Filters = []snapshot.HTTPFilter{
			{Name: "rbac", Config: deny},
			{Name: "fault", Config: &snapshot.Fault{}},
			{Name: "cors", Config: &snapshot.CORS{Empty: true}},
			{Name: "router", Config: &snapshot.Router{}},
		}
	})
	cl := client(t, false)
	// Every spelling of the path is the same to the policy.
	for i, p := range []string{"/admin", "/admin/x", "/x/../admin", "/%61dmin", "/./admin?q"} {
		resp, body := r.do(cl, "GET", p, nil)
		rec := r.record(i)
		if resp.StatusCode != http.StatusForbidden || body != "RBAC: access denied" || rec.Details != "rbac_access_denied_matched_policy[ns[default]-policy[no-admin]-rule[0]]" {
			t.Errorf("%s: %d %q %s", p, resp.StatusCode, body, rec.Details)
		}
	}
	resp, body := r.do(cl, "GET", "/", nil, "end-user", "jason")
	if rec := r.record(5); resp.StatusCode != http.StatusTeapot || rec.Flags != flow.FlagDelayInjected|flow.FlagFaultInjected {
		t.Errorf("fault: %d %q %s", resp.StatusCode, body, rec.Flags)
	}
	resp, _ = r.do(cl, "OPTIONS", "/", nil, "Origin", "https://a.example", "Access-Control-Request-Method", "GET")
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Access-Control-Allow-Origin") != "https://a.example" || resp.Header.Get("Access-Control-Allow-Methods") != "GET" {
		t.Errorf("preflight: %d %v", resp.StatusCode, resp.Header)
	}
	resp, body = r.do(cl, "GET", "/", nil, "Origin", "https://b.example")
	if resp.StatusCode != http.StatusOK || body != "ok" || resp.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("foreign origin: %d %v", resp.StatusCode, resp.Header)
	}
}

// With credentials "*" is a name like others to a browser: it is told what it asked
// for. Without them it is told "*". Who may not call is answered without any of it.
func TestPreflightsOfWildcards(t *testing.T) {
	t.Parallel()
	be := backend(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })
	for _, credentials := range []bool{false, true} {
		routes := all("be")
		routes[0].Overrides = []snapshot.FilterOverride{{Name: "cors", Config: &snapshot.CORS{
			Origins: []snapshot.StringMatch{{Kind: snapshot.StringExact, Value: "https://a.example"}}, AllowMethods: "*", AllowHeaders: "*",
			AllowCredentials: credentials, Fraction: -1,
		}}}
		r := start(t, routes, []*snapshot.Cluster{to("be", snapshot.UpstreamHTTP1, be)}, func(m *snapshot.HTTPManager, _ *snapshot.Snapshot) {
			m.Filters = []snapshot.HTTPFilter{{Name: "cors", Config: &snapshot.CORS{Empty: true}}, {Name: "router", Config: &snapshot.Router{}}}
		})
		cl := client(t, false)
		ask := func(origin string) http.Header {
			resp, _ := r.do(cl, "OPTIONS", "/", nil, "Origin", origin, "Access-Control-Request-Method", "PUT", "Access-Control-Request-Headers", "x-a, x-b")
			if resp.StatusCode != http.StatusOK {
				t.Errorf("preflight of %s: %d", origin, resp.StatusCode)
			}
			return resp.Header
		}
		methods, headers := "*", "*"
		if credentials {
			methods, headers = "PUT", "x-a, x-b"
		}
		if h := ask("https://a.example"); h.Get("Access-Control-Allow-Methods") != methods || h.Get("Access-Control-Allow-Headers") != headers {
			t.Errorf("with credentials %v: %v", credentials, h)
		}
		if h := ask("https://b.example"); h.Get("Access-Control-Allow-Origin") != "" || h.Get("Access-Control-Allow-Methods") != "" {
			t.Errorf("a foreign origin is told %v", h)
		}
	}
}

func TestAChangedPolicyCountsFromTheNextRequestOnTheSameConnection(t *testing.T) {
	t.Parallel()
	be := backend(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })
	for _, h2 := range []bool{false, true} {
		r := start(t, all("be"), []*snapshot.Cluster{to("be", snapshot.UpstreamHTTP1, be)})
		cl := client(t, h2)
		if resp, _ := r.do(cl, "GET", "/", nil); resp.StatusCode != http.StatusOK {
			t.Fatalf("before: %d", resp.StatusCode)
		}
		next := *r.mgr
		next.Filters = []snapshot.HTTPFilter{
			{Name: "rbac", Config: &snapshot.RBAC{Rules: &snapshot.Policies{Action: snapshot.ActionAllow}}}, {Name: "router", Config: &snapshot.Router{}},
		}
		var conns int
		r.on(func() {
			r.server.AdoptChains(func(*flow.Conn) *snapshot.Chain { return &snapshot.Chain{Name: "c", HTTP: &next} })
			conns = r.server.Conns()
		})
		resp, _ := r.do(cl, "GET", "/", nil)
		r.on(func() {
			if n := r.server.Conns(); n != conns || conns != 1 {
				t.Errorf("%d connections, then %d", conns, n)
			}
		})
		if resp.StatusCode != http.StatusForbidden {
			t.Errorf("after (HTTP/2: %v): %d", h2, resp.StatusCode)
		}
	}
}

func TestAnUnknownFilterRefusesRequests(t *testing.T) {
	t.Parallel()
	be := backend(t, func(http.ResponseWriter, *http.Request) { t.Error("the request came through") })
	r := start(t, all("be"), []*snapshot.Cluster{to("be", snapshot.UpstreamHTTP1, be)}, func(m *snapshot.HTTPManager, _ *snapshot.Snapshot) {
		m.Filters = []snapshot.HTTPFilter{{Name: "mystery", Config: 42}, {Name: "router", Config: &snapshot.Router{}}}
	})
	if resp, _ := r.do(client(t, false), "GET", "/", nil); resp.StatusCode != http.StatusInternalServerError {
		t.Errorf("status %d", resp.StatusCode)
	}
}

func TestMirrorsGetACopyAndNeverAnswer(t *testing.T) {
	t.Parallel()
	seen := make(chan string, 4)
	mirror := backend(t, func(w http.ResponseWriter, q *http.Request) {
		b, _ := io.ReadAll(q.Body)
		w.WriteHeader(http.StatusInternalServerError)
		seen <- q.Host + " " + q.URL.Path + " " + string(b)
	})
	be := backend(t, func(w http.ResponseWriter, q *http.Request) {
		b, _ := io.ReadAll(q.Body)
		_, _ = w.Write(b)
	})
	routes := all("be")
	routes[0].Forward.Mirrors = []snapshot.Mirror{{Cluster: "mirror", Fraction: -1}}
	r := start(t, routes, []*snapshot.Cluster{to("be", snapshot.UpstreamHTTP1, be), to("mirror", snapshot.UpstreamHTTP1, mirror)})
	for _, body := range []string{"", "hello"} {
		if resp, got := r.do(client(t, false), "POST", "/p", strings.NewReader(body), "Host", "reviews:9080"); resp.StatusCode != http.StatusOK || got != body {
			t.Errorf("%d %q", resp.StatusCode, got)
		}
		select {
		case got := <-seen:
			if got != "reviews-shadow:9080 /p "+body {
				t.Errorf("mirror got %q", got)
			}
		case <-time.After(5 * time.Second):
			t.Fatal("the mirror got nothing")
		}
	}
}

func TestWebSocketsBecomeTunnels(t *testing.T) {
	t.Parallel()
	be := backend(t, func(w http.ResponseWriter, q *http.Request) {
		if q.Header.Get("Upgrade") != "websocket" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		c, rw, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = c.Close() }()
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
		buf := make([]byte, 4)
		for {
			if _, err := io.ReadFull(rw, buf); err != nil {
				return
			}
			if _, err := c.Write(bytes.ToUpper(buf)); err != nil {
				return
			}
		}
	})
	r := start(t, all("be"), []*snapshot.Cluster{to("be", snapshot.UpstreamHTTP1, be)})
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	_, _ = io.WriteString(c, "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nabcd")
	head := make([]byte, 0, 512)
	for !bytes.Contains(head, []byte("ABCD")) {
		b := make([]byte, 256)
		n, err := c.Read(b)
		if err != nil {
			t.Fatalf("%v after %q", err, head)
		}
		head = append(head, b[:n]...)
	}
	if !bytes.HasPrefix(head, []byte("HTTP/1.1 101 ")) {
		t.Errorf("%q", head)
	}
	_, _ = io.WriteString(c, "efgh")
	got := make([]byte, 4)
	if _, err := io.ReadFull(c, got); err != nil || string(got) != "EFGH" {
		t.Errorf("%q %v", got, err)
	}
	_ = c.Close()
	if rec := r.record(0); rec.Status != 101 {
		t.Errorf("%+v", rec)
	}
	// An upgrade that is not allowed is refused.
	if got := r.raw("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, close\r\nUpgrade: chat\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 403") {
		t.Errorf("%q", got)
	}
}

func TestMalformedRequestsAreAnsweredAndClosed(t *testing.T) {
	t.Parallel()
	be := backend(t, func(http.ResponseWriter, *http.Request) { t.Error("a malformed request came through") })
	r := start(t, all("be"), []*snapshot.Cluster{to("be", snapshot.UpstreamHTTP1, be)})
	for in, want := range map[string]string{
		"GET / HTTP/1.1\r\n\r\n": "HTTP/1.1 400",
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n": "HTTP/1.1 400",
		"GET /%00 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n":                                      "HTTP/1.1 400",
		"GET /a%2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n":                                      "HTTP/1.1 400",
		"NONSENSE\r\n\r\n": "HTTP/1.1 400",
		"GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("y", 70<<10) + "\r\n\r\n": "HTTP/1.1 431",
		"\x16\x03\x01\x00\xa5\x01": "HTTP/1.1 400",
	} {
		if got := r.raw(in); !strings.HasPrefix(got, want) {
			t.Errorf("%.60q: %.60q, want %s", in, got, want)
		}
	}
}

func TestDrainingFinishesWhatIsRunning(t *testing.T) {
	t.Parallel()
	began, goOn := make(chan struct{}, 8), make(chan struct{})
	be := backend(t, func(w http.ResponseWriter, _ *http.Request) {
		began <- struct{}{}
		<-goOn
		_, _ = io.WriteString(w, "done")
	})
	for _, c := range combos[:3:3] {
		r := start(t, all("be"), []*snapshot.Cluster{to("be", c.up, be)})
		cl := client(t, c.h2)
		res := make(chan string, 1)
		go func() {
			resp, body := r.do(cl, "GET", "/", nil)
			res <- fmt.Sprint(resp.StatusCode, body, resp.Close)
		}()
		<-began
		r.on(func() { r.server.DrainChain(func(*flow.Conn) bool { return true }) })
		goOn <- struct{}{}
		if got := <-res; !strings.HasPrefix(got, "200done") {
			t.Errorf("%s: %s", c.name, got)
		}
	}
}
