package agent

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/meshctl/meshctl/internal/capture"
	"github.com/meshctl/meshctl/internal/identity"
	"github.com/meshctl/meshctl/internal/machine"
)

const hostnameFile = "/proc/sys/kernel/hostname"

// machine reads the folder of --config: what is said there counts where the
// environment says nothing.
func (l *loader) machine(dir string) {
	s := l.s
	s.Machine = dir
	read := func(name string) string {
		b, err := l.readFile(filepath.Join(dir, name))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			l.fail("--config: %v", err)
		}
		return string(b)
	}
	env, err := machine.ParseEnv(read(machine.FileEnv))
	if err != nil {
		l.fail("%s: %v", filepath.Join(dir, machine.FileEnv), err)
	}
	if len(env) == 0 {
		l.fail("--config: %s is not there, or empty: it is written by `meshctl workload entry configure -o FOLDER`", filepath.Join(dir, machine.FileEnv))
	}
	if s.Hosts, err = machine.ParseHosts(read(machine.FileHosts)); err != nil {
		l.fail("%s: %v", filepath.Join(dir, machine.FileHosts), err)
	}
	config, err := proxyConfigOf(read(machine.FileMesh))
	if err != nil {
		l.fail("%s: %v", filepath.Join(dir, machine.FileMesh), err)
	}
	name, err := l.readFile(hostnameFile)
	if err != nil {
		l.fail("find this machine's name: %v", err)
	}
	defaults := map[string]string{
		"PROXY_CONFIG": config, "POD_NAME": strings.TrimSpace(string(name)), "INSTANCE_IP": env[machine.VarAddress],
		"MESH_TOKEN_FILE": filepath.Join(dir, machine.FileToken), "MESH_ROOT_CERT_FILE": filepath.Join(dir, machine.FileRoot),
	}
	if os.Geteuid() != int(capture.DefaultProxyID) { // whose traffic capture lets pass
		defaults["MESH_SO_MARK"] = strconv.Itoa(int(capture.DefaultProxyID))
	}
	outer := l.getenv
	l.getenv = func(k string) string {
		return cmp.Or(outer(k), env[k], defaults[k])
	}
}

// proxyConfigOf is defaultConfig of a mesh.yaml, as JSON.
func proxyConfigOf(text string) (string, error) {
	var m struct {
		DefaultConfig map[string]any `yaml:"defaultConfig"`
	}
	if err := yaml.Unmarshal([]byte(text), &m); err != nil {
		return "", err
	}
	if len(m.DefaultConfig) == 0 {
		return "", nil
	}
	b, err := json.Marshal(m.DefaultConfig)
	return string(b), err
}

// metadataMap reads labels or annotations that a variable gives as JSON.
func (l *loader) metadataMap(to *map[string]string, name string) {
	raw := l.getenv(name)
	if raw == "" || *to != nil {
		return
	}
	if err := json.Unmarshal([]byte(raw), to); err != nil {
		l.fail("%s: %v", name, err)
	}
}

// ownAddress is the address of this machine from which the control plane is reached.
func (l *loader) ownAddress() {
	s := l.s
	if s.Machine == "" || len(s.InstanceIPs) > 0 || s.Discovery == "" {
		return
	}
	// Nothing is sent: the kernel looks up the route.
	c, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(context.Background(), "udp", s.Hosts.Address(s.Discovery))
	if err != nil {
		l.fail("find this machine's address: %v", err)
		return
	}
	defer func() { _ = c.Close() }()
	if a, ok := netip.AddrFromSlice(c.LocalAddr().(*net.UDPAddr).IP); ok {
		s.InstanceIPs = []netip.Addr{a.Unmap()}
	}
}

// keptIn is where a machine keeps its certificate; "" in a pod, which keeps none.
func (s Settings) keptIn() string {
	if s.Machine == "" {
		return ""
	}
	return filepath.Join(s.Machine, machine.FolderIdentity)
}

// proof says how to prove who we are: by the file with a token, or, with "", by the
// certificate. A pod has always a fresh token; a machine's is good once, and from then
// on its certificate is, for as long as it is renewed in time.
func (d *discovery) proof() (tokenFile string, err error) {
	if d.s.Machine == "" {
		return d.s.TokenFile, nil
	}
	now := time.Now()
	certificate := "there is no certificate"
	if w := d.keeper.Current(); w != nil {
		if now.Before(w.NotAfter) {
			return "", nil
		}
		certificate = "the certificate expired at " + w.NotAfter.Format(time.RFC3339)
	}
	b, err := os.ReadFile(d.s.TokenFile)
	token := "the token expired"
	switch at, ok := identity.TokenExpiry(string(b)); {
	case err != nil:
		token = err.Error()
	case !ok:
		token = d.s.TokenFile + " holds no token"
	case now.Before(at):
		return d.s.TokenFile, nil
	default:
		token += " at " + at.Format(time.RFC3339)
	}
	return "", fmt.Errorf("this machine cannot prove who it is: %s, and %s; write new files for it: meshctl workload entry configure", token, certificate)
}
