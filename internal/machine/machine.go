// Package machine is the files by which a machine outside of a cluster joins a mesh:
// `meshctl workload entry configure` writes them into a folder, and `meshproxy` on the
// machine reads them from one. Their names and forms are Istio's.
//
//	cluster.env     who the machine is, and what of its traffic is captured
//	mesh.yaml       the proxy's own part of the mesh config
//	root-cert.pem   whom the machine believes
//	istio-token     by which it proves who it is, once
//	hosts           where the control plane is, as lines of /etc/hosts
package machine

import (
	"bufio"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// Names of the files.
const (
	FileEnv   = "cluster.env"
	FileMesh  = "mesh.yaml"
	FileRoot  = "root-cert.pem"
	FileToken = "istio-token"
	FileHosts = "hosts"
	// FolderIdentity is where a machine keeps its certificate.
	FolderIdentity = "identity"
)

// Variables of cluster.env that several programs read.
const (
	VarInboundPorts      = "ISTIO_INBOUND_PORTS"
	VarInboundExcluded   = "ISTIO_LOCAL_EXCLUDE_PORTS"
	VarOutboundRanges    = "ISTIO_SERVICE_CIDR"
	VarOutboundExcluded  = "ISTIO_LOCAL_OUTBOUND_PORTS_EXCLUDE"
	VarOutboundRangesNot = "ISTIO_SERVICE_EXCLUDE_CIDR"
	VarDNSCapture        = "ISTIO_META_DNS_CAPTURE"
	VarLabels            = "ISTIO_METAJSON_LABELS"
	VarAnnotations       = "ISTIO_METAJSON_ANNOTATIONS"
	VarGroup             = "ISTIO_META_AUTO_REGISTER_GROUP"
	VarAddress           = "ISTIO_SVC_IP"
)

// Env is the variables of cluster.env.
type Env map[string]string

// ParseEnv reads NAME=value lines; a value may be in single or double quotes, as a
// shell and systemd read it. Errors name the line.
func ParseEnv(text string) (Env, error) {
	out := Env{}
	sc := bufio.NewScanner(strings.NewReader(text))
	sc.Buffer(nil, 1<<20)
	for n := 1; sc.Scan(); n++ {
		line := strings.TrimSpace(sc.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		name, value, ok := strings.Cut(strings.TrimPrefix(line, "export "), "=")
		if !ok || name == "" || strings.ContainsAny(name, " \t'\"") {
			return nil, fmt.Errorf("line %d: %q is not NAME=value", n, line)
		}
		value, err := unquote(value)
		if err != nil {
			return nil, fmt.Errorf("line %d: %s: %w", n, name, err)
		}
		out[name] = value
	}
	return out, sc.Err()
}

// unquote joins the quoted and plain parts of a word.
func unquote(v string) (string, error) {
	var b strings.Builder
	for v != "" {
		switch q := v[0]; q {
		case '\'', '"':
			end := strings.IndexByte(v[1:], q)
			if end < 0 {
				return "", fmt.Errorf("the quote %c is not closed", q)
			}
			b.WriteString(v[1 : 1+end])
			v = v[end+2:]
		case '\\':
			if len(v) < 2 {
				return "", errors.New("nothing follows the backslash")
			}
			b.WriteByte(v[1])
			v = v[2:]
		default:
			b.WriteByte(q)
			v = v[1:]
		}
	}
	return b.String(), nil
}

// String is the file's text, sorted by name.
func (e Env) String() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(e)) {
		fmt.Fprintf(&b, "%s='%s'\n", name, strings.ReplaceAll(e[name], "'", `'\''`))
	}
	return b.String()
}

// Hosts are addresses by name.
type Hosts map[string]netip.Addr

// ParseHosts reads lines of /etc/hosts; the first address of a name counts.
func ParseHosts(text string) (Hosts, error) {
	out := Hosts{}
	n := 0
	for line := range strings.Lines(text) {
		n++
		line, _, _ = strings.Cut(line, "#")
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		a, err := netip.ParseAddr(f[0])
		if err != nil || len(f) < 2 {
			return nil, fmt.Errorf("line %d: %q is not an address with a name", n, strings.TrimSpace(line))
		}
		for _, name := range f[1:] {
			if name = strings.ToLower(strings.TrimSuffix(name, ".")); !out[name].IsValid() {
				out[name] = a
			}
		}
	}
	return out, nil
}

// Address replaces the host of host:port by its address, where one is known.
func (h Hosts) Address(hostport string) string {
	i := strings.LastIndexByte(hostport, ':')
	if i < 0 {
		return hostport
	}
	if a, ok := h[strings.ToLower(strings.TrimSuffix(hostport[:i], "."))]; ok {
		if a.Is6() {
			return "[" + a.String() + "]" + hostport[i:]
		}
		return a.String() + hostport[i:]
	}
	return hostport
}
