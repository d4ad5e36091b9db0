package analyze

import (
	"strings"

	security "istio.io/api/security/v1beta1"

	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/resource"
)

// principals reports service accounts in policies that do not exist.
func principals(w *world, f *findings) {
	accounts := w.usedAccounts()
	for o, s := range w.authorizationPolicies() {
		for i, r := range s.Rules {
			for j, from := range r.GetFrom() {
				path := at(at("spec.rules", i)+".from", j) + ".source"
				for k, p := range from.GetSource().GetPrincipals() {
					ns, name, ok := accountOf(p)
					if ok {
						f.account(o, accounts, at(path+".principals", k), ns, name)
					}
				}
				for k, p := range from.GetSource().GetServiceAccounts() {
					ns, name, ok := strings.Cut(p, "/")
					if !ok {
						ns, name = o.Key.Namespace, p
					}
					f.account(o, accounts, at(path+".serviceAccounts", k), ns, name)
				}
			}
		}
	}
}

// accountOf takes a principal apart: domain/ns/namespace/sa/account. Wildcards name
// no single account.
func accountOf(principal string) (namespace, name string, ok bool) {
	parts := strings.Split(principal, "/")
	if len(parts) != 5 || parts[1] != "ns" || parts[3] != "sa" || strings.Contains(principal, "*") {
		return "", "", false
	}
	return parts[2], parts[4], true
}

// usedAccounts are the accounts that workloads run as, as namespace/name.
func (w *world) usedAccounts() map[string]bool {
	out := map[string]bool{}
	for _, p := range w.pods.all {
		out[p.namespace+"/"+p.account()] = true
	}
	return out
}

func (f *findings) account(o *resource.Object, used map[string]bool, path, ns, name string) {
	if used[ns+"/"+name] || f.w.get(resource.KindServiceAccount, ns, name) != nil {
		return
	}
	n := f.w.namespaces[ns]
	if name == "default" && n != nil {
		return // every namespace has it
	}
	is := f.w.missingUnless(n != nil && (n.hasAccounts || n.hasWorkloads))
	if len(f.w.of(resource.KindServiceAccount)) == 0 && f.w.complete {
		is = unknown // a control plane does not read them: a cluster may have more than pods use
	}
	f.missing(o, codeNoAccount, is, path, ns, text{
		"there is no ServiceAccount " + name + " in namespace " + ns, "no request has this identity, so the rule never matches", "correct the name or the namespace",
	})
}

// identityWithoutMTLS reports policies that ask who a client is, for workloads that
// do not let clients prove it.
func identityWithoutMTLS(w *world, f *findings) {
	demands := w.authn()
	if !demands.switchesOff() {
		return
	}
	for o, s := range w.authorizationPolicies() {
		path, ok := identityRule(s)
		if !ok {
			continue
		}
		for _, p := range w.governed(o.Key.Namespace, s.GetSelector().GetMatchLabels()) {
			demanded := demands.of(p)
			if demanded.Default != mesh.MTLSDisable || p.isAmbient(w) {
				continue
			}
			effect := "no request is known to come from them, so the rule never matches"
			if s.Action == security.AuthorizationPolicy_DENY {
				effect += ": nothing is refused"
			}
			f.add(o, codeIdentityWithoutMTLS, path, text{
				"the rule asks for the identity of clients, but " + deciding(demanded) + " switches mTLS off for " + p.name(), effect,
				"use PERMISSIVE or STRICT in the PeerAuthentication, or match by something else",
			})
			break
		}
	}
}

// identityRule finds the first rule that needs to know who the client is.
func identityRule(s *security.AuthorizationPolicy) (string, bool) {
	for i, r := range s.Rules {
		for j, from := range r.GetFrom() {
			x := from.GetSource()
			path := at(at("spec.rules", i)+".from", j) + ".source"
			switch {
			case len(x.GetPrincipals()) > 0:
				return path + ".principals", true
			case len(x.GetNamespaces()) > 0:
				return path + ".namespaces", true
			case len(x.GetServiceAccounts()) > 0:
				return path + ".serviceAccounts", true
			}
		}
	}
	return "", false
}
