package accesslog_test

import (
	"bytes"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/meshctl/meshctl/internal/proxy/accesslog"
	"github.com/meshctl/meshctl/internal/proxy/codec"
	"github.com/meshctl/meshctl/internal/proxy/flow"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

func text(parts ...snapshot.FormatPart) *snapshot.Format { return &snapshot.Format{Parts: parts} }

func line() *snapshot.Format {
	return text(snapshot.FormatPart{Op: snapshot.OpResponseCode}, snapshot.FormatPart{Text: " "},
		snapshot.FormatPart{Op: snapshot.OpResponseCodeDetails}, snapshot.FormatPart{Text: " "},
		snapshot.FormatPart{Op: snapshot.OpConnectionTerminationDetails}, snapshot.FormatPart{Text: "\n"})
}

func logTo(path string) *snapshot.AccessLog {
	return &snapshot.AccessLog{Name: "test", File: &snapshot.FileLog{Path: path, Text: line()}}
}

func httpRecord(logs ...*snapshot.AccessLog) *flow.Record {
	r := &flow.Record{
		Conn: &flow.Conn{
			Listener: &snapshot.Listener{Name: "l"}, Chain: &snapshot.Chain{HTTP: &snapshot.HTTPManager{AccessLogs: logs}},
			Remote: netip.MustParseAddrPort("10.0.0.1:1"),
		},
		Protocol: codec.HTTP11, GRPCStatus: -1, Status: 200, Details: "via_upstream",
	}
	r.Req.AddString(":path", "/x")
	return r
}

// buffer is a writer that tells of every write.
type buffer struct {
	mu    sync.Mutex
	b     bytes.Buffer
	wrote chan struct{}
}

func newBuffer() *buffer { return &buffer{wrote: make(chan struct{}, 100)} }

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	defer func() { b.wrote <- struct{}{} }()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func TestConsoleLinesComeWithoutClose(t *testing.T) {
	t.Parallel()
	out := newBuffer()
	files := accesslog.NewFiles(accesslog.Options{Stdout: out})
	defer files.Close()
	files.Recorder().Done(httpRecord(logTo("/dev/stdout")))
	select {
	case <-out.wrote:
	case <-time.After(10 * time.Second):
		t.Fatal("nothing was written")
	}
	if got := out.String(); got != "200 via_upstream -\n" {
		t.Errorf("got %q", got)
	}
}

func TestDeniedRequestNamesThePolicy(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	files := accesslog.NewFiles(accesslog.Options{})
	r := httpRecord(logTo(path))
	r.Status, r.Details = 403, "rbac_access_denied_matched_policy[ns[default]-policy[deny-all]-rule[0]]"
	files.Recorder().Done(r)
	files.Close()
	if got := read(t, path); got != "403 rbac_access_denied_matched_policy[ns[default]-policy[deny-all]-rule[0]] -\n" {
		t.Errorf("got %q", got)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestLogsAreThoseOfTheChain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at := func(n string) *snapshot.AccessLog { return logTo(filepath.Join(dir, n)) }
	files := accesslog.NewFiles(accesslog.Options{})
	w := files.Recorder()
	conn := func(c *snapshot.Chain) *flow.Record {
		return &flow.Record{GRPCStatus: -1, Conn: &flow.Conn{Listener: &snapshot.Listener{AccessLogs: []*snapshot.AccessLog{at("listener")}}, Chain: c}}
	}
	tcp := conn(&snapshot.Chain{TCP: &snapshot.TCPProxy{AccessLogs: []*snapshot.AccessLog{at("tcp")}}})
	tcp.ConnEnd = "rbac_access_denied_matched_policy[p]"
	none := conn(nil)
	none.Details = "filter_chain_not_found"
	w.Done(tcp)
	w.Done(none)
	w.Done(httpRecord(at("http")))
	files.Close()
	for name, want := range map[string]string{
		"tcp": "0 - rbac_access_denied_matched_policy[p]\n", "listener": "0 filter_chain_not_found -\n", "http": "200 via_upstream -\n",
	} {
		if got := read(t, filepath.Join(dir, name)); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

func TestReopenFollowsRotation(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	files := accesslog.NewFiles(accesslog.Options{FlushInterval: time.Millisecond})
	w, log := files.Recorder(), logTo(path)
	w.Done(httpRecord(log))
	waitFor(t, func() bool { b, _ := os.ReadFile(path); return len(b) > 0 })
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	files.Reopen()
	w.Done(httpRecord(log))
	files.Close()
	if got := read(t, path); got != "200 via_upstream -\n" {
		t.Errorf("new file has %q", got)
	}
}

func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	deadline := time.After(10 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("did not happen")
		}
	}
}

// stuck is a disk that does not answer.
type stuck struct{ free chan struct{} }

func (s stuck) Write(p []byte) (int, error) { <-s.free; return len(p), nil }

func TestSlowFileDropsLinesAndNeverBlocks(t *testing.T) {
	t.Parallel()
	s := stuck{make(chan struct{})}
	files := accesslog.NewFiles(accesslog.Options{Stderr: s, MaxBuffer: 1000, ConsoleInterval: time.Millisecond})
	w, r := files.Recorder(), httpRecord(logTo("/dev/stderr"))
	const n = 500
	for range n {
		w.Done(r)
	}
	st := files.Stats()
	if st.Dropped == 0 || st.Written+st.Dropped != n {
		t.Errorf("written %d, dropped %d of %d", st.Written, st.Dropped, n)
	}
	close(s.free)
	files.Close()
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("no space left") }

func TestFailedWritesAreCounted(t *testing.T) {
	t.Parallel()
	files := accesslog.NewFiles(accesslog.Options{Stdout: broken{}})
	files.Recorder().Done(httpRecord(logTo("/dev/stdout")))
	files.Close()
	if files.Stats().Failed != 1 {
		t.Errorf("failed %d", files.Stats().Failed)
	}
}

func TestLinesOfManyWorkersStayWhole(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	files := accesslog.NewFiles(accesslog.Options{FlushInterval: time.Millisecond})
	log := logTo(path)
	const workers, each = 4, 2000
	var wg sync.WaitGroup
	for range workers {
		w := files.Recorder()
		wg.Go(func() {
			r := httpRecord(log)
			for range each {
				w.Done(r)
			}
		})
	}
	wg.Wait()
	files.Close()
	lines := strings.Split(strings.TrimSuffix(read(t, path), "\n"), "\n")
	if len(lines) != workers*each {
		t.Fatalf("%d lines", len(lines))
	}
	for _, l := range lines {
		if l != "200 via_upstream -" {
			t.Fatalf("line %q", l)
		}
	}
}

func TestSinksThatAreNotSupportedAreNamed(t *testing.T) {
	t.Parallel()
	for want, l := range map[string]*snapshot.AccessLog{
		"gRPC": {Name: "a", GRPC: &snapshot.GRPCLog{}}, "OpenTelemetry": {Name: "a", OTLP: &snapshot.OTLPLog{}},
		"statistics": {Name: "a", Stats: &snapshot.StatsLog{}}, "no sink": {Name: "a"}, "no format": {Name: "a", File: &snapshot.FileLog{}},
	} {
		if err := accesslog.Check(l); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), `"a"`) {
			t.Errorf("want an error about %s, got %v", want, err)
		}
	}
}

func TestFilters(t *testing.T) {
	t.Parallel()
	expr, err := snapshot.ParseExpr(`response.code >= 500`)
	if err != nil {
		t.Fatal(err)
	}
	r := httpRecord()
	r.Status, r.End, r.Flags = 503, 20*time.Millisecond, flow.FlagUpstreamConnectionFailure|flow.FlagUpstreamRetryLimit
	yes := &snapshot.LogFilter{Kind: snapshot.LogStatus, Compare: snapshot.CompareGE, Value: 500}
	no := &snapshot.LogFilter{Kind: snapshot.LogStatus, Compare: snapshot.CompareLE, Value: 499}
	for i, c := range []struct {
		f    snapshot.LogFilter
		want bool
	}{
		{*yes, true},
		{*no, false},
		{snapshot.LogFilter{Kind: snapshot.LogStatus, Compare: snapshot.CompareNE, Value: 503}, false},
		{snapshot.LogFilter{Kind: snapshot.LogDuration, Compare: snapshot.CompareGE, Value: 20}, true},
		{snapshot.LogFilter{Kind: snapshot.LogDuration, Compare: snapshot.CompareGE, Value: 21}, false},
		{snapshot.LogFilter{Kind: snapshot.LogAnd, Subs: []*snapshot.LogFilter{yes, no}}, false},
		{snapshot.LogFilter{Kind: snapshot.LogOr, Subs: []*snapshot.LogFilter{no, yes}}, true},
		{snapshot.LogFilter{Kind: snapshot.LogResponseFlag}, true},
		{snapshot.LogFilter{Kind: snapshot.LogResponseFlag, Flags: []string{"URX"}}, true},
		{snapshot.LogFilter{Kind: snapshot.LogResponseFlag, Flags: []string{"NR"}}, false},
		{snapshot.LogFilter{Kind: snapshot.LogGRPCStatus, Statuses: []string{"UNAVAILABLE"}}, true},
		{snapshot.LogFilter{Kind: snapshot.LogGRPCStatus, Statuses: []string{"UNAVAILABLE"}, Exclude: true}, false},
		{snapshot.LogFilter{Kind: snapshot.LogType, Types: []string{"DownstreamEnd"}}, true},
		{snapshot.LogFilter{Kind: snapshot.LogCEL, Expr: expr}, true},
		{snapshot.LogFilter{Kind: snapshot.LogRuntime, Fraction: 0}, false},
		{snapshot.LogFilter{Kind: snapshot.LogRuntime, Fraction: 1_000_000}, true},
		{snapshot.LogFilter{Kind: snapshot.LogTraceable}, false},
		{snapshot.LogFilter{Kind: snapshot.LogMetadata, MatchIfAbsent: true}, true},
	} {
		if got := accesslog.Keep(&c.f, r); got != c.want {
			t.Errorf("filter %d (kind %d): %v", i, c.f.Kind, got)
		}
	}
}

func TestJSONLine(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	files := accesslog.NewFiles(accesslog.Options{})
	files.Recorder().Done(httpRecord(&snapshot.AccessLog{File: &snapshot.FileLog{Path: path, JSON: &snapshot.JSONFormat{
		Fields: []snapshot.JSONField{{Key: "response_code", Value: text(snapshot.FormatPart{Op: snapshot.OpResponseCode})}},
	}}}))
	files.Close()
	if got := read(t, path); got != "{\"response_code\":200}\n" {
		t.Errorf("got %q", got)
	}
}

func BenchmarkDone(b *testing.B) {
	files := accesslog.NewFiles(accesslog.Options{Stdout: newDiscard()})
	defer files.Close()
	w, r := files.Recorder(), httpRecord(logTo("/dev/stdout"))
	b.ReportAllocs()
	for b.Loop() {
		w.Done(r)
	}
}

type discard struct{}

func newDiscard() discard { return discard{} }

func (discard) Write(p []byte) (int, error) { return len(p), nil }
