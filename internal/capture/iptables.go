package capture

import (
	"fmt"
	"strings"
)

// RestoreText prints the tables of one IP version in the format of
// "iptables-restore --noflush" (ip6tables-restore for IPv6). Our own chains are
// emptied and refilled in the same transaction; the two rules that call them
// are appended, so feed it CleanupText first when it may have run before.
func RestoreText(tables []Table, family Family) string {
	var out strings.Builder
	for _, t := range tables {
		if t.Family != family {
			continue
		}
		fmt.Fprintf(&out, "*%s\n", t.Kind)
		for _, c := range t.Chains {
			if c.Hook == "" {
				fmt.Fprintf(&out, ":%s - [0:0]\n", c.Name)
			}
		}
		for _, c := range t.Chains {
			for _, r := range c.Rules {
				fmt.Fprintf(&out, "-A %s%s\n", c.Name, ruleText(r))
			}
		}
		out.WriteString("COMMIT\n")
	}
	return out.String()
}

// CleanupText prints what takes the rules of RestoreText away again. It fails
// as a whole when they are not there.
func CleanupText(tables []Table, family Family) string {
	var out strings.Builder
	for _, t := range tables {
		if t.Family != family {
			continue
		}
		fmt.Fprintf(&out, "*%s\n", t.Kind)
		for _, c := range t.Chains {
			if c.Hook == "" {
				continue
			}
			for _, r := range c.Rules {
				fmt.Fprintf(&out, "-D %s%s\n", c.Name, ruleText(r))
			}
		}
		for _, c := range t.Chains {
			if c.Hook == "" {
				fmt.Fprintf(&out, "-F %s\n", c.Name)
			}
		}
		for _, c := range t.Chains {
			if c.Hook == "" {
				fmt.Fprintf(&out, "-X %s\n", c.Name)
			}
		}
		out.WriteString("COMMIT\n")
	}
	return out.String()
}

// ruleText is a rule's conditions and target, in the order iptables-save prints them.
func ruleText(r Rule) string {
	var b strings.Builder
	m := r.Match
	if m.Src.IsValid() {
		fmt.Fprintf(&b, " -s %s", m.Src)
	}
	if m.Dst.IsValid() {
		fmt.Fprintf(&b, " -d %s", m.Dst)
	}
	if m.NotDst.IsValid() {
		fmt.Fprintf(&b, " ! -d %s", m.NotDst)
	}
	if m.In != "" {
		fmt.Fprintf(&b, " -i %s", m.In)
	}
	if m.Out != "" {
		fmt.Fprintf(&b, " -o %s", m.Out)
	}
	if m.Protocol != "" {
		fmt.Fprintf(&b, " -p %s", m.Protocol)
	}
	if m.SrcPort != 0 {
		fmt.Fprintf(&b, " --sport %d", m.SrcPort)
	}
	if m.DstPort != 0 {
		fmt.Fprintf(&b, " --dport %d", m.DstPort)
	}
	if m.NotDstPort != 0 {
		fmt.Fprintf(&b, " ! --dport %d", m.NotDstPort)
	}
	if m.Owner != nil {
		switch m.Owner.Kind {
		case ByUID:
			fmt.Fprintf(&b, " -m owner --uid-owner %d", m.Owner.ID)
		case ByGID:
			fmt.Fprintf(&b, " -m owner --gid-owner %d", m.Owner.ID)
		case ByMark:
			fmt.Fprintf(&b, " -m mark --mark %#x", m.Owner.ID)
		}
	}
	switch a := r.Action; {
	case a.Return:
		b.WriteString(" -j RETURN")
	case a.Jump != "":
		fmt.Fprintf(&b, " -j %s", a.Jump)
	case a.RedirectTo != 0:
		fmt.Fprintf(&b, " -j REDIRECT --to-ports %d", a.RedirectTo)
	case a.Zone != 0:
		fmt.Fprintf(&b, " -j CT --zone %d", a.Zone)
	}
	return b.String()
}
