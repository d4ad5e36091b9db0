package analyze

import (
	security "istio.io/api/security/v1beta1"

	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/reference"
	"github.com/meshctl/meshctl/internal/resource"
)

// principals reports service accounts in policies that do not exist.
func principals(w *world, f *findings) {
	accounts := w.usedAccounts()
	for o := range w.authorizationPolicies() {
		for _, r := range w.references(o) {
			if r.Kind == resource.KindServiceAccount {
				f.account(o, accounts, r)
			}
		}
	}
}

// references are the objects that an object names.
func (w *world) references(o *resource.Object) []reference.Reference {
	return reference.Of(o, reference.Settings{Domain: w.domain})
}

// usedAccounts are the accounts that workloads run as, as namespace/name.
func (w *world) usedAccounts() map[string]bool {
	out := map[string]bool{}
	for _, p := range w.pods.all {
		out[p.namespace+"/"+p.account()] = true
	}
	return out
}

func (f *findings) account(o *resource.Object, used map[string]bool, r reference.Reference) {
	if used[r.Namespace+"/"+r.Name] || f.w.get(resource.KindServiceAccount, r.Namespace, r.Name) != nil {
		return
	}
	n := f.w.namespaces[r.Namespace]
	if r.Name == "default" && n != nil {
		return // every namespace has it
	}
	is := f.w.missingUnless(n != nil && (n.hasAccounts || n.hasWorkloads))
	if len(f.w.of(resource.KindServiceAccount)) == 0 && f.w.complete {
		is = unknown // a control plane does not read them: a cluster may have more than pods use
	}
	f.missing(o, codeNoAccount, is, r.Field, r.Namespace, text{
		"there is no ServiceAccount " + r.Name + " in namespace " + r.Namespace, "no request has this identity: " + r.Loss, "correct the name or the namespace",
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
