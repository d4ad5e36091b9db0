package route

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/meshctl/meshctl/internal/cli/stdio"
	"github.com/meshctl/meshctl/internal/whatif"
)

// printer shows answers to people.
type printer struct {
	io      *stdio.Streams
	verbose bool
}

func share(p float64) string { return strconv.FormatFloat(p, 'f', -1, 64) + "%" }

func (p printer) answer(a *whatif.Answer) {
	p.io.Printf("%s %s\nfrom %s\n\n", p.io.OutPaint(stdio.Bold, a.Method), a.URL, a.From)
	for i := range a.Outcomes {
		p.outcome(&a.Outcomes[i])
	}
	for _, h := range a.Hops {
		p.hop(h)
	}
}

func (p printer) outcome(o *whatif.Outcome) {
	p.io.Printf("%6s  %s\n", share(float64(int(o.Share*100+0.5))/100), p.headline(o))
	if o.Reason != "" {
		p.io.Printf("        %s\n", o.Reason)
	}
	if o.Decided != nil {
		p.io.Printf("        %s\n", p.io.OutPaint(stdio.Dim, o.Decided.String()))
	}
}

// headline is an outcome in one line.
func (p printer) headline(o *whatif.Outcome) string {
	s := ""
	switch o.Kind {
	case whatif.Forwarded:
		s = p.io.OutPaint(stdio.Green, "✓") + " " + o.By + " answers"
		if o.MTLS {
			s += " (mutual TLS)"
		} else {
			s += " (plain text)"
		}
	case whatif.Denied:
		s = p.io.OutPaint(stdio.Red, "✖") + " denied by " + o.By
	case whatif.Redirected:
		s = "→ redirected to " + o.Location
	case whatif.Direct:
		s = "✓ answered by the proxy"
	case whatif.Fault:
		s = p.io.OutPaint(stdio.Yellow, "!") + " ended by an injected fault"
	case whatif.NoRoute:
		s = p.io.OutPaint(stdio.Red, "✖") + " no route"
	default:
		s = p.io.OutPaint(stdio.Red, "✖") + " " + string(o.Kind)
	}
	if o.Status != 0 {
		s += fmt.Sprintf(", status %d", o.Status)
	}
	if o.Flag != "" {
		s += ", flag " + o.Flag
	}
	if o.Delay != "" {
		s += ", after a delay of " + o.Delay
	}
	return s
}

// hop shows one proxy's steps, with the lines that decided; settings and steps
// that nothing decided only when asked for.
func (p printer) hop(h *whatif.Hop) {
	p.io.Printf("\n%s %s", p.io.OutPaint(stdio.Bold, h.Side), h.Proxy)
	if h.Share < 100 {
		p.io.Printf(" (%s)", share(float64(int(h.Share*100+0.5))/100))
	}
	p.io.Printf("\n")
	for i, s := range h.Steps {
		if i > 0 && s.Name == h.Steps[i-1].Name && s.What == h.Steps[i-1].What && len(s.Near) == 0 {
			continue // the same for each endpoint
		}
		p.io.Printf("  %-15s %s\n", s.Name, s.What)
		indent := strings.Repeat(" ", 18)
		if s.Decided != nil {
			p.io.Printf("%s%s\n", indent, p.io.OutPaint(stdio.Dim, s.Decided.String()))
		}
		for _, n := range s.Near {
			p.io.Printf("%snot %s: %s\n", indent, n.What, n.Reason)
			if n.Decided != nil && p.verbose {
				p.io.Printf("%s    %s\n", indent, p.io.OutPaint(stdio.Dim, n.Decided.String()))
			}
		}
		for _, v := range s.Settings {
			if p.verbose || s.Name == "forward" || s.Name == "fault" || strings.HasPrefix(v.Name, "endpoints") {
				p.io.Printf("%s%s: %s\n", indent, v.Name, v.Value)
			}
		}
	}
}

func (p printer) results(all []whatif.Result, failed int) {
	for _, r := range all {
		mark := p.io.OutPaint(stdio.Green, "✓")
		if !r.Passed {
			mark = p.io.OutPaint(stdio.Red, "✖")
		}
		p.io.Printf("%s %s\n", mark, r.Test)
		if r.Passed {
			continue
		}
		if r.Error != "" {
			p.io.Printf("    %s: %s\n", r.At, r.Error)
		}
		for _, f := range r.Failures {
			p.io.Printf("    %s: %s\n", r.At, f)
		}
	}
	p.io.Printf("\n%d passed, %d failed\n", len(all)-failed, failed)
}
