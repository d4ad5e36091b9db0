// Package command is "meshproxy capture": it redirects the traffic of the pod it
// runs in to the pod's sidecar, and checks that this is so. Its flags have the names
// of Istio's program for it. It needs no shell, and no program in the image.
//
//	meshproxy capture -p 15001 -z 15006 -u 1337 -m REDIRECT -i '*' -b '*' -d 15090,15021,15020
//	meshproxy capture --check
//	meshproxy capture --dry-run --redirect-dns
package command

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/meshctl/meshctl/internal/capture"
)

// Exit codes. What watches over nodes knows the last one: traffic escapes the mesh.
const (
	exitOK       = 0
	exitFailure  = 1
	exitUsage    = 64
	exitUnproven = 126
)

// Main runs the command and returns the process's exit code.
func Main(args []string, stdout, stderr io.Writer) int {
	o, err := parse(args, os.ReadFile)
	if errors.Is(err, flag.ErrHelp) {
		_, _ = fmt.Fprint(stdout, usage())
		return exitOK
	}
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "error: %v\ntry:   meshproxy capture --help\n", err)
		return exitUsage
	}
	if err := o.run(stdout); err != nil {
		_, _ = fmt.Fprintf(stderr, "error: %v\n", err)
		if o.check {
			return exitUnproven
		}
		return exitFailure
	}
	return exitOK
}

func (o *options) run(stdout io.Writer) error {
	switch {
	case o.dryRun:
		return o.print(stdout)
	case o.check && o.config.Mode == capture.None:
		return nil
	case o.check:
		ctx, cancel := context.WithTimeout(context.Background(), o.timeout)
		defer cancel()
		if err := capture.Check(ctx, o.config); err != nil {
			return fmt.Errorf("the pod's traffic is not redirected to its sidecar: %w", err)
		}
		_, _ = fmt.Fprintln(stdout, "traffic is redirected")
		return nil
	case o.cleanup:
		return capture.Uninstall(o.config)
	default:
		how, err := capture.Install(o.config)
		if err == nil {
			_, _ = fmt.Fprintf(stdout, "capture rules are in force (%s)\n", how)
		}
		return err
	}
}

func (o *options) print(stdout io.Writer) error {
	tables, err := capture.Tables(o.config)
	if err != nil {
		return err
	}
	for _, f := range []struct {
		family  capture.Family
		program string
	}{{capture.IPv4, "iptables-restore --noflush"}, {capture.IPv6, "ip6tables-restore --noflush"}} {
		if text := capture.RestoreText(tables, f.family); text != "" {
			_, _ = fmt.Fprintf(stdout, "# the same rules for %s\n%s", f.program, text)
		}
	}
	return nil
}

// nameservers are those of a resolv.conf.
func nameservers(text string) []string {
	var all []string
	for line := range strings.SplitSeq(text, "\n") {
		if f := strings.Fields(line); len(f) >= 2 && f[0] == "nameserver" {
			all = append(all, f[1])
		}
	}
	return all
}

const defaultTimeout = 5 * time.Second
