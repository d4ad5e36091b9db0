package resource

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	securityv1beta1 "istio.io/api/security/v1beta1"
)

func (c *check) authorizationPolicy(o *Object, s *securityv1beta1.AuthorizationPolicy) {
	c.targets(s.GetSelector(), s.GetTargetRef(), s.GetTargetRefs())
	custom := s.GetAction() == securityv1beta1.AuthorizationPolicy_CUSTOM
	switch {
	case custom && s.GetProvider().GetName() == "":
		c.errorf("spec", "set provider.name to an extension provider of the MeshConfig", "action CUSTOM needs a provider")
	case !custom && s.GetProvider() != nil:
		c.errorf("spec.provider", "set action to CUSTOM, or remove provider", "only action CUSTOM has a provider, not %s", s.GetAction())
	}
	if len(s.GetRules()) == 0 && s.GetAction() != securityv1beta1.AuthorizationPolicy_ALLOW {
		c.warnf("spec", "none: no request matches", "add rules; one empty rule matches every request", "a policy of action %s without rules never applies", s.GetAction())
	}
	if len(s.GetRules()) > 512 {
		c.errorf("spec.rules", "split the policy", "%d rules, at most 512 are allowed", len(s.GetRules()))
	}
	for i, r := range s.GetRules() {
		path := item("spec.rules", i)
		if r == nil {
			continue
		}
		c.presentButEmpty(path+".from", len(r.GetFrom()), o)
		c.presentButEmpty(path+".to", len(r.GetTo()), o)
		for j, f := range r.GetFrom() {
			at := item(path+".from", j)
			if f.GetSource() == nil {
				c.errorf(at, "add source, or remove from", "source is missing")
				continue
			}
			c.source(at+".source", f.GetSource())
		}
		for j, t := range r.GetTo() {
			at := item(path+".to", j)
			if t.GetOperation() == nil {
				c.errorf(at, "add operation, or remove to", "operation is missing")
				continue
			}
			c.operation(at+".operation", t.GetOperation())
		}
		for j, w := range r.GetWhen() {
			c.condition(item(path+".when", j), w)
		}
	}
}

// presentButEmpty catches "from: []", which looks like nobody and would mean anyone.
func (c *check) presentButEmpty(path string, n int, o *Object) {
	if n == 0 && o.Fields != nil && hasField(o.Fields, path) {
		c.errorf(path, "remove it to match everything, or list what to match", "an empty list would match everything")
	}
}

// hasField reports whether a field was written, even without content.
func hasField(f FieldMap, path string) bool {
	x, ok := f.(*fieldIndex)
	if !ok {
		return false
	}
	at := 0
	for path != "" {
		var name string
		name, path = nextStep(path)
		if at = x.find(at, name); at < 0 {
			return false
		}
	}
	return true
}

func (c *check) source(path string, s *securityv1beta1.Source) {
	lists := []struct {
		name   string
		values []string
		rule   func(string) (problem, fix string)
	}{
		{"principals", s.GetPrincipals(), principalProblem},
		{"notPrincipals", s.GetNotPrincipals(), principalProblem},
		{"requestPrincipals", s.GetRequestPrincipals(), nil},
		{"notRequestPrincipals", s.GetNotRequestPrincipals(), nil},
		{"namespaces", s.GetNamespaces(), namespaceProblem},
		{"notNamespaces", s.GetNotNamespaces(), namespaceProblem},
		{"serviceAccounts", s.GetServiceAccounts(), serviceAccountProblem},
		{"notServiceAccounts", s.GetNotServiceAccounts(), serviceAccountProblem},
		{"ipBlocks", s.GetIpBlocks(), ipBlockProblem},
		{"notIpBlocks", s.GetNotIpBlocks(), ipBlockProblem},
		{"remoteIpBlocks", s.GetRemoteIpBlocks(), ipBlockProblem},
		{"notRemoteIpBlocks", s.GetNotRemoteIpBlocks(), ipBlockProblem},
		{"trustDomains", s.GetTrustDomains(), nil},
		{"notTrustDomains", s.GetNotTrustDomains(), nil},
	}
	empty := true
	for _, l := range lists {
		empty = empty && len(l.values) == 0
		c.matchValues(path+"."+l.name, l.values, l.rule, !strings.HasSuffix(l.name, "pBlocks"))
	}
	if empty {
		c.errorf(path, "list who may come, or remove from", "the source is empty, so it would match anyone")
	}
	if len(s.GetServiceAccounts()) > 16 || len(s.GetNotServiceAccounts()) > 16 {
		c.errorf(path, "use several sources, or namespaces", "at most 16 service accounts are allowed in one list")
	}
	if len(s.GetServiceAccounts())+len(s.GetNotServiceAccounts()) > 0 &&
		len(s.GetPrincipals())+len(s.GetNotPrincipals())+len(s.GetNamespaces())+len(s.GetNotNamespaces()) > 0 {
		c.errorf(path+".serviceAccounts", "use two sources", "serviceAccounts excludes principals and namespaces")
	}
}

func (c *check) operation(path string, o *securityv1beta1.Operation) {
	lists := []struct {
		name   string
		values []string
		rule   func(string) (problem, fix string)
	}{
		{"hosts", o.GetHosts(), nil},
		{"notHosts", o.GetNotHosts(), nil},
		{"ports", o.GetPorts(), portTextProblem},
		{"notPorts", o.GetNotPorts(), portTextProblem},
		{"methods", o.GetMethods(), nil},
		{"notMethods", o.GetNotMethods(), nil},
		{"paths", o.GetPaths(), pathProblem},
		{"notPaths", o.GetNotPaths(), pathProblem},
	}
	empty := true
	for _, l := range lists {
		empty = empty && len(l.values) == 0
		c.matchValues(path+"."+l.name, l.values, l.rule, l.name != "ports" && l.name != "notPorts")
	}
	if empty {
		c.errorf(path, "list what may be done, or remove to", "the operation is empty, so it would match everything")
	}
	for name, methods := range map[string][]string{"methods": o.GetMethods(), "notMethods": o.GetNotMethods()} {
		for i, m := range methods {
			if m != strings.ToUpper(m) {
				c.warnf(item(path+"."+name, i), "requests with method "+strings.ToUpper(m)+" do not match", "write "+strings.ToUpper(m), "methods are compared as they are written, and %s is lower case", quoted(m))
			}
		}
	}
}

// matchValues checks values of the form exact, prefix*, *suffix or *.
func (c *check) matchValues(path string, values []string, rule func(string) (string, string), wildcards bool) {
	for i, v := range values {
		at := item(path, i)
		if v == "" {
			c.errorf(at, "remove it", "a value must not be empty")
			continue
		}
		if rule != nil {
			if problem, fix := rule(v); problem != "" {
				c.errorf(at, fix, "%s", problem)
				continue
			}
		}
		if wildcards && !strings.ContainsAny(v, "{}") && len(v) > 1 && strings.Contains(v[1:len(v)-1], "*") || v != "*" && strings.HasPrefix(v, "*") && strings.HasSuffix(v, "*") {
			c.warnf(at, "the value matches nothing but itself", "put the * at one end", "a * is only a wildcard at the beginning or at the end: %s", quoted(v))
		}
	}
}

func principalProblem(s string) (problem, fix string) {
	if rest, ok := strings.CutPrefix(s, "spiffe://"); ok {
		return fmt.Sprintf("%s would never match", quoted(s)), "leave out spiffe://, as in " + rest
	}
	return "", ""
}

func namespaceProblem(s string) (problem, fix string) {
	if plain := strings.Trim(s, "*"); plain != "" && strings.Trim(plain, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		return fmt.Sprintf("%s is not the name of a namespace", quoted(s)), ""
	}
	return "", ""
}

func serviceAccountProblem(s string) (problem, fix string) {
	ns, name, ok := strings.Cut(s, "/")
	if !ok {
		ns, name = "default", s
	}
	if strings.Contains(s, "*") {
		return fmt.Sprintf("%s: service accounts have no wildcards", quoted(s)), "name each, or use principals"
	}
	if labelProblem(ns) != "" || subdomainProblem(name) != "" {
		return fmt.Sprintf("%s is not a service account", quoted(s)), "write name or namespace/name"
	}
	return "", ""
}

func ipBlockProblem(s string) (problem, fix string) { return cidrProblem(s), "" }

func portTextProblem(s string) (problem, fix string) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		return fmt.Sprintf("%s is not a port", quoted(s)), "write a number from 1 to 65535"
	}
	return portProblem(uint32(n)), ""
}

// pathProblem checks a path, a path with * at one end, or a template with {*}
// for one segment and {**} for the rest.
func pathProblem(s string) (problem, fix string) {
	if !strings.ContainsAny(s, "{}") {
		if !strings.HasPrefix(s, "/") && !strings.HasPrefix(s, "*") {
			return fmt.Sprintf("%s would never match: a path begins with /", quoted(s)), "write /" + s
		}
		if strings.Contains(s, "?") || strings.Contains(s, "#") {
			return fmt.Sprintf("%s would never match: the query is not part of the path", quoted(s)), "leave out what follows ?"
		}
		return "", ""
	}
	const templateFix = "use {*} for one segment and {**} for any number, as in /users/{*}/posts/{**}"
	for seg := range strings.SplitSeq(strings.TrimPrefix(s, "/"), "/") {
		if seg != "{*}" && seg != "{**}" && strings.ContainsAny(seg, "{}*") {
			return fmt.Sprintf("%s: the segment %s is neither text, {*} nor {**}", quoted(s), quoted(seg)), templateFix
		}
	}
	if _, after, found := strings.Cut(s, "{**}"); found && strings.Contains(after, "{") {
		return fmt.Sprintf("%s: {**} must be the last operator", quoted(s)), templateFix
	}
	if !strings.HasPrefix(s, "/") {
		return fmt.Sprintf("%s would never match: a path begins with /", quoted(s)), "write /" + s
	}
	return "", ""
}

// conditionKeys are the keys of `when` that stand by themselves, with the rule
// for their values.
var conditionKeys = map[string]func(string) (problem, fix string){
	"source.ip":              ipBlockProblem,
	"remote.ip":              ipBlockProblem,
	"source.namespace":       namespaceProblem,
	"source.principal":       principalProblem,
	"source.serviceAccount":  serviceAccountProblem,
	"source.trustDomain":     nil,
	"request.auth.principal": nil,
	"request.auth.audiences": nil,
	"request.auth.presenter": nil,
	"destination.ip":         ipBlockProblem,
	"destination.port":       portTextProblem,
	"connection.sni":         nil,
}

func (c *check) condition(path string, w *securityv1beta1.Condition) {
	key := w.GetKey()
	if len(w.GetValues())+len(w.GetNotValues()) == 0 {
		c.errorf(path, "add values or notValues", "the condition has no values")
	}
	rule, known := conditionKeys[key]
	switch {
	case key == "":
		c.errorf(path, "add key, such as request.headers[x-token]", "the condition has no key")
		return
	case known:
	case strings.HasPrefix(key, "request.headers["):
		name := strings.TrimSuffix(strings.TrimPrefix(key, "request.headers["), "]")
		if !strings.HasSuffix(key, "]") {
			c.errorf(path+".key", "write request.headers[NAME]", "%s has no closing bracket", quoted(key))
			return
		}
		c.problem(path+".key", headerNameProblem(name), "")
	case strings.HasPrefix(key, "request.auth.claims["), strings.HasPrefix(key, "experimental.envoy.filters."):
		if !strings.HasSuffix(key, "]") {
			c.errorf(path+".key", "", "%s has no closing bracket", quoted(key))
		}
	default:
		names := []string{"request.headers[NAME]", "request.auth.claims[NAME]"}
		for k := range conditionKeys {
			names = append(names, k)
		}
		slices.Sort(names)
		fix := didYouMean(key, names)
		if fix == "" {
			fix = "known keys are " + strings.Join(names, ", ")
		}
		c.errorf(path+".key", fix, "%s is not a key of conditions", quoted(key))
		return
	}
	wildcards := key != "source.ip" && key != "remote.ip" && key != "destination.ip" && key != "destination.port"
	c.matchValues(path+".values", w.GetValues(), rule, wildcards)
	c.matchValues(path+".notValues", w.GetNotValues(), rule, wildcards)
}
