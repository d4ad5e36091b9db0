package effect

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// vocabulary are the values by which policies tell requests apart, and one that no
// policy names for each kind.
type vocabulary struct {
	methods, paths []string
	ports          []uint16
	headers        map[string][]string
}

// Values that no rule names.
const (
	anyOther      = "/"
	otherMethod   = "GET"
	secondMethod  = "POST"
	maxVocabulary = 24 // values of a kind; policies with more are asked about the first
)

func vocabularyOf(policies []*snapshot.RBAC, ports []uint16) *vocabulary {
	v := &vocabulary{methods: []string{otherMethod, secondMethod}, paths: []string{anyOther}, ports: slices.Clone(ports), headers: map[string][]string{}}
	for _, r := range policies {
		if r == nil || r.Rules == nil {
			continue
		}
		for i := range r.Rules.Policies {
			v.learn(r.Rules.Policies[i].Permissions)
			v.learn(r.Rules.Policies[i].Principals)
		}
	}
	if len(v.ports) == 0 {
		v.ports = []uint16{80}
	}
	return v
}

func (v *vocabulary) learn(rules []snapshot.Rule) {
	for i := range rules {
		r := &rules[i]
		v.learn(r.Subs)
		switch {
		case r.Op == snapshot.RulePath:
			v.paths = add(v.paths, path(r.Str))
		case r.Op == snapshot.RuleHeader && r.Header.Name == ":method":
			v.methods = add(v.methods, r.Header.Value.Example())
		case r.Op == snapshot.RuleHeader && !strings.HasPrefix(r.Header.Name, ":") && r.Header.Name != "host":
			name := r.Header.Name
			if _, known := v.headers[name]; known || len(v.headers) < maxVocabulary {
				v.headers[name] = add(v.headers[name], r.Header.Value.Example())
			}
		}
	}
}

func add(list []string, s string) []string {
	if s == "" || slices.Contains(list, s) || len(list) >= maxVocabulary {
		return list
	}
	return append(list, s)
}

// path is an example that is a path.
func path(m *snapshot.StringMatch) string {
	s := m.Example()
	if s != "" && s[0] != '/' {
		if s = "/" + s; !m.MatchString(s) {
			return ""
		}
	}
	return s
}

// probes are all requests of a caller that the policies may tell apart.
func (v *vocabulary) probes(caller string) []probe {
	var out []probe
	for _, port := range v.ports {
		for _, m := range v.methods {
			for _, p := range v.paths {
				out = append(out, probe{caller: caller, method: m, path: p, port: port})
			}
		}
		for _, h := range slices.Sorted(maps.Keys(v.headers)) {
			for _, value := range v.headers[h] {
				out = append(out, probe{caller: caller, method: otherMethod, path: anyOther, port: port, header: h, values: value})
			}
		}
	}
	return out
}

// requests are words for some of all probes of a caller: as few as say it.
func (v *vocabulary) requests(all []probe, some map[probe]change) []string {
	in := func(match func(probe) bool) (any, every bool) {
		every = true
		for _, p := range all {
			if !match(p) {
				continue
			}
			_, is := some[p]
			any, every = any || is, every && is
		}
		return any, every && any
	}
	if _, every := in(func(probe) bool { return true }); every {
		return []string{"every request"}
	}
	var out []string
	for _, port := range v.ports {
		suffix := ""
		if len(v.ports) > 1 {
			if _, every := in(func(p probe) bool { return p.port == port }); every {
				out = append(out, "every request to port "+strconv.Itoa(int(port)))
				continue
			}
			suffix = " (port " + strconv.Itoa(int(port)) + ")"
		}
		plain := func(p probe) bool { return p.port == port && p.header == "" }
		if _, every := in(plain); every {
			out = append(out, "every request"+suffix)
			continue
		}
		told := map[string]bool{}
		for _, path := range v.paths {
			if _, every := in(func(p probe) bool { return plain(p) && p.path == path }); every && path != anyOther {
				out, told[path] = append(out, path+suffix), true
			}
		}
		for _, m := range v.methods {
			ofMethod := func(p probe) bool { return plain(p) && p.method == m && !told[p.path] }
			if _, every := in(ofMethod); every {
				out = append(out, m+suffix)
				continue
			}
			for _, path := range v.paths {
				if any, _ := in(func(p probe) bool { return ofMethod(p) && p.path == path }); any {
					out = append(out, m+" "+path+suffix)
				}
			}
		}
		for h, values := range v.headers {
			for _, value := range values {
				with := func(p probe) bool { return p.port == port && p.header == h && p.values == value }
				without := func(p probe) bool { return plain(p) && p.method == otherMethod && p.path == anyOther }
				if any, _ := in(with); any {
					if same, _ := in(without); !same {
						out = append(out, "requests with "+h+": "+value+suffix)
					}
				}
			}
		}
	}
	return out
}
