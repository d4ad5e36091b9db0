package logline

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Entry is one line. What it does not tell is empty.
type Entry struct {
	Start              time.Time `json:"start,omitzero"`
	Method             string    `json:"method,omitempty"` // "" for TCP
	Path               string    `json:"path,omitempty"`
	Protocol           string    `json:"protocol,omitempty"`
	Code               int       `json:"code"` // 0: no answer was begun
	Flags              []string  `json:"flags,omitempty"`
	Details            string    `json:"details,omitempty"`
	ConnectionEnd      string    `json:"connectionEnd,omitempty"`
	TransportFailure   string    `json:"transportFailure,omitempty"`
	Duration           string    `json:"durationMs,omitempty"`
	XFF                string    `json:"xForwardedFor,omitempty"`
	RequestID          string    `json:"requestID,omitempty"`
	Authority          string    `json:"authority,omitempty"`
	UpstreamHost       string    `json:"upstreamHost,omitempty"`
	UpstreamCluster    string    `json:"upstreamCluster,omitempty"`
	DownstreamLocal    string    `json:"downstreamLocal,omitempty"`
	DownstreamRemote   string    `json:"downstreamRemote,omitempty"`
	ServerName         string    `json:"serverName,omitempty"`
	RouteName          string    `json:"routeName,omitempty"`
	Principal          string    `json:"principal,omitempty"` // of a format that has it
	Pod                string    `json:"pod,omitempty"`       // name.namespace, where the source says it
	Line               int       `json:"line,omitempty"`
	UpstreamAttempt    string    `json:"-"`
	BytesIn, BytesSent string    `json:"-"`
}

// TCP reports whether the line is about a connection that carried no known HTTP.
func (e *Entry) TCP() bool { return e.Method == "" }

// Inbound reports whether the proxy stood before the program that was called.
func (e *Entry) Inbound() bool {
	return strings.HasPrefix(e.UpstreamCluster, "inbound|") || e.UpstreamCluster == "InboundPassthroughCluster"
}

// Source and Destination are the client and what it called, as the proxy saw them.
func (e *Entry) Source() netip.Addr { return address(e.DownstreamRemote).Addr() }

// Destination is the address that the client connected to.
func (e *Entry) Destination() netip.AddrPort { return address(e.DownstreamLocal) }

func address(s string) netip.AddrPort {
	if a, err := netip.ParseAddrPort(s); err == nil {
		return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
	}
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.AddrPortFrom(a.Unmap(), 0)
	}
	return netip.AddrPort{}
}

// begin finds where the text form begins, behind what a log tool put before it.
var begin = regexp.MustCompile(`\[(?:\d{4}-\d\d-\d\dT[0-9:.]+(?:Z|[+-]\d\d:?\d\d)|-)\] "`)

// Parse reads a line; false when it is none of an access log.
func Parse(line string) (Entry, bool) {
	line = strings.TrimRight(line, "\r\n")
	if i := strings.IndexByte(line, '{'); i >= 0 && strings.HasSuffix(line, "}") && !begin.MatchString(line[:i]) {
		return parseJSON(line[i:])
	}
	at := begin.FindStringIndex(line)
	if at == nil {
		return Entry{}, false
	}
	return parseText(line[at[0]:])
}

// fields of the text form, in order: Istio's default format.
const textFields = 22

func parseText(line string) (Entry, bool) {
	f := split(line)
	if len(f) < textFields-1 {
		return Entry{}, false
	}
	f = append(f, "", "") // a format without the last fields
	var e Entry
	e.Start, _ = time.Parse(time.RFC3339, f[0])
	request := strings.Split(f[1], " ")
	if len(request) < 3 {
		return Entry{}, false
	}
	e.Method, e.Protocol = value(request[0]), value(request[len(request)-1])
	e.Path = value(strings.Join(request[1:len(request)-1], " "))
	e.Code, _ = strconv.Atoi(f[2])
	e.Flags = flags(f[3])
	e.Details, e.ConnectionEnd, e.TransportFailure = value(f[4]), value(f[5]), value(f[6])
	e.BytesIn, e.BytesSent, e.Duration = value(f[7]), value(f[8]), value(f[9])
	e.XFF, e.RequestID, e.Authority, e.UpstreamHost = value(f[11]), value(f[13]), value(f[14]), value(f[15])
	e.UpstreamCluster, e.DownstreamLocal, e.DownstreamRemote = value(f[16]), value(f[18]), value(f[19])
	e.ServerName, e.RouteName = value(f[20]), value(f[21])
	return e, true
}

// split cuts at spaces, but not within quotes or the brackets of the time. A quote
// in a value is not escaped: one ends where a space or the end follows.
func split(line string) []string {
	var out []string
	for line != "" {
		switch line[0] {
		case ' ':
			line = line[1:]
		case '[':
			end := strings.IndexByte(line, ']')
			if end < 0 {
				return append(out, line)
			}
			out, line = append(out, line[1:end]), line[end+1:]
		case '"':
			end := strings.Index(line[1:], `" `) + 1
			if end == 0 {
				return append(out, strings.Trim(line, `"`))
			}
			out, line = append(out, line[1:end]), line[end+1:]
		default:
			end := strings.IndexByte(line, ' ')
			if end < 0 {
				return append(out, line)
			}
			out, line = append(out, line[:end]), line[end:]
		}
	}
	return out
}

func value(s string) string {
	if s == "-" {
		return ""
	}
	return s
}

func flags(s string) []string {
	if value(s) == "" {
		return nil
	}
	return strings.Split(s, ",")
}

// parseJSON reads Istio's JSON, and formats that name the same things alike.
func parseJSON(line string) (Entry, bool) {
	d := json.NewDecoder(strings.NewReader(line))
	d.UseNumber()
	var m map[string]any
	if d.Decode(&m) != nil {
		return Entry{}, false
	}
	get := func(names ...string) string {
		for _, n := range names {
			switch v := m[n].(type) {
			case string:
				if value(v) != "" {
					return v
				}
			case json.Number:
				return v.String()
			}
		}
		return ""
	}
	_, flagged := m["response_flags"]
	_, coded := m["response_code"]
	if !flagged && !coded {
		return Entry{}, false
	}
	e := Entry{
		Method: get("method"), Path: get("path"), Protocol: get("protocol"), Flags: flags(get("response_flags")),
		Details: get("response_code_details"), ConnectionEnd: get("connection_termination_details"),
		TransportFailure: get("upstream_transport_failure_reason"), Duration: get("duration"), XFF: get("x_forwarded_for"),
		RequestID: get("request_id"), Authority: get("authority"), UpstreamHost: get("upstream_host"), UpstreamCluster: get("upstream_cluster"),
		DownstreamLocal: get("downstream_local_address"), DownstreamRemote: get("downstream_remote_address"),
		ServerName: get("requested_server_name"), RouteName: get("route_name"),
		Principal: get("downstream_peer_uri_san", "source_principal", "downstream_peer_principal"),
	}
	e.Code, _ = strconv.Atoi(get("response_code"))
	e.Start, _ = time.Parse(time.RFC3339, get("start_time"))
	return e, true
}

// maxLine bounds a line; longer ones are no access log.
const maxLine = 1 << 20

// Read reads all lines. skipped counts those that are none of an access log.
func Read(r io.Reader) (entries []Entry, skipped int, err error) {
	in := bufio.NewScanner(r)
	in.Buffer(make([]byte, 0, 64<<10), maxLine)
	for n := 1; in.Scan(); n++ {
		if len(bytes.TrimSpace(in.Bytes())) == 0 {
			continue
		}
		e, ok := Parse(in.Text())
		if !ok {
			skipped++
			continue
		}
		e.Line = n
		entries = append(entries, e)
	}
	if err := in.Err(); err != nil {
		return entries, skipped, fmt.Errorf("read the log: %w", err)
	}
	return entries, skipped, nil
}
