package accesslog_test

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/meshctl/meshctl/internal/proxy/accesslog"
	"github.com/meshctl/meshctl/internal/proxy/codec"
	"github.com/meshctl/meshctl/internal/proxy/compile"
	"github.com/meshctl/meshctl/internal/proxy/flow"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// istioText is Istio's default text form.
const istioText = `[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% %RESPONSE_FLAGS% ` +
	`%RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% \"%UPSTREAM_TRANSPORT_FAILURE_REASON%\" %BYTES_RECEIVED% %BYTES_SENT% ` +
	`%DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" \"%REQ(X-REQUEST-ID)%\" ` +
	`\"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\" %UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% ` +
	`%DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%\n`

// compiled is a chain whose logs come by the way of xDS.
func compiled(t *testing.T, logFormat, path string) *snapshot.Chain {
	t.Helper()
	s, err := compile.FromBootstrap([]byte(`
static_resources:
  listeners:
  - name: l
    address: {socket_address: {address: 127.0.0.1, port_value: 15001}}
    filter_chains:
    - filters:
      - name: hcm
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: l
          route_config: {name: local}
          access_log:
          - name: envoy.access_loggers.file
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
              path: `+path+`
              log_format: `+logFormat+`
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
`), compile.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s.Listeners[0].Chains[0]
}

func TestIstioFormatsThroughCompile(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ format, want string }{
		"text": {
			`{text_format_source: {inline_string: "` + istioText + `"}}`,
			`[0001-01-01T00:00:00.000Z] "GET /x HTTP/2" 403 - rbac_access_denied_matched_policy[ns[a]-policy[p]-rule[0]] - "-" 0 19 0 - "-" "-" "id-1" "web:80" "-" - - - - - -` + "\n",
		},
		"json": {
			`{json_format: {response_code: "%RESPONSE_CODE%", authority: "%REQ(:AUTHORITY)%", duration: "%DURATION%", user_agent: "%REQ(USER-AGENT)%", response_code_details: "%RESPONSE_CODE_DETAILS%"}}`,
			`{"authority":"web:80","duration":0,"response_code":403,"response_code_details":"rbac_access_denied_matched_policy[ns[a]-policy[p]-rule[0]]","user_agent":null}` + "\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "log")
			r := &flow.Record{
				Conn: &flow.Conn{Chain: compiled(t, c.format, path)}, Protocol: codec.HTTP2, GRPCStatus: -1, Status: 403, BytesSent: 19,
				Details: "rbac_access_denied_matched_policy[ns[a]-policy[p]-rule[0]]",
			}
			for k, v := range map[string]string{":method": "GET", ":path": "/x", ":authority": "web:80", "x-request-id": "id-1"} {
				r.Req.AddString(k, v)
			}
			files := accesslog.NewFiles(accesslog.Options{})
			files.Recorder().Done(r)
			files.Close()
			got := read(t, path)
			if got != c.want {
				t.Errorf("\n got %s\nwant %s", got, c.want)
			}
			if name == "json" && !json.Valid([]byte(strings.TrimSpace(got))) {
				t.Error("not JSON")
			}
		})
	}
}
