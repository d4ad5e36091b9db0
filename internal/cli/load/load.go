// Package load is the command `meshctl load`.
package load

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/cli/poddial"
	"github.com/meshctl/meshctl/internal/cli/stdio"
	engine "github.com/meshctl/meshctl/internal/load"
)

// Options of the command.
type Options struct {
	Env *env.Env

	Load      engine.Options
	From      string
	Allowance engine.Allowance
	Quiet     bool
	Format    stdio.Format
}

// texts are flags that need reading before they are options.
type texts struct {
	headers             []string
	body, groupBody, ca string
	allow               string
	insecure            bool
}

// NewCmd makes the command; run, if not nil, takes the place of its work.
func NewCmd(e *env.Env, run func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Env: e, Format: stdio.Formats()}
	var t texts
	cmd := &cobra.Command{
		Use:   "load URL",
		Short: "Send measured load to an address and say what came back",
		Long: `Send load to an http, https, tcp, grpc or grpcs address and print what came back:
codes, latency with a histogram, errors. With a rate, latency counts from when a
request was due, so that a target that stalls is charged for it.

The exit code is 1 when more requests failed than --allow permits, or none was made.`,
		Example: `  # 2000 requests; which version of reviews answered?
  meshctl load -n 2000 --group-by x-bookinfo-reviews http://localhost:8080/productpage

  # 200 requests per second for 10 seconds, at most 0.1% may fail
  meshctl load --rate 200 --duration 10s --allow 0.1% http://localhost:8080/productpage

  # from inside the mesh, as productpage
  meshctl load --from productpage-v1 -n 100 http://reviews:9080/reviews/0

  # plain TCP: lines, counted by their answer
  meshctl load -n 100 --no-keep-alive tcp://localhost:31400`,
		Args: env.Args(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Load.URL = args[0]
			if err := o.read(t); err != nil {
				return err
			}
			if run != nil {
				return run(cmd.Context(), o)
			}
			return Run(cmd.Context(), o)
		},
	}
	env.FreeShorthands(cmd, "namespace", "kubeconfig")
	f := cmd.Flags()
	f.Int64VarP(&o.Load.Requests, "requests", "n", 0, "stop after this `many`")
	f.IntVarP(&o.Load.Connections, "connections", "c", engine.DefaultConnections, "`connections` at once")
	f.IntVar(&o.Load.Streams, "streams", 1, "requests at once on each HTTP/2 connection")
	f.Float64Var(&o.Load.Rate, "rate", 0, "requests per second over all connections (default as fast as answers come)")
	f.DurationVarP(&o.Load.Duration, "duration", "d", 0, "stop after this `time` (default 10s without --requests)")
	f.DurationVar(&o.Load.Timeout, "timeout", engine.DefaultTimeout, "for each request")
	f.StringVarP(&o.Load.Method, "method", "X", "", "method (default GET, or POST with --body)")
	f.StringArrayVarP(&t.headers, "header", "H", nil, "`name: value` to send; may be repeated")
	f.StringVar(&o.Load.Host, "host", "", "host to ask for, in place of the URL's")
	f.StringVar(&t.body, "body", "", "body to send, or @`file`")
	f.BoolVar(&o.Load.HTTP2, "http2", false, "HTTP/2: by ALPN for https, by prior knowledge for http")
	f.BoolVar(&o.Load.NoKeepAlive, "no-keep-alive", false, "a new connection for each request")
	f.StringVar(&o.Load.GroupByHeader, "group-by", "", "count answers by the value of this `header`")
	f.StringVar(&t.groupBody, "group-by-body", "", "count answers by what this `regexp` finds in the body (its first group, if any)")
	f.StringVar(&t.allow, "allow", "0", "failures that are accepted: a number, or a share such as 0.5%")
	f.StringVar(&o.From, "from", "", "send from inside this `pod`, through its sidecar")
	f.StringVar(&t.ca, "ca", "", "`file` with certificates to trust for https and grpcs")
	f.BoolVar(&t.insecure, "insecure", false, "do not verify the target's certificate")
	f.BoolVarP(&o.Quiet, "quiet", "q", false, "no progress")
	o.Format.AddFlag(cmd)
	_ = cmd.RegisterFlagCompletionFunc("from", e.CompletePods)
	return cmd
}

// read turns texts into options.
func (o *Options) read(t texts) error {
	o.Load.Header = http.Header{}
	for _, h := range t.headers {
		name, value, ok := strings.Cut(h, ":")
		if !ok {
			return exit.Usagef("--header %q is not 'name: value'", h)
		}
		o.Load.Header.Add(strings.TrimSpace(name), strings.TrimSpace(value))
	}
	o.Load.Body = []byte(t.body)
	if name, ok := strings.CutPrefix(t.body, "@"); ok {
		b, err := os.ReadFile(name)
		if err != nil {
			return exit.Dataf("cannot read the body").Because(err)
		}
		o.Load.Body = b
	}
	var err error
	if t.groupBody != "" {
		if o.Load.GroupByBody, err = regexp.Compile(t.groupBody); err != nil {
			return exit.Usagef("--group-by-body is not understood").Because(err)
		}
	}
	if o.Allowance, err = engine.ParseAllowance(t.allow); err != nil {
		return exit.Usagef("%v", err)
	}
	return o.readTLS(t)
}

func (o *Options) readTLS(t texts) error {
	if t.ca == "" && !t.insecure {
		return nil
	}
	o.Load.TLS = &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: t.insecure}
	if t.ca == "" {
		return nil
	}
	pem, err := os.ReadFile(t.ca)
	if err != nil {
		return exit.Dataf("cannot read --ca").Because(err)
	}
	o.Load.TLS.RootCAs = x509.NewCertPool()
	if !o.Load.TLS.RootCAs.AppendCertsFromPEM(pem) {
		return exit.Dataf("%s holds no certificate in PEM form", t.ca)
	}
	return nil
}

// Run does it.
func Run(ctx context.Context, o *Options) error {
	if o.From != "" {
		m, err := o.Env.Local(ctx)
		if err != nil {
			return err
		}
		pod, err := o.Env.FindPod(ctx, m.Any(), o.From)
		if err != nil {
			return err
		}
		d, err := poddial.New(ctx, m, pod)
		if err != nil {
			return err
		}
		o.Load.Dial = d.Dial
	}
	if o.Env.IO.ErrTTY && !o.Quiet && !o.Format.IsStructured() {
		o.Load.Progress = o.progress
	}
	start := time.Now()
	res, err := engine.Run(ctx, o.Load)
	if err != nil {
		return exit.Usagef("%v", err)
	}
	if o.Load.Progress != nil && time.Since(start) > time.Second {
		o.Env.IO.Sayf("\r\x1b[K")
	}
	if o.Format.IsStructured() {
		err = o.Env.IO.Print(o.Format, stdio.Document{Value: res})
	} else {
		err = res.Fprint(o.Env.IO.Out)
	}
	switch {
	case err != nil:
		return err
	case ctx.Err() != nil:
		return exit.Silent(exit.Interrupted)
	case res.Failed(o.Allowance):
		return exit.Silent(exit.Failure)
	}
	return nil
}

// progress shows the last second on one line that the next one overwrites.
func (o *Options) progress(s engine.Second) {
	o.Env.IO.Sayf("\r\x1b[K%s", o.Env.IO.ErrPaint(stdio.Dim, fmt.Sprintf(
		"%s  %d requests, %d failed, p50 %s, p99 %s", time.Duration(s.At+s.Length).Round(time.Second), s.Requests, s.Failed, s.P50, s.P99)))
}
