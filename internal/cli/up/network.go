package up

import (
	"strings"

	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/cli/stdio"
	"github.com/meshctl/meshctl/internal/local"
	"github.com/meshctl/meshctl/internal/local/network"
)

const networkAuto = "auto"

// checkNetwork refuses a network that is none, or that cannot do what is asked.
func (o *Options) checkNetwork() error {
	switch network.Mode(o.Network) {
	case networkAuto, network.Namespaces:
	case network.Explicit:
		if o.Closed {
			return exit.Usagef("--closed needs namespaces: without, nothing keeps a program from reaching outside").Try("meshctl up --network explicit, without --closed")
		}
	default:
		return exit.Usagef("--network %q is not one of auto, namespaces, explicit", o.Network)
	}
	return nil
}

// network is the flag as a setting.
func (o *Options) network() network.Mode {
	if o.Network == networkAuto {
		return ""
	}
	return network.Mode(o.Network)
}

// sayFallback tells that the machine has no namespaces, why, and what that costs.
func (o *Options) sayFallback(l local.Lacking) {
	io := o.Env.IO
	io.Sayf("%s this machine forbids user namespaces: %s\n", io.ErrPaint(stdio.Yellow, "!"), l.Cause)
	io.Sayf("  to have them: %s\n", strings.ReplaceAll(l.Fix, "\n", "\n  "))
	o.sayExplicit()
}

// explicitNotes are what a mesh without namespaces is, and is not.
const explicitNotes = `The mesh runs without namespaces, by explicit proxying:
  - each pod has an address of its own on this machine's loopback, in POD_IP; a program must
    listen on it, in place of 0.0.0.0
  - programs reach services through their sidecar by HTTP_PROXY, or at NAME_SERVICE_HOST and
    NAME_SERVICE_PORT; names do not resolve, as /etc/resolv.conf is this machine's
Between sidecars mTLS, routes and policies hold. What is lost:
  - nothing is captured: a program that ignores HTTP_PROXY goes around its sidecar, and everybody
    on this machine can connect to a program's own port, past every policy
  - volumes are not mounted, and --closed cannot be had
`

func (o *Options) sayExplicit() { o.Env.IO.Sayf("%s", explicitNotes) }
