package route

import (
	"cmp"
	"context"
	"net/netip"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/cli/stdio"
	"github.com/meshctl/meshctl/internal/whatif"
)

// Options of the command.
type Options struct {
	Env *env.Env
	env.WorldFlags
	Token env.TokenFlags

	URL     string
	From    string
	Gateway string
	To      string
	Path    string
	Method  string
	Headers []string
	Client  string
	Suites  []string
	Verbose bool
	Format  stdio.Format
}

// defaultGateway is that of --ingress without a name.
const defaultGateway = "istio-ingressgateway"

// NewTest makes the command; run, if not nil, takes the place of its work.
func NewTest(e *env.Env, run func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Env: e, Format: stdio.Formats()}
	cmd := &cobra.Command{
		Use:   "test [URL]",
		Short: "Say what a request would get, hop by hop, without sending it",
		Long: `Say what a request would get, hop by hop, without sending it: the listener, the
virtual host, the route and the rules that were passed over, faults, retries, the
subset and its endpoints, mutual TLS, and the policies of the other side. Each step
names the object and the line that decided.

It runs what the control plane and the proxies run: the same derivation, the same
generated configuration, the same matchers. It asks about the running mesh, or
about files: those take the place of objects with the same names.

With -f it reads assertions and fails when one does not hold, which is for CI:

  tests:
  - name: one request in ten for the new version
    request: {from: productpage, url: "http://reviews:9080/reviews/1"}
    expect:
      by: {reviews-v1: 90, reviews-v3: 10}

A request has from (a workload) or gateway, url, method, headers, client, claims; what is
expected is any of outcome, status, by, mtls, path, authority, location, delay,
decidedBy.

The exit code is 0 when the question is answered, whatever the answer, and 1 when
an assertion does not hold.`,
		Example: `  meshctl route test --from productpage http://reviews:9080/reviews/1 -H "end-user: jason"
  meshctl route test --from productpage --to reviews:9080 --path /reviews/1
  meshctl route test --ingress http://bookinfo.example/productpage
  meshctl route test --ingress http://bookinfo.example/api --claims sub=jason,groups=admin
  meshctl route test --use-kube=false --files samples/bookinfo --from productpage http://ratings:9080/
  meshctl route test -f mesh-tests.yaml --files manifests/ --use-kube=false`,
		Args: env.Args(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				o.URL = args[0]
			}
			if run != nil {
				return run(cmd.Context(), o)
			}
			return Run(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.From, "from", "", "`workload` that sends the request")
	f.StringVar(&o.Gateway, "ingress", "", "the request comes from outside, to this `gateway` (default "+defaultGateway+")")
	f.Lookup("ingress").NoOptDefVal = defaultGateway
	f.StringVar(&o.To, "to", "", "`host:port` in place of a URL")
	f.StringVar(&o.Path, "path", "", "`path`, with --to")
	f.StringVarP(&o.Method, "method", "X", "GET", "`method` of the request")
	f.StringArrayVarP(&o.Headers, "header", "H", nil, "`NAME: VALUE` of a header; may be repeated")
	f.StringVar(&o.Client, "client", "", "`address` of the client outside, with --ingress")
	f.StringArrayVarP(&o.Suites, "filename", "f", nil, "`file` of assertions; may be repeated")
	f.BoolVarP(&o.Verbose, "verbose", "v", false, "show each step, with what is in force")
	o.Token.Add(cmd)
	o.Add(e, cmd)
	o.Format.AddFlag(cmd)
	_ = cmd.RegisterFlagCompletionFunc("from", e.CompletePods)
	return cmd
}

// Run does it.
func Run(ctx context.Context, o *Options) error {
	if len(o.Suites) > 0 {
		return o.assert(ctx)
	}
	q, err := o.request()
	if err != nil {
		return err
	}
	o.About = []string{cmp.Or(o.From, o.Gateway)}
	w, err := o.Env.World(ctx, o.WorldFlags)
	if err != nil {
		return err
	}
	a, err := w.Ask(ctx, q)
	if err != nil {
		return env.ExplainAsk(err)
	}
	if o.Format.IsStructured() {
		return o.Env.IO.Print(o.Format, stdio.Document{Kind: "RouteTest", Items: a})
	}
	printer{o.Env.IO, o.Verbose}.answer(a)
	return nil
}

// request reads the flags.
func (o *Options) request() (whatif.Request, error) {
	q := whatif.Request{From: o.From, Gateway: o.Gateway, Namespace: o.Env.Namespace(), Method: o.Method, URL: o.URL}
	switch {
	case (o.From == "") == (o.Gateway == ""):
		return q, exit.Usagef("say who sends the request: one of --from and --ingress").Try("meshctl route test --from WORKLOAD URL")
	case (o.URL == "") == (o.To == ""):
		return q, exit.Usagef("say where the request goes: a URL, or --to HOST:PORT").Try("meshctl route test --from WORKLOAD http://HOST:PORT/PATH")
	case o.Path != "" && o.To == "":
		return q, exit.Usagef("--path is for --to; a URL has its own")
	}
	if o.To != "" {
		q.URL = "http://" + o.To + "/" + strings.TrimPrefix(cmp.Or(o.Path, "/"), "/")
	}
	for _, h := range o.Headers {
		name, value, ok := strings.Cut(h, ":")
		if !ok || strings.TrimSpace(name) == "" {
			return q, exit.Usagef("%q is not NAME: VALUE", h)
		}
		q.Headers = append(q.Headers, whatif.Header{Name: strings.TrimSpace(name), Value: strings.TrimSpace(value)})
	}
	token, err := o.Token.Token(o.Env.IO.In)
	if err != nil {
		return q, err
	}
	q.Token = token
	if o.Client != "" {
		a, err := netip.ParseAddr(o.Client)
		if err != nil {
			return q, exit.Usagef("--client: %q is not an address", o.Client)
		}
		q.Client = a
	}
	return q, nil
}

// assert runs files of assertions.
func (o *Options) assert(ctx context.Context) error {
	if o.URL != "" || o.From != "" || o.Gateway != "" || o.To != "" {
		return exit.Usagef("with -f the requests are those of the file")
	}
	var suites []*whatif.Suite
	for _, name := range o.Suites {
		s, err := o.suite(name)
		if err != nil {
			return exit.Dataf("the assertions cannot be read").Because(err).Try("meshctl route test --help")
		}
		suites = append(suites, s)
	}
	w, err := o.Env.World(ctx, o.WorldFlags)
	if err != nil {
		return err
	}
	var results []whatif.Result
	for _, s := range suites {
		results = append(results, s.Run(ctx, w)...)
	}
	failed := 0
	for _, r := range results {
		if !r.Passed {
			failed++
		}
	}
	if o.Format.IsStructured() {
		if err := o.Env.IO.Print(o.Format, stdio.Document{Kind: "RouteTestResult", Items: results}); err != nil {
			return err
		}
	} else {
		printer{o.Env.IO, o.Verbose}.results(results, failed)
	}
	if failed > 0 {
		return exit.Silent(exit.Failure)
	}
	return nil
}

func (o *Options) suite(name string) (*whatif.Suite, error) {
	if name == "-" {
		return whatif.ParseSuite("standard input", o.Env.IO.In)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return whatif.ParseSuite(name, f)
}
