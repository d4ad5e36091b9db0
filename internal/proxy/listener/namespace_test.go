package listener

import (
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/meshctl/meshctl/internal/proxy/engine"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

const inNamespace = "MESHCTL_TEST_IN_NAMESPACE"

// The kernel redirects, and tells the original destination: in a network
// namespace that the test makes for a process of its own.
func TestRedirection(t *testing.T) {
	if os.Getenv(inNamespace) != "" {
		redirected(t)
		return
	}
	t.Parallel()
	for _, tool := range []string{"nft", "ip"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed", tool)
		}
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestRedirection$", "-test.v")
	cmd.Env = append(os.Environ(), inNamespace+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Skipf("no namespaces here: %v", err)
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if strings.Contains(string(out), "--- SKIP") {
		t.Skipf("%s", out)
	}
}

func redirected(t *testing.T) {
	r := newRig(t, func(o *Options) { o.OriginalDst = (*engine.Conn).OriginalDst })
	run := func(name, in string, args ...string) {
		t.Helper()
		c := exec.Command(name, args...)
		c.Stdin = strings.NewReader(in)
		if out, err := c.CombinedOutput(); err != nil {
			t.Skipf("%s %v: %v: %s", name, args, err, out)
		}
	}
	run("ip", "", "link", "set", "lo", "up")
	run("ip", "", "addr", "add", "10.9.0.1/8", "dev", "lo")
	run("ip", "", "-6", "addr", "add", "fd00:9::1/64", "dev", "lo", "nodad")
	for _, n := range []string{"exact", "pass"} {
		r.cluster(n, true)
	}
	out := listener("virtualOutbound", tcpChain("pass", "pass", snapshot.ChainMatch{}))
	out.UseOriginalDst, out.Addrs = true, []netip.AddrPort{netip.MustParseAddrPort("0.0.0.0:15001"), netip.MustParseAddrPort("[::]:15001")}
	r.apply(out,
		virtual("exact", "10.9.9.9:80", tcpChain("exact", "exact", snapshot.ChainMatch{})),
		virtual("six", "[fd00:9::9]:80", tcpChain("exact", "exact", snapshot.ChainMatch{})),
	)
	run("nft", `table inet mesh {
		chain out {
		type nat hook output priority -100;
		ip daddr 10.9.9.0/24 tcp dport { 80, 81 } redirect to :15001
		ip6 daddr fd00:9::9 tcp dport 80 redirect to :15001
		}
	}`, "-f", "-")
	for dst, want := range map[string]string{"10.9.9.9:80": "exact", "10.9.9.9:81": "virtualOutbound", "[fd00:9::9]:80": "six"} {
		to := netip.MustParseAddrPort(dst)
		c := dial(t, to)
		cluster := "exact"
		if want == "virtualOutbound" {
			cluster = "pass"
		}
		expect(t, c, cluster+";")
		c.Close()
		if rec := r.out.next(t); rec.Conn.Listener.Name != want || rec.Conn.Local != to {
			t.Errorf("%s: listener %q, destination %v", dst, rec.Conn.Listener.Name, rec.Conn.Local)
		}
	}
	// Straight to the redirecting port.
	expectEnd(t, dial(t, netip.MustParseAddrPort("10.9.0.1:15001")))
	if rec := r.out.next(t); rec.Details != "original_destination_is_listener" {
		t.Errorf("details %q", rec.Details)
	}
}
