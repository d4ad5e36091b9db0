package proxystatus

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/stdio"
	"github.com/meshctl/meshctl/internal/controlplane/xdsserve"
)

// typeOrder is the order of columns; types that are not in it come after.
var typeOrder = []string{"cds", "lds", "eds", "rds", "sds", "nds", "ecds", "pcds"}

func styleOf(_, _ int, text string) stdio.Style {
	switch {
	case strings.HasPrefix(text, "ERROR"), text == notConnected:
		return stdio.Red
	case strings.HasPrefix(text, "STALE"):
		return stdio.Yellow
	default:
		return stdio.Plain
	}
}

const notConnected = "not connected"

func (o *Options) printList(all []proxy) error {
	return o.Env.IO.Print(o.Format, stdio.Document{
		Kind: "ProxyStatusList", Items: all,
		Empty: "no proxy is connected",
		Names: func() []string {
			var out []string
			for _, p := range all {
				out = append(out, p.fullName())
			}
			return out
		},
		Table: func() stdio.Table {
			if o.Verbosity > 0 || o.Format.Is(stdio.Wide, stdio.CSV) {
				return o.typesTable(all)
			}
			head, row := heads(all)
			t := stdio.Table{Columns: append(head, "SUBSCRIBED TYPES"), Style: styleOf}
			for _, p := range all {
				t.Add(append(row(p), p.subscribed())...)
			}
			return t
		},
	})
}

// heads are the columns that every table begins with. Where proxies are of several
// revisions each says which.
func heads(all []proxy) (columns []string, row func(proxy) []string) {
	several := slices.ContainsFunc(all, func(p proxy) bool { return p.Revision != all[0].Revision })
	columns = []string{"NAME", "CLUSTER", "ISTIOD", "VERSION"}
	if several {
		columns = []string{"NAME", "CLUSTER", "REVISION", "ISTIOD", "VERSION"}
	}
	return columns, func(p proxy) []string {
		if several {
			return []string{p.fullName(), p.Cluster, cmp.Or(p.Revision, "-"), cmp.Or(p.Istiod, "-"), p.version()}
		}
		return []string{p.fullName(), p.Cluster, cmp.Or(p.Istiod, "-"), p.version()}
	}
}

func (p proxy) version() string {
	if p.Session == nil {
		return "-"
	}
	return cmp.Or(p.Session.Version, "-")
}

// subscribed is how many types a proxy asked for, and which.
func (p proxy) subscribed() string {
	if !p.Connected {
		return notConnected
	}
	var names []string
	for _, t := range ordered(p.Session.Types) {
		names = append(names, strings.ToUpper(t.Short))
	}
	text := fmt.Sprintf("%d (%s)", len(names), strings.Join(names, ","))
	for _, t := range p.Session.Types {
		if t.Refusal != nil {
			return text + " ERROR"
		}
	}
	return text
}

func ordered(types []xdsserve.TypeStatus) []xdsserve.TypeStatus {
	rank := func(t xdsserve.TypeStatus) int {
		if i := slices.Index(typeOrder, t.Short); i >= 0 {
			return i
		}
		return len(typeOrder)
	}
	out := slices.Clone(types)
	slices.SortStableFunc(out, func(a, b xdsserve.TypeStatus) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.Short, b.Short))
	})
	return out
}

// typesTable has a column for each type that any proxy asked for.
func (o *Options) typesTable(all []proxy) stdio.Table {
	var shorts []string
	for _, p := range all {
		if p.Session == nil {
			continue
		}
		for _, t := range ordered(p.Session.Types) {
			if !slices.Contains(shorts, t.Short) {
				shorts = append(shorts, t.Short)
			}
		}
	}
	head, first := heads(all)
	t := stdio.Table{Columns: head, Style: styleOf, Wide: map[int]bool{}}
	for _, s := range shorts {
		t.Columns = append(t.Columns, strings.ToUpper(s))
	}
	for _, c := range []string{"PROTOCOL", "PEER", "CONNECTED", "SENT"} {
		t.Wide[len(t.Columns)] = true
		t.Columns = append(t.Columns, c)
	}
	for _, p := range all {
		row := first(p)
		if p.Session == nil {
			t.Rows = append(t.Rows, append(row, notConnected))
			continue
		}
		var bytes uint64
		for _, s := range shorts {
			i := slices.IndexFunc(p.Session.Types, func(t xdsserve.TypeStatus) bool { return t.Short == s })
			if i < 0 {
				row = append(row, "IGNORED")
				continue
			}
			bytes += p.Session.Types[i].Bytes
			row = append(row, o.stateWithAge(p.Session.Types[i]))
		}
		t.Rows = append(t.Rows, append(row, p.Session.Protocol, p.Session.Peer, o.Env.Age(p.Session.Connected), strconv.FormatUint(bytes, 10)))
	}
	return t
}

func (o *Options) stateWithAge(t xdsserve.TypeStatus) string {
	s := t.State()
	at := t.Acked.Time
	if s != xdsserve.Synced {
		at = t.Changed
	}
	if at.IsZero() || s == xdsserve.NotSent {
		return string(s)
	}
	return string(s) + " (" + env.ShortDuration(o.Env.Now().Sub(at)) + ")"
}

// printOne prints one proxy in detail.
func (o *Options) printOne(p proxy) error {
	if o.Format.IsStructured() {
		return o.Env.IO.Print(o.Format, stdio.Document{Value: p})
	}
	if o.Format.Is(stdio.Name, stdio.CSV) {
		return o.printList([]proxy{p})
	}
	io := o.Env.IO
	s := p.Session
	io.Printf("proxy      %s\n", io.OutPaint(stdio.Bold, p.fullName()))
	io.Printf("node       %s\n", s.Node)
	io.Printf("version    %s\n", p.version())
	if s.Build != "" {
		io.Printf("program    %s\n", s.Build)
	}
	io.Printf("connected  %s ago from %s to %s, %s\n\n", o.Env.Age(s.Connected), s.Peer, p.Istiod, s.Protocol)
	t := stdio.Table{Columns: []string{"TYPE", "STATUS", "SENT", "ACKNOWLEDGED", "NAMES", "BYTES"}, Style: styleOf}
	for _, ts := range ordered(s.Types) {
		names := strconv.Itoa(ts.Subscribed)
		if ts.Wildcard {
			names = "all"
		}
		t.Add(strings.ToUpper(ts.Short), o.stateWithAge(ts), cmp.Or(ts.Sent.Version, "-"), cmp.Or(ts.Acked.Version, "-"), names, strconv.FormatUint(ts.Bytes, 10))
	}
	if err := io.Print(stdio.Formats(), stdio.Document{Table: func() stdio.Table { return t }}); err != nil {
		return err
	}
	for _, ts := range ordered(s.Types) {
		if ts.Refusal == nil {
			continue
		}
		io.Printf("\n%s refused %s ago, version %s:\n", io.OutPaint(stdio.Red, strings.ToUpper(ts.Short)),
			o.Env.Now().Sub(ts.Refusal.Time).Round(time.Second), ts.Refusal.Version)
		io.Printf("  %s\n", strings.ReplaceAll(ts.Refusal.Text, "\n", "\n  "))
		for _, n := range ts.Refusal.Names {
			io.Printf("  resource %s\n", n)
		}
		io.Printf("  The proxy goes on with what it had before.\n")
	}
	if p.Difference != nil {
		p.Difference.print(io, p.Istiod, o.All)
	}
	return nil
}
