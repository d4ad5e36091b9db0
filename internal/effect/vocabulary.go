package effect

import (
	"slices"
	"strconv"
	"strings"

	"github.com/meshctl/meshctl/internal/proxy/snapshot"
	"github.com/meshctl/meshctl/internal/whatif"
)

// probe is a request that policies may tell from another.
type probe struct {
	caller       string // principal, "" nobody
	door         whatif.Door
	method, path string
	with         *mark // nil: none
}

// vocabulary are the values by which policies tell requests apart, and one that no
// policy names for each kind.
type vocabulary struct {
	methods, paths []string
	doors          []whatif.Door
	marks          []*mark
}

// Values that no rule names.
const (
	anyOther      = "/"
	otherMethod   = "GET"
	secondMethod  = "POST"
	maxVocabulary = 24 // values of a kind; policies with more are asked about the first
	// maxCombined is of how many methods and paths each is tried with each mark.
	maxCombined = 16
)

func vocabularyOf(was, is *whatif.Inbound) *vocabulary {
	v := &vocabulary{methods: []string{otherMethod, secondMethod}, paths: []string{anyOther}, doors: is.Doors}
	for _, in := range []*whatif.Inbound{was, is} {
		for _, r := range in.Policies {
			if r == nil || r.Rules == nil {
				continue
			}
			for i := range r.Rules.Policies {
				v.learn(r.Rules.Policies[i].Permissions)
				v.learn(r.Rules.Policies[i].Principals)
			}
		}
	}
	v.learnTokens(was, is)
	if len(v.doors) == 0 {
		v.doors = []whatif.Door{{Port: 80}}
	}
	return v
}

func (v *vocabulary) learn(rules []snapshot.Rule) {
	for i := range rules {
		r := &rules[i]
		v.learn(r.Subs)
		switch r.Op {
		case snapshot.RulePath:
			v.paths = add(v.paths, path(r.Str))
		case snapshot.RuleSourceIP, snapshot.RuleDirectIP, snapshot.RuleRemoteIP:
			v.mark(markAddress(r.Prefix))
		case snapshot.RuleHeader:
			name, value := r.Header.Name, r.Header.Value.Example()
			switch {
			case name == ":method":
				v.methods = add(v.methods, value)
			case name == ":authority" || name == "host":
				v.mark(markHost(value))
			case !strings.HasPrefix(name, ":"):
				v.mark(markHeader(name, value))
			}
		default: // what tells apart by other things than the request has no values here
		}
	}
}

// mark adds one that is not there yet.
func (v *vocabulary) mark(m *mark) {
	if m == nil || slices.ContainsFunc(v.marks, func(n *mark) bool { return n.text == m.text }) {
		return
	}
	of := 0
	for _, n := range v.marks {
		if n.kind == m.kind {
			of++
		}
	}
	if of < maxVocabulary {
		v.marks = append(v.marks, m)
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
	for _, d := range v.doors {
		for _, with := range append([]*mark{nil}, v.marks...) {
			methods, paths := v.methods, v.paths
			if with != nil && len(methods)*len(paths) > maxCombined {
				methods, paths = methods[:1], paths[:1]
			}
			for _, m := range methods {
				for _, p := range paths {
					out = append(out, probe{caller: caller, door: d, method: m, path: p, with: with})
				}
			}
		}
	}
	return out
}

// requests are words for some of all probes of a caller: as few as say it.
func (v *vocabulary) requests(all []probe, some map[probe]change) []string {
	if _, every := among(all, some, func(probe) bool { return true }); every {
		return []string{"every request"}
	}
	var out []string
	for _, d := range v.doors {
		at := ""
		if len(v.doors) > 1 {
			at = " to port " + strconv.Itoa(int(d.Port))
			if d.Host != "" {
				at += " for " + d.Host
			}
			if _, every := among(all, some, func(p probe) bool { return p.door == d }); every {
				out = append(out, "every request"+at)
				continue
			}
		}
		of := func(m *mark) []string {
			return v.words(all, some, func(p probe) bool { return p.door == d && p.with == m })
		}
		plain := of(nil)
		var besides []*mark // of which something else holds
		var apart []string
		for _, m := range v.marks {
			if v.sameAsPlain(all, some, d, m) {
				continue
			}
			besides = append(besides, m)
			for _, w := range of(m) {
				apart = append(apart, w+at+" "+m.text)
			}
		}
		for _, w := range plain {
			out = append(out, w+at+v.without(besides))
		}
		out = append(out, apart...)
	}
	return out
}

// without says which requests are not meant: " without a token" when no token is.
func (v *vocabulary) without(marks []*mark) string {
	tokens, excepted := 0, 0
	var texts []string
	for _, m := range v.marks {
		if m.kind == tokenMark {
			tokens++
		}
	}
	for _, m := range marks {
		if m.kind == tokenMark {
			excepted++
		}
	}
	out := ""
	all := tokens > 0 && tokens == excepted
	if all {
		out = " without a token"
	}
	for _, m := range marks {
		if !all || m.kind != tokenMark {
			texts = append(texts, m.text)
		}
	}
	if len(texts) > 0 {
		out += " but those " + strings.Join(texts, " or ")
	}
	return out
}

// sameAsPlain reports whether what was tried with a mark changes as it does without.
func (v *vocabulary) sameAsPlain(all []probe, some map[probe]change, d whatif.Door, m *mark) bool {
	return !slices.ContainsFunc(all, func(p probe) bool {
		if p.door != d || p.with != m {
			return false
		}
		_, with := some[p]
		p.with = nil
		_, without := some[p]
		return with != without
	})
}

// among reports whether any, and whether every, of the probes that match is among some.
func among(all []probe, some map[probe]change, match func(probe) bool) (any, every bool) {
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

// words are methods and paths of some of the probes that match.
func (v *vocabulary) words(all []probe, some map[probe]change, match func(probe) bool) []string {
	if _, every := among(all, some, match); every {
		return []string{"every request"}
	}
	var out []string
	told := map[string]bool{}
	for _, path := range v.paths {
		if _, every := among(all, some, func(p probe) bool { return match(p) && p.path == path }); every {
			out, told[path] = append(out, v.on("", path)), true
		}
	}
	for _, m := range v.methods {
		ofMethod := func(p probe) bool { return match(p) && p.method == m && !told[p.path] }
		if _, every := among(all, some, ofMethod); every && len(told) == 0 {
			out = append(out, m)
			continue
		}
		for _, path := range v.paths {
			if any, _ := among(all, some, func(p probe) bool { return ofMethod(p) && p.path == path }); any {
				out = append(out, v.on(m, path))
			}
		}
	}
	return out
}

// on are the requests of a method, "" for every one, for a path: "/" stands for all that
// no rule names.
func (v *vocabulary) on(method, path string) string {
	if path == anyOther && len(v.paths) > 1 {
		path = "other paths than " + strings.Join(v.paths[1:min(len(v.paths), 4)], ", ")
		if len(v.paths) > 4 {
			path = "paths that no rule names"
		}
	}
	return strings.TrimSpace(method + " " + path)
}
