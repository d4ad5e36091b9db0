// Package authz is the command `meshctl authz`: who may call whom, and which
// policy decides.
package authz

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/cli/stdio"
	"github.com/meshctl/meshctl/internal/whatif"
)

// Options of the commands; each uses what it has a flag for.
type Options struct {
	Env *env.Env
	env.WorldFlags

	Workload string
	Call     whatif.Call
	Headers  []string
	Token    env.TokenFlags
	All      bool
	Format   stdio.Format
}

// NewCmd makes the parent and the commands below it.
func NewCmd(e *env.Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "authz",
		Short: "Say who may call whom, and which policy decides",
	}
	cmd.AddCommand(newCan(e), newMatrix(e), newCheck(e), newReplay(e))
	return cmd
}

func newCan(e *env.Env) *cobra.Command {
	o := &Options{Env: e, Format: stdio.Formats()}
	cmd := &cobra.Command{
		Use:   "can FROM TO [METHOD] [PATH]",
		Short: "Say whether a workload may call a service, and which rule decides",
		Long: `Say whether a workload may call a service, by the policies that are in force, and
which rule decides; else why each did not match. An arrow between the two may be
written, in quotes: '->'.

The exit code is 0 when the call is allowed and 1 when it is not.`,
		Example: `  meshctl authz can productpage reviews GET /reviews/1
  meshctl authz can sleep.other '->' ratings POST /ratings
  meshctl authz can productpage reviews --claims sub=jason,groups=admin
  meshctl authz can productpage reviews --use-kube=false --files manifests/`,
		Args: env.Args(2, 5),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.arrow(args); err != nil {
				return err
			}
			return o.can(cmd.Context())
		},
	}
	o.callFlags(cmd)
	// "->" is an argument, though it looks like a flag called >.
	cmd.Flags().BoolP("arrow", ">", false, "")
	cmd.Flags().Lookup("arrow").Hidden = true
	cmd.ValidArgsFunction = e.CompletePods
	return cmd
}

// arrow reads FROM [->] TO [METHOD] [PATH].
func (o *Options) arrow(args []string) error {
	args = slices.DeleteFunc(slices.Clone(args), func(s string) bool { return s == "→" })
	if slices.Contains(args, "-") {
		// The shell took > for a redirection and left the dash.
		return exit.Usagef("the shell took the > of -> for itself, and wrote to a file").Try("meshctl authz can FROM TO, or quote '->'")
	}
	if len(args) < 2 || len(args) > 4 {
		return exit.Usagef("authz can needs FROM TO [METHOD] [PATH]").Try("meshctl authz can --help")
	}
	o.Call.From, o.Call.To = args[0], args[1]
	for _, a := range args[2:] {
		if strings.HasPrefix(a, "/") {
			o.Call.Path = a
		} else {
			o.Call.Method = strings.ToUpper(a)
		}
	}
	return nil
}

func (o *Options) callFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.Uint16Var(&o.Call.Port, "port", 0, "`port` of the service (default its first)")
	f.StringArrayVarP(&o.Headers, "header", "H", nil, "`NAME: VALUE` of a header; may be repeated")
	o.Token.Add(cmd)
	o.Add(o.Env, cmd)
	o.Format.AddFlag(cmd)
}

func (o *Options) world(ctx context.Context) (*whatif.World, error) {
	for _, h := range o.Headers {
		name, value, ok := strings.Cut(h, ":")
		if !ok {
			return nil, exit.Usagef("%q is not NAME: VALUE", h)
		}
		o.Call.Headers = append(o.Call.Headers, whatif.Header{Name: strings.TrimSpace(name), Value: strings.TrimSpace(value)})
	}
	token, err := o.Token.Token(o.Env.IO.In)
	if err != nil {
		return nil, err
	}
	o.Call.Token = token
	o.Call.Namespace = o.Env.Namespace()
	return o.Env.World(ctx, o.WorldFlags)
}

func (o *Options) can(ctx context.Context) error {
	w, err := o.world(ctx)
	if err != nil {
		return err
	}
	p, err := w.Can(ctx, o.Call)
	if err != nil {
		return env.ExplainAsk(err)
	}
	if o.Format.IsStructured() {
		err = o.Env.IO.Print(o.Format, stdio.Document{Kind: "Permission", Items: p})
	} else {
		o.tell(p)
	}
	if err == nil && p.Verdict != whatif.Allowed {
		return exit.Silent(exit.Failure)
	}
	return err
}

// tell prints a permission.
func (o *Options) tell(p *whatif.Permission) {
	io := o.Env.IO
	words := map[whatif.Verdict]string{
		whatif.Allowed: io.OutPaint(stdio.Green, "✓ yes"), whatif.Forbidden: io.OutPaint(stdio.Red, "✖ no"),
		whatif.Partly: io.OutPaint(stdio.Yellow, "! in part"), whatif.Unreached: io.OutPaint(stdio.Yellow, "! it does not get there"),
	}
	io.Printf("%s: %s → %s %s %s\n", words[p.Verdict], p.From, p.To, p.Method, p.Path)
	io.Printf("    %s\n", p.Reason)
	if p.Decided != nil {
		io.Printf("    %s\n", p.Decided)
	}
	for _, n := range p.Near {
		io.Printf("    not %s: %s\n", n.What, n.Reason)
		if n.Decided != nil {
			io.Printf("        %s\n", io.OutPaint(stdio.Dim, n.Decided.String()))
		}
	}
	if !p.MTLS && p.Verdict != whatif.Unreached {
		io.Printf("    the call is plain text: the caller has no identity, and rules about it do not match\n")
	}
}

func newMatrix(e *env.Env) *cobra.Command {
	o := &Options{Env: e, Format: stdio.Formats()}
	cmd := &cobra.Command{
		Use:   "matrix",
		Short: "Show which workload may call which service",
		Long: `Show for every workload and every service of a namespace whether a call is allowed:
✓ yes, ✖ no, ½ in part (some versions or endpoints deny it), ? it never gets there.`,
		Example: `  meshctl authz matrix
  meshctl authz matrix -A --method POST --path /ratings
  meshctl authz matrix -o json`,
		Args: env.Args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error { return o.matrix(cmd.Context()) },
	}
	f := cmd.Flags()
	f.StringVarP(&o.Call.Method, "method", "X", "GET", "`method` of the call")
	f.StringVar(&o.Call.Path, "path", "/", "`path` of the call")
	f.BoolVarP(&o.All, "all-namespaces", "A", false, "all namespaces")
	o.callFlags(cmd)
	return cmd
}

func (o *Options) matrix(ctx context.Context) error {
	w, err := o.world(ctx)
	if err != nil {
		return err
	}
	namespace := o.Env.Namespace()
	if o.All {
		namespace = ""
	}
	all, err := w.Matrix(ctx, o.Call, namespace)
	if err != nil {
		return env.ExplainAsk(err)
	}
	if len(all) == 0 {
		return exit.Failuref("there are no workloads and services in namespace %s", cmp.Or(namespace, "any")).Try("meshctl authz matrix -A")
	}
	if o.Format.IsStructured() {
		return o.Env.IO.Print(o.Format, stdio.Document{Kind: "PermissionList", Items: all})
	}
	marks := map[whatif.Verdict]string{whatif.Allowed: "✓", whatif.Forbidden: "✖", whatif.Partly: "½", whatif.Unreached: "?"}
	t := stdio.Table{Columns: []string{"FROM"}}
	rows := map[string][]string{}
	var order []string
	for _, p := range all {
		if !slices.Contains(t.Columns, p.To) {
			t.Columns = append(t.Columns, p.To)
		}
		if rows[p.From] == nil {
			order = append(order, p.From)
			rows[p.From] = []string{p.From}
		}
		rows[p.From] = append(rows[p.From], marks[p.Verdict])
	}
	slices.Sort(order)
	for _, from := range order {
		t.Add(rows[from]...)
	}
	return o.Env.IO.Print(o.Format, stdio.Document{Kind: "PermissionList", Items: all, Table: func() stdio.Table { return t }})
}

func newCheck(e *env.Env) *cobra.Command {
	o := &Options{Env: e, Format: stdio.Formats()}
	cmd := &cobra.Command{
		Use:   "check WORKLOAD",
		Short: "List the authorization policies that a workload's proxy enforces",
		Long: `List the authorization policies in the configuration of a workload's proxy, in the
order in which they are asked: DENY before ALLOW. With an ALLOW policy in force, a
request that none of its rules matches is denied.`,
		Example: `  meshctl authz check reviews-v1
  meshctl authz check reviews-v1.default --use-kube=false --files manifests/`,
		Args: env.Args(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Workload = args[0]
			return o.check(cmd.Context())
		},
	}
	o.Add(e, cmd)
	o.Format.AddFlag(cmd)
	cmd.ValidArgsFunction = e.CompletePods
	return cmd
}

func (o *Options) check(ctx context.Context) error {
	o.About = []string{o.Workload}
	w, err := o.world(ctx)
	if err != nil {
		return err
	}
	all, err := w.Enforced(ctx, o.Workload, o.Env.Namespace())
	if err != nil {
		return env.ExplainAsk(err)
	}
	if len(all) == 0 && !o.Format.IsStructured() {
		o.Env.IO.Sayf("no policy selects %s: everybody may call it\n", o.Workload)
		return nil
	}
	t := stdio.Table{Columns: []string{"ACTION", "AuthorizationPolicy", "RULES", "AT"}}
	for _, p := range all {
		at := ""
		if p.Decided != nil {
			at = p.Decided.At
		}
		t.Add(p.Action, p.Policy, strconv.Itoa(p.Rules), cmp.Or(at, "-"))
	}
	return o.Env.IO.Print(o.Format, stdio.Document{Kind: "EnforcedPolicyList", Items: all, Table: func() stdio.Table { return t }})
}
