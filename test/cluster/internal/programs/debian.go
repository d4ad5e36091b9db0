package programs

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// debian are the programs that come by package, each with the one that has it.
var debian = [][2]string{
	{"containerd", "containerd"},
	{"ctr", "containerd"},
	{"runc", "runc"},
	{"etcd", "etcd-server"},
	{CNI + "/bridge", "containernetworking-plugins"},
	{CNI + "/portmap", "containernetworking-plugins"},
	{"ip", "iproute2"},
	{"nsenter", "util-linux"},
	{"nft", "nftables"},
	{"iptables", "iptables"},
	{"conntrack", "conntrack"},
}

// CNI is where Debian's package puts the network plugins.
const CNI = "/usr/lib/cni"

// Missing returns the Debian packages that are not installed.
func Missing() []string {
	var missing []string
	for _, d := range debian {
		if !present(d[0]) && !slices.Contains(missing, d[1]) {
			missing = append(missing, d[1])
		}
	}
	return missing
}

// CheckDebian fails with the command that would help.
func CheckDebian() error {
	missing := Missing()
	if len(missing) == 0 {
		return nil
	}
	return fmt.Errorf("programs are missing: apt-get install -y --no-install-recommends %s", strings.Join(missing, " "))
}

func present(program string) bool {
	if strings.HasPrefix(program, "/") {
		_, err := os.Stat(program)
		return err == nil
	}
	_, err := exec.LookPath(program)
	return err == nil
}
