package kube

import (
	"errors"
	"fmt"
	"net/url"

	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/resource"
)

// missingRight says which right is missing for a kind, and what follows.
func (s *Source) missingRight(k kind) diag.Diagnostic {
	where, name := "the cluster", k.gvr.GroupResource().String()
	if s.opts.Remote {
		where = "cluster " + s.opts.Cluster
	}
	if k.namespace != "" {
		where = "namespace " + k.namespace
	}
	d := diag.Diagnostic{
		Code: resource.CodeSource, Severity: diag.Error, Object: diag.Object{Kind: k.kind.Kind},
		Message: fmt.Sprintf("the control plane may not read %s in %s", name, where),
		Effect:  "objects of this kind are not used; those read before stay in force",
		Fix:     fmt.Sprintf("grant its service account get, list and watch on %s", name),
	}
	switch {
	case k.gvr == definitionResource:
		d.Effect = "kinds that are installed later are followed within a minute; those that are removed are not let go of"
	case k.gvr == tagKind.gvr:
		d.Effect = "no proxy is served before they have been read once: they say which tags stand for this revision, and a policy may be for a tag"
	case k.guards:
		d.Effect = "no proxy is served before they have been read once: what they forbid would be allowed"
	}
	return d
}

// unreachable says that the API server does not answer. It names no kind, so that
// all of them are one finding.
func (s *Source) unreachable(err error) diag.Diagnostic {
	if u := (*url.Error)(nil); errors.As(err, &u) {
		err = u.Err // the address of what was asked for differs by kind
	}
	which := ""
	if s.opts.Remote {
		which = " of cluster " + s.opts.Cluster
	}
	return diag.Diagnostic{
		Code: resource.CodeSource, Severity: diag.Warning, Object: diag.Object{Kind: "Cluster"},
		Message: "the API server" + which + " cannot be read: " + err.Error(),
		Effect:  "what was read before stays in force", Fix: "none needed if it comes back; the control plane tries again",
	}
}
