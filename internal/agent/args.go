package agent

import "strings"

// args reads "proxy sidecar|router" and its flags, which are those that injection
// writes for Istio's agent.
func (l *loader) args(args []string) {
	if len(args) < 2 || args[0] != "proxy" || args[1] != "sidecar" && args[1] != "router" {
		l.fail(`arguments %q: want "proxy sidecar" or "proxy router"`, args)
		return
	}
	l.s.Role = args[1]
	for rest := args[2:]; len(rest) > 0; rest = rest[1:] {
		name, value, given := strings.Cut(rest[0], "=")
		if name == "--log_as_json" {
			l.s.LogJSON = !given || value == "true"
			continue
		}
		if !given {
			if len(rest) < 2 {
				l.fail("argument %s has no value", name)
				return
			}
			value, rest = rest[1], rest[1:]
		}
		switch name {
		case "--domain":
			l.s.Domain = value
		case "--config":
			l.machine(value)
		case "--log-level", "--proxyLogLevel":
			l.s.LogLevel = value
		case "--proxyComponentLogLevel":
			l.componentLevels(value)
		case "--log_output_level":
			l.agentLevel(value)
		default:
			l.fail("unknown argument %s (known: --domain, --config, --log-level, --proxyLogLevel, --proxyComponentLogLevel, --log_output_level, --log_as_json)", name)
		}
	}
}

// componentLevels reads "upstream:debug,tcp:info".
func (l *loader) componentLevels(value string) {
	l.s.ComponentLevels = map[string]string{}
	for part := range strings.SplitSeq(value, ",") {
		name, level, ok := strings.Cut(part, ":")
		if !ok {
			l.fail("--proxyComponentLogLevel: %q is not component:level", part)
			continue
		}
		l.s.ComponentLevels[name] = level
	}
}

// agentLevel reads Istio's scopes, of which ours has one: "default:info", or "info".
// The level of another scope is that of Istio's programs, and means nothing here.
func (l *loader) agentLevel(value string) {
	for part := range strings.SplitSeq(value, ",") {
		scope, level, ok := strings.Cut(part, ":")
		if !ok {
			scope, level = "default", scope
		}
		if scope == "default" || scope == "all" {
			l.s.AgentLogLevel = level
		}
	}
}
