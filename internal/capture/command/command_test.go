package command

import (
	"bytes"
	"errors"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/meshctl/meshctl/internal/capture"
)

func noFiles(string) ([]byte, error) { return nil, os.ErrNotExist }

var prefixes = cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })

// The arguments are those that Istio's injection writes for its own program.
func TestIstiosFlags(t *testing.T) {
	t.Parallel()
	o, err := parse(strings.Split("-p 15001 -z 15006 -u 1337 -m REDIRECT -i 10.0.0.0/8 -x  -b * -d 15090,15021,15020,22 -q 443 -o 3306 -c eth1 --redirect-dns", " "),
		func(name string) ([]byte, error) {
			if name == "/etc/resolv.conf" {
				return []byte("search x\nnameserver 10.96.0.10\n"), nil
			}
			return nil, os.ErrNotExist
		})
	if err != nil {
		t.Fatal(err)
	}
	want := capture.Default()
	want.IncludeOutboundRanges = capture.Ranges{List: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
	want.ExcludeInboundPorts = []uint16{22, 15020, 15021, 15090}
	want.IncludeOutboundPorts, want.ExcludeOutboundPorts, want.ExcludeInterfaces = []uint16{443}, []uint16{3306}, []string{"eth1"}
	want.DNSCapture, want.Nameservers = true, []netip.Addr{netip.MustParseAddr("10.96.0.10")}
	if d := cmp.Diff(want, o.config, prefixes, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" {
		t.Error(d)
	}
}

func TestConfigAsOneObject(t *testing.T) {
	t.Parallel()
	o, err := parse([]string{"--config", `{"includeInboundPorts":{"list":[80]},"proxyUIDs":[7],"dnsCapture":true,"nameservers":["10.0.0.1"]}`, "-g", "8", "--ipv6", "true"}, noFiles)
	if err != nil {
		t.Fatal(err)
	}
	c := o.config
	if c.IncludeInboundPorts.All || len(c.IncludeInboundPorts.List) != 1 || !c.IncludeOutboundRanges.All || c.ProxyUIDs[0] != 7 || c.ProxyGIDs[0] != 8 || !c.IPv6 {
		t.Errorf("%+v", c)
	}
}

func TestIPv6WhereAnInterfaceHasIt(t *testing.T) {
	t.Parallel()
	const lo = "00000000000000000000000000000001 01 80 10 80       lo\n"
	for text, want := range map[string]bool{lo: false, lo + "fd000000000000000000000000000001 02 40 00 80     eth0\n": true} {
		o, err := parse(nil, func(name string) ([]byte, error) {
			if name == "/proc/net/if_inet6" {
				return []byte(text), nil
			}
			return nil, os.ErrNotExist
		})
		if err != nil || o.config.IPv6 != want {
			t.Errorf("%q: %v, %v", text, o.config.IPv6, err)
		}
	}
}

func TestWrongArguments(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{
		"-p 0":                         "--envoy-port: \"0\" is not a port",
		"-u root":                      "--proxy-uid: \"root\" is not a number",
		"-m TPROXY":                    "--istio-inbound-interception-mode: \"TPROXY\": supported are REDIRECT and NONE",
		"-k tap0":                      "not supported",
		"-b http":                      "--istio-inbound-ports: \"http\"",
		"--config {\"x\":1}":           "unknown field",
		"--ipv6 maybe":                 "--ipv6",
		"--redirect-dns":               "name servers",
		"extra":                        "\"extra\" is not a flag",
		"--config {\"proxyUIDs\":[]}x": "--config",
	} {
		if _, err := parse(strings.Split(args, " "), noFiles); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", args, err, want)
		}
	}
	var out, errs bytes.Buffer
	if code := Main([]string{"--nope"}, &out, &errs); code != exitUsage || !strings.Contains(errs.String(), "try:") {
		t.Errorf("%d %s", code, errs.String())
	}
	if code := Main([]string{"--help"}, &out, &errs); code != exitOK || !strings.Contains(out.String(), "--istio-inbound-ports") {
		t.Errorf("%d %s", code, out.String())
	}
}

func TestDryRunPrintsTheRules(t *testing.T) {
	t.Parallel()
	var out, errs bytes.Buffer
	if code := Main([]string{"--dry-run", "-u", "1337", "--ipv6=true"}, &out, &errs); code != exitOK {
		t.Fatal(errs.String())
	}
	for _, want := range []string{"# the same rules for iptables-restore", "# the same rules for ip6tables-restore", "-A ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports 15006"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, out.String())
		}
	}
}

func FuzzConfig(f *testing.F) {
	f.Add(`{"includeInboundPorts":{"list":[80]},"proxyUIDs":[7]}`)
	f.Fuzz(func(t *testing.T, text string) {
		o, err := parse([]string{"--config", text}, noFiles)
		if err != nil {
			return
		}
		if _, err := capture.Tables(o.config); err != nil {
			t.Errorf("accepted, but: %v", errors.Unwrap(err))
		}
	})
}
