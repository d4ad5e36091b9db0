package up

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/controlplane/jwks"
	"github.com/meshctl/meshctl/internal/inject"
	"github.com/meshctl/meshctl/internal/local"
	"github.com/meshctl/meshctl/internal/local/runtime"
	"github.com/meshctl/meshctl/internal/localmesh"
	"github.com/meshctl/meshctl/internal/resource/source/consul"
	"github.com/meshctl/meshctl/samples/bookinfo"
)

// settings turns options into what the mesh's processes are told.
func (o *Options) settings() (local.Settings, error) {
	extra := localmesh.Extra{NoIngress: o.NoIngress, ProxyPath: meshproxy()}
	if o.CertTTL != 24*time.Hour {
		extra.CertTTL = o.CertTTL
	}
	var err error
	if extra.Envoy, err = o.findEnvoy(); err != nil {
		return local.Settings{}, err
	}
	extra.DataPlane = inject.DataPlane(o.DataPlane)
	folder, paths, err := o.sources()
	if err != nil {
		return local.Settings{}, err
	}
	extra.Paths = paths
	var reach []netip.AddrPort
	if extra.Consul = o.Consul; extra.Consul != "" {
		if _, err := consul.New(consul.Options{Address: extra.Consul}); err != nil {
			return local.Settings{}, exit.Usagef("--consul: %v", err)
		}
		a, err := localmesh.ConsulAddress(extra.Consul)
		if err != nil {
			return local.Settings{}, exit.Usagef("--consul: %v", err)
		}
		reach = append(reach, a)
	}
	if o.ConsulAuth != "" {
		if extra.ConsulToken, err = filepath.Abs(o.ConsulAuth); err != nil {
			return local.Settings{}, fmt.Errorf("find file %s: %w", o.ConsulAuth, err)
		}
	}
	if o.CA != "" {
		if extra.CA, err = filepath.Abs(o.CA); err != nil {
			return local.Settings{}, fmt.Errorf("find folder %s: %w", o.CA, err)
		}
		if _, err := os.Stat(filepath.Join(extra.CA, "ca-cert.pem")); err != nil {
			return local.Settings{}, exit.Dataf("--ca %s is not usable", o.CA).Because(err)
		}
	}
	if o.KeyRoots != "" {
		if extra.KeyRoots, err = filepath.Abs(o.KeyRoots); err != nil {
			return local.Settings{}, fmt.Errorf("find file %s: %w", o.KeyRoots, err)
		}
		if _, err := jwks.ReadRoots(extra.KeyRoots); err != nil {
			return local.Settings{}, exit.Dataf("--jwks-extra-root-ca %s is not usable", o.KeyRoots).Because(err)
		}
	}
	publish, err := o.publishing()
	if err != nil {
		return local.Settings{}, err
	}
	raw, err := json.Marshal(extra)
	if err != nil {
		return local.Settings{}, fmt.Errorf("encode settings: %w", err)
	}
	return local.Settings{
		Name: o.Name, Folder: folder, Publish: publish, Closed: o.Closed, Reach: reach, Network: o.network(), Extra: raw, LogLevel: o.LogLevel,
	}, nil
}

// meshproxy is the proxy program beside this one, which needs less memory in each
// pod than this executable under its name; "" if there is none.
func meshproxy() string {
	self, err := os.Executable()
	if err != nil {
		return ""
	}
	path := filepath.Join(filepath.Dir(self), "meshproxy")
	if st, err := os.Stat(path); err != nil || !st.Mode().IsRegular() || st.Mode().Perm()&0o111 == 0 {
		return ""
	}
	return path
}

// sources are the folder that programs are found from, and the manifests when
// they are not simply that folder. All are absolute.
func (o *Options) sources() (folder string, paths []string, err error) {
	if len(o.Paths) == 0 {
		folder, err := o.sample()
		return folder, nil, err
	}
	for _, p := range o.Paths {
		if p == "-" {
			return "", nil, exit.Usagef("up cannot read standard input: it follows its files").Try("meshctl up FOLDER, then meshctl apply -f -")
		}
		abs, err := filepath.Abs(p)
		if err != nil {
			return "", nil, fmt.Errorf("find %s: %w", p, err)
		}
		info, err := os.Stat(abs)
		if err != nil {
			return "", nil, exit.Dataf("cannot read %s", p).Because(reason(err))
		}
		if folder == "" {
			if folder = abs; !info.IsDir() {
				folder = filepath.Dir(abs)
			}
		}
		if info.IsDir() && len(o.Paths) == 1 {
			return abs, nil, nil
		}
		paths = append(paths, abs)
	}
	return folder, paths, nil
}

// reason is an error without the path that the message has already.
func reason(err error) error {
	if e, ok := err.(*fs.PathError); ok { //nolint:errorlint // os.Stat returns it bare
		return e.Err
	}
	return err
}

// sample writes the built-in Bookinfo to the user's cache, where its files can be
// looked at and edited while it runs.
func (o *Options) sample() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = filepath.Join(os.TempDir(), "meshctl-"+strconv.Itoa(os.Geteuid()))
	}
	dir := filepath.Join(cache, "meshctl", "bookinfo")
	files := bookinfo.FS()
	err = fs.WalkDir(files, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		to := filepath.Join(dir, path)
		if d.IsDir() {
			return os.MkdirAll(to, 0o700)
		}
		data, err := fs.ReadFile(files, path)
		if err != nil {
			return err
		}
		return os.WriteFile(to, data, 0o600)
	})
	if err != nil {
		return "", exit.Failuref("cannot write the built-in sample to %s", dir).Because(err).Try("set XDG_CACHE_HOME to a folder you can write")
	}
	return dir, nil
}

// publishing reads the flags about ports.
func (o *Options) publishing() (runtime.Publishing, error) {
	out := runtime.Publishing{Host: o.Address, Ports: map[int]int{80: o.HTTPPort, 443: o.HTTPSPort}}
	if _, err := netip.ParseAddr(o.Address); err != nil {
		return out, exit.Usagef("--address %q is not an IP address", o.Address)
	}
	for _, p := range o.Publish {
		from, to, ok := strings.Cut(p, "=")
		a, err1 := strconv.ParseUint(from, 10, 16)
		b, err2 := strconv.ParseUint(to, 10, 16)
		if !ok || err1 != nil || err2 != nil || a == 0 || b == 0 {
			return out, exit.Usagef("--publish %q is not SERVICE-PORT=PORT, such as 31400=9000", p)
		}
		out.Ports[int(a)] = int(b)
	}
	return out, nil
}
