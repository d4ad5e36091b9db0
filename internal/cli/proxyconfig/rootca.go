package proxyconfig

import (
	"context"
	"crypto/x509"
	"errors"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/exit"
)

// Names of the secrets with a proxy's own certificate, and with what it trusts.
const (
	ownSecret  = "default"
	rootSecret = "ROOTCA"
)

func newRootCompare(e *env.Env) *cobra.Command {
	t := newTarget(e)
	cmd := &cobra.Command{
		Use:     "rootca-compare POD POD",
		Aliases: []string{"rc"},
		Short:   "Compare the root certificates that two proxies trust",
		Long: `Compare the root certificates that two proxies trust, and say whether each takes the
other's certificate. The exit code is 1 when one does not: mutual TLS between the two
fails then.`,
		Example: "  meshctl proxy-config rootca-compare productpage-v1 reviews-v1",
		Args:    env.Args(2, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			t.Pods = args
			return t.compareRoots(cmd.Context())
		},
		ValidArgsFunction: e.CompletePods,
	}
	cmd.Flags().IntVar(&t.AdminPort, "proxy-admin-port", 15000, "`port` of the proxy's admin interface")
	return cmd
}

func (t *Target) compareRoots(ctx context.Context) error {
	both, err := t.fetch(ctx, need{config: true})
	if err != nil {
		return err
	}
	a, b := both[0], both[1]
	now := t.Env.Now()
	for _, pair := range [][2]subject{{a, b}, {b, a}} {
		if err := trusts(pair[0], pair[1], now); err != nil {
			return exit.Failuref("mutual TLS between %s and %s fails: %s does not trust the certificate of %s", a.Name, b.Name, pair[0].Name, pair[1].Name).
				Because(err).Try("meshctl proxy-config secret %s %s -o wide", a.Name, b.Name)
		}
	}
	what := "trust the same root certificates"
	if !sameRoots(a, b) {
		what = "trust different root certificates, and each the certificate of the other"
	}
	t.Env.IO.Printf("%s and %s %s: mutual TLS works between them\n", a.Name, b.Name, what)
	return nil
}

// trusts reports why one proxy would refuse the certificate of another.
func trusts(one, other subject, now time.Time) error {
	chain := other.Dump.Certificates(ownSecret)
	trusted := one.Dump.Certificates(rootSecret)
	switch {
	case len(chain) == 0:
		return errors.New(other.Name + " holds no certificate of its own")
	case len(trusted) == 0:
		return errors.New(one.Name + " holds no root certificate")
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	for _, c := range trusted {
		roots.AddCert(c)
	}
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	return err
}

func sameRoots(a, b subject) bool {
	within := func(x, y []*x509.Certificate) bool {
		return !slices.ContainsFunc(x, func(c *x509.Certificate) bool { return !slices.ContainsFunc(y, c.Equal) })
	}
	x, y := a.Dump.Certificates(rootSecret), b.Dump.Certificates(rootSecret)
	return within(x, y) && within(y, x)
}
