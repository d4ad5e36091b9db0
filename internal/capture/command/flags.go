package command

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/meshctl/meshctl/internal/capture"
	"github.com/meshctl/meshctl/internal/machine"
)

// options of the command.
type options struct {
	config                 capture.Config
	check, dryRun, cleanup bool
	timeout                time.Duration

	text             string // --config
	redirectDNS, all bool
	ipv6             string
	set              map[string]string // flags that were given, by their long name
}

// names of flags: Istio's long and short ones, and what each is for.
var names = []struct{ long, short, what string }{
	{"envoy-port", "p", "port for outgoing connections (15001)"},
	{"inbound-capture-port", "z", "port for incoming connections (15006)"},
	{"proxy-uid", "u", "users whose traffic is the sidecar's (1337)"},
	{"proxy-gid", "g", "groups whose traffic is the sidecar's (1337)"},
	{"istio-inbound-interception-mode", "m", "REDIRECT or NONE; TPROXY is not supported"},
	{"istio-inbound-ports", "b", "incoming ports to redirect, * for all"},
	{"istio-local-exclude-ports", "d", "incoming ports that are left alone"},
	{"istio-outbound-ports", "q", "outgoing ports that are redirected whatever the address"},
	{"istio-local-outbound-ports-exclude", "o", "outgoing ports that are left alone"},
	{"istio-service-cidr", "i", "outgoing address ranges to redirect, * for all"},
	{"istio-service-exclude-cidr", "x", "outgoing address ranges that are left alone"},
	{"istio-exclude-interfaces", "c", "network interfaces that are left alone"},
	{"istio-kubevirt-interfaces", "k", "not supported: virtual machines in pods"},
}

func usage() string {
	var b strings.Builder
	b.WriteString("use: meshproxy capture [flags]\n\n")
	for _, n := range names {
		fmt.Fprintf(&b, "  -%s, --%-36s %s\n", n.short, n.long, n.what)
	}
	for _, n := range [][2]string{
		{"redirect-dns", "redirect DNS questions to port 15053, those for the servers of /etc/resolv.conf"},
		{"capture-all-dns", "all DNS questions, whichever server they are for"},
		{"ipv6 auto|true|false", "redirect IPv6 as well; auto: when an interface has an address of it"},
		{"config JSON|FOLDER", "all of the above as one object, or the folder of a machine; flags win"},
		{"check", "redirect nothing: check that traffic is redirected (as user 1337), exit code 126 when not"},
		{"probe-timeout 5s", "how long --check may take"},
		{"dry-run, -n", "print the rules instead"},
		{"cleanup", "take the rules away"},
	} {
		fmt.Fprintf(&b, "      --%-36s %s\n", n[0], n[1])
	}
	return b.String()
}

func parse(args []string, readFile func(string) ([]byte, error)) (*options, error) {
	o := &options{set: map[string]string{}, config: capture.Default()}
	fs := flag.NewFlagSet("meshproxy capture", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	for _, n := range names {
		given := func(v string) error {
			o.set[n.long] = v
			return nil
		}
		fs.Func(n.long, n.what, given)
		fs.Func(n.short, n.what, given)
	}
	fs.BoolVar(&o.redirectDNS, "redirect-dns", false, "")
	fs.BoolVar(&o.all, "capture-all-dns", false, "")
	fs.StringVar(&o.ipv6, "ipv6", "auto", "")
	fs.StringVar(&o.text, "config", "", "")
	fs.BoolVar(&o.check, "check", false, "")
	fs.BoolVar(&o.check, "run-validation", false, "")
	fs.DurationVar(&o.timeout, "probe-timeout", defaultTimeout, "")
	fs.BoolVar(&o.dryRun, "dry-run", false, "")
	fs.BoolVar(&o.dryRun, "n", false, "")
	fs.BoolVar(&o.cleanup, "cleanup", false, "")
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	if fs.NArg() > 0 {
		return nil, fmt.Errorf("%q is not a flag", fs.Arg(0))
	}
	return o, o.configure(readFile)
}

func (o *options) configure(readFile func(string) ([]byte, error)) error {
	c := &o.config
	if o.text != "" && o.text[0] != '{' {
		if err := o.machine(readFile); err != nil {
			return fmt.Errorf("--config: %w", err)
		}
	} else if o.text != "" {
		var given struct {
			Ranges *struct{} `json:"includeOutboundRanges"`
			Ports  *struct{} `json:"includeInboundPorts"`
		}
		if err := json.Unmarshal([]byte(o.text), &given); err != nil {
			return fmt.Errorf("--config: %w", err)
		}
		// What is given takes the place of "all", and is not added to it.
		if given.Ranges != nil {
			c.IncludeOutboundRanges = capture.Ranges{}
		}
		if given.Ports != nil {
			c.IncludeInboundPorts = capture.Ports{}
		}
		d := json.NewDecoder(bytes.NewReader([]byte(o.text)))
		d.DisallowUnknownFields()
		if err := d.Decode(c); err != nil {
			return fmt.Errorf("--config: %w", err)
		}
	}
	if err := o.ids(); err != nil {
		return err
	}
	for flag, to := range map[string]*uint16{"envoy-port": &c.OutboundPort, "inbound-capture-port": &c.InboundPort} {
		v, ok := o.set[flag]
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(v, 10, 16)
		if err != nil || n == 0 {
			return fmt.Errorf("--%s: %q is not a port", flag, v)
		}
		*to = uint16(n)
	}
	// The rest is what pods' annotations say, and read by the same rules.
	for flag, annotation := range map[string]string{
		"istio-inbound-interception-mode": "sidecar.istio.io/interceptionMode",
		"istio-inbound-ports":             "traffic.sidecar.istio.io/includeInboundPorts",
		"istio-local-exclude-ports":       "traffic.sidecar.istio.io/excludeInboundPorts", "istio-outbound-ports": "traffic.sidecar.istio.io/includeOutboundPorts",
		"istio-local-outbound-ports-exclude": "traffic.sidecar.istio.io/excludeOutboundPorts", "istio-service-cidr": "traffic.sidecar.istio.io/includeOutboundIPRanges",
		"istio-service-exclude-cidr": "traffic.sidecar.istio.io/excludeOutboundIPRanges", "istio-exclude-interfaces": "traffic.sidecar.istio.io/excludeInterfaces",
		"istio-kubevirt-interfaces": "traffic.sidecar.istio.io/kubevirtInterfaces",
	} {
		v, ok := o.set[flag]
		if !ok {
			continue
		}
		next, wrong := capture.FromAnnotations(*c, map[string]string{annotation: v})
		if len(wrong) > 0 {
			return fmt.Errorf("--%s: %q: %s", flag, v, wrong[0].Reason)
		}
		*c = next
	}
	return o.surroundings(readFile)
}

// machine takes what the folder of a machine says of capture, where no flag does. Its
// proxy is known by its user or, when it has another one, by the mark of its sockets.
func (o *options) machine(readFile func(string) ([]byte, error)) error {
	file := filepath.Join(o.text, machine.FileEnv)
	b, err := readFile(file)
	if err != nil {
		return err
	}
	env, err := machine.ParseEnv(string(b))
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	for name, flag := range map[string]string{
		machine.VarInboundPorts: "istio-inbound-ports", machine.VarInboundExcluded: "istio-local-exclude-ports",
		machine.VarOutboundRanges: "istio-service-cidr", machine.VarOutboundRangesNot: "istio-service-exclude-cidr",
		machine.VarOutboundExcluded: "istio-local-outbound-ports-exclude",
	} {
		if _, given := o.set[flag]; !given && env[name] != "" {
			o.set[flag] = env[name]
		}
	}
	o.redirectDNS = o.redirectDNS || env[machine.VarDNSCapture] == "true"
	o.config.ProxyMark = capture.DefaultProxyID
	return nil
}

func (o *options) ids() error {
	for flag, to := range map[string]*[]uint32{"proxy-uid": &o.config.ProxyUIDs, "proxy-gid": &o.config.ProxyGIDs} {
		v, ok := o.set[flag]
		if !ok || v == "" {
			continue
		}
		*to = nil
		for part := range strings.SplitSeq(v, ",") {
			n, err := strconv.ParseUint(strings.TrimSpace(part), 10, 32)
			if err != nil {
				return fmt.Errorf("--%s: %q is not a number", flag, part)
			}
			*to = append(*to, uint32(n))
		}
	}
	return nil
}

// surroundings are what depends on where the command runs.
func (o *options) surroundings(readFile func(string) ([]byte, error)) error {
	c := &o.config
	c.DNSCapture = c.DNSCapture || o.redirectDNS || o.all
	if c.DNSCapture && !o.all && len(c.Nameservers) == 0 {
		text, err := readFile("/etc/resolv.conf")
		if err != nil {
			return fmt.Errorf("find the pod's name servers: %w", err)
		}
		for _, s := range nameservers(string(text)) {
			if a, err := netip.ParseAddr(s); err == nil {
				c.Nameservers = append(c.Nameservers, a)
			}
		}
	}
	switch o.ipv6 {
	case "auto":
		c.IPv6 = c.IPv6 || hasIPv6(readFile)
	default:
		on, err := strconv.ParseBool(o.ipv6)
		if err != nil {
			return fmt.Errorf("--ipv6: %q is not auto, true or false", o.ipv6)
		}
		c.IPv6 = on
	}
	return c.Validate()
}

// hasIPv6 reports whether an interface other than loopback has an IPv6 address.
func hasIPv6(readFile func(string) ([]byte, error)) bool {
	text, err := readFile("/proc/net/if_inet6")
	if err != nil {
		return false
	}
	for line := range strings.SplitSeq(string(text), "\n") {
		if f := strings.Fields(line); len(f) == 6 && f[5] != "lo" {
			return true
		}
	}
	return false
}
