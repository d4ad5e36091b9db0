package logline

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/meshctl/meshctl/internal/proxy/codec"
	"github.com/meshctl/meshctl/internal/proxy/flow"
)

const (
	textLine = `[2026-11-21T05:46:49.440Z] "GET /a b?c HTTP/1.1" 503 UF,URX upstream_reset_before_response_started{connection_failure} - "delayed_connect_error:_111" 3 91 12 - "10.0.0.9" "curl "8"" "id-1" "reviews:9080" "10.244.0.5:9080" outbound|9080|v1|reviews.default.svc.cluster.local 10.244.0.2:41 10.96.0.5:9080 10.244.0.2:5555 - default`
	jsonText = `{"start_time":"2026-11-21T05:46:49.440Z","method":"GET","path":"/a b?c","protocol":"HTTP/1.1","response_code":503,"response_flags":"UF,URX","response_code_details":"upstream_reset_before_response_started{connection_failure}","connection_termination_details":null,"upstream_transport_failure_reason":"delayed_connect_error:_111","duration":12,"x_forwarded_for":"10.0.0.9","request_id":"id-1","authority":"reviews:9080","upstream_host":"10.244.0.5:9080","upstream_cluster":"outbound|9080|v1|reviews.default.svc.cluster.local","downstream_local_address":"10.96.0.5:9080","downstream_remote_address":"10.244.0.2:5555","requested_server_name":null,"route_name":"default"}`
)

// TestForms: the text form, JSON, and either behind what a log tool writes say the same.
func TestForms(t *testing.T) {
	t.Parallel()
	want, ok := Parse(jsonText)
	if !ok || want.Code != 503 || want.Path != "/a b?c" || want.Source().String() != "10.244.0.2" || want.Destination().Port() != 9080 || want.TCP() || want.Inbound() {
		t.Fatalf("%+v", want)
	}
	for _, line := range []string{textLine, "reviews-v1-abc " + textLine, "[pod/reviews-v1/istio-proxy] " + textLine + "\n", "x " + jsonText} {
		got, ok := Parse(line)
		got.BytesIn, got.BytesSent = "", ""
		if d := cmp.Diff(want, got); d != "" || !ok {
			t.Errorf("%s:\n%s", line, d)
		}
	}
	tcp, ok := Parse(`[2026-11-21T05:46:49.440Z] "- - -" 0 - - rbac_access_denied_matched_policy[none] "-" 0 0 1 - "-" "-" "-" "-" "-" inbound|9000|| - 10.244.0.5:9000 10.244.0.2:5555 - -`)
	if !ok || !tcp.TCP() || !tcp.Inbound() || tcp.ConnectionEnd == "" {
		t.Errorf("%+v", tcp)
	}
	for _, line := range []string{"", "hello", "{}", `{"a":1}`, "[2026-11-21T05:46:49.440Z] \"GET / HTTP/1.1\" 200", "2026-11-21T05:46:49.440Z info x"} {
		if e, ok := Parse(line); ok {
			t.Errorf("%q is taken for %+v", line, e)
		}
	}
}

// envoyFlags are the response flags of Envoy's CoreResponseFlag.
const envoyFlags = "LH UH UT LR UR UF UC UO NR DI FI RL UAEX RLSE DC URX SI IH DPE UMSDR RFCF NFCF DT UPE NC OM DF DO DR UDO"

// TestFlags: all of Envoy's, and of the native proxy's under the same long names.
func TestFlags(t *testing.T) {
	t.Parallel()
	for f := range strings.FieldsSeq(envoyFlags) {
		m, ok := Flag(f)
		if !ok || m.What == "" || len(m.Causes) == 0 || len(m.Next) == 0 {
			t.Errorf("%s: %+v", f, m)
		}
	}
	if got := len(Flags()); got != len(strings.Fields(envoyFlags)) {
		t.Errorf("%d flags are explained", got)
	}
	own := 0
	for bit := range 32 {
		f := flow.Flags(1) << bit
		short, long := string(f.Append(nil)), string(f.AppendLong(nil))
		if short == "" {
			continue
		}
		own++
		if m, ok := Flag(long); !ok || m.Name != short {
			t.Errorf("%s (%s): %+v", short, long, m)
		}
	}
	if own < 20 {
		t.Errorf("the proxy has %d flags", own)
	}
}

// detail is how response code details look.
var detail = regexp.MustCompile(`^[a-zA-Z]+(?:_[a-z]+)+(?:[\[{:].*)?$`)

// carriers are names of functions, fields and constants of the proxy by which
// details go.
var carriers = regexp.MustCompile(`(?i)^(details?|end[A-Z]\w*|end|failure|reason|giveUp|failReply|attemptFailed|refuse|outcome|connEnd)$`)

// TestDetails goes through the source of the native proxy: every detail that it
// writes is explained.
func TestDetails(t *testing.T) {
	t.Parallel()
	found := map[string]bool{}
	err := filepath.WalkDir("../proxy", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch x := n.(type) {
			case *ast.KeyValueExpr:
				if id, ok := x.Key.(*ast.Ident); ok && carriers.MatchString(id.Name) {
					literals(x.Value, found)
				}
			case *ast.AssignStmt:
				for i, l := range x.Lhs {
					if carriers.MatchString(last(l)) && i < len(x.Rhs) {
						literals(x.Rhs[i], found)
					}
				}
			case *ast.ValueSpec:
				for i, id := range x.Names {
					if carriers.MatchString(id.Name) && i < len(x.Values) {
						literals(x.Values[i], found)
					}
				}
			case *ast.CallExpr:
				if carriers.MatchString(last(x.Fun)) {
					for _, a := range x.Args {
						literals(a, found)
					}
				}
			case *ast.FuncDecl:
				if r := x.Type.Results; r != nil && len(r.List) > 0 && len(r.List[0].Names) > 0 && carriers.MatchString(r.List[0].Names[0].Name) && x.Body != nil {
					ast.Inspect(x.Body, func(n ast.Node) bool {
						if ret, ok := n.(*ast.ReturnStmt); ok && len(ret.Results) > 0 {
							literals(ret.Results[0], found)
						}
						return true
					})
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, must := range []string{"route_not_found", "via_upstream", "rbac_access_denied_matched_policy[", "upstream_reset_before_response_started{", "no_healthy_upstream", "tcp_session_idle_timeout", "path_normalization_failed", "stream_idle_timeout", "TLS_error:"} {
		if !found[must] {
			t.Errorf("%s was not found in the proxy's source", must)
		}
	}
	for s := range found {
		if _, _, ok := Detail(s); !ok {
			t.Errorf("%s is not explained", s)
		}
	}
	for r := codec.ResetLocal; r <= codec.ResetDrain; r++ {
		if reasons[r.String()] == "" {
			t.Errorf("reset reason %s is not explained", r)
		}
	}
	t.Logf("%d details", len(found))
}

func last(e ast.Expr) string {
	switch x := e.(type) {
	case *ast.Ident:
		return x.Name
	case *ast.SelectorExpr:
		return x.Sel.Name
	}
	return ""
}

func literals(e ast.Expr, into map[string]bool) {
	switch x := e.(type) {
	case *ast.BasicLit:
		if s, err := strconv.Unquote(x.Value); err == nil && x.Kind == token.STRING && detail.MatchString(s) {
			into[s] = true
		}
	case *ast.BinaryExpr:
		literals(x.X, into) // what follows is an argument
	}
}

// TestExplain: what is said of typical lines.
func TestExplain(t *testing.T) {
	t.Parallel()
	e, _ := Parse(textLine)
	x := Explain(e)
	if x.What != "GET /a b?c to reviews:9080 was answered with 503 by the proxy after 12 ms" || len(x.Says) != 3 || !slices.Contains(x.Next, "meshctl logs svc/reviews.default") {
		t.Errorf("%+v", x)
	}
	x, ok := ExplainWord("rbac_access_denied_matched_policy[none_of:ns[a]-policy[b],ns[c]-policy[d]]")
	if !ok || !x.NoneOf || !slices.Equal(x.Policies, []string{"ns[a]-policy[b]", "ns[c]-policy[d]"}) {
		t.Errorf("%+v", x)
	}
	x, ok = ExplainWord("rbac_access_denied_matched_policy[ns[a]-policy[b]-rule[0]]")
	if !ok || x.NoneOf || !slices.Equal(x.Policies, []string{"ns[a]-policy[b]-rule[0]"}) {
		t.Errorf("%+v", x)
	}
}

// FuzzParse: no line breaks the reader, and what is read reads the same again.
func FuzzParse(f *testing.F) {
	f.Add(textLine)
	f.Add(jsonText)
	f.Add(`x [-] "`)
	f.Fuzz(func(t *testing.T, line string) {
		e, ok := Parse(line)
		if !ok {
			return
		}
		again, ok := Parse("pod-1 " + line)
		if d := cmp.Diff(e, again); ok && d != "" && !strings.ContainsAny(line, "{[") {
			t.Error(d)
		}
		Explain(e)
	})
}
