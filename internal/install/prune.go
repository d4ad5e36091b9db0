package install

import (
	"context"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// prunable are the kinds that are looked through for what is no longer wanted,
// in the order in which they are removed: webhooks first, so that nobody is
// asked who is going away.
var prunable = []schema.GroupVersionKind{
	{Group: "admissionregistration.k8s.io", Version: "v1", Kind: "MutatingWebhookConfiguration"},
	{Group: "admissionregistration.k8s.io", Version: "v1", Kind: "ValidatingWebhookConfiguration"},
	{Group: "autoscaling", Version: "v2", Kind: "HorizontalPodAutoscaler"},
	{Group: "policy", Version: "v1", Kind: "PodDisruptionBudget"},
	{Group: "apps", Version: "v1", Kind: "Deployment"},
	{Group: "apps", Version: "v1", Kind: "DaemonSet"},
	{Group: "apps", Version: "v1", Kind: "StatefulSet"},
	{Version: "v1", Kind: "Service"},
	{Version: "v1", Kind: "ConfigMap"},
	{Version: "v1", Kind: "Secret"},
	{Group: "rbac.authorization.k8s.io", Version: "v1", Kind: "RoleBinding"},
	{Group: "rbac.authorization.k8s.io", Version: "v1", Kind: "Role"},
	{Group: "rbac.authorization.k8s.io", Version: "v1", Kind: "ClusterRoleBinding"},
	{Group: "rbac.authorization.k8s.io", Version: "v1", Kind: "ClusterRole"},
	{Version: "v1", Kind: "ServiceAccount"},
	{Group: "networking.k8s.io", Version: "v1", Kind: "NetworkPolicy"},
	{Group: "networking.istio.io", Version: "v1alpha3", Kind: "EnvoyFilter"},
}

// owned lists what an installation in a namespace has made, of the kinds above.
func (i *Installer) owned(ctx context.Context, namespace string) ([]*unstructured.Unstructured, error) {
	var out []*unstructured.Unstructured
	selector := labelOwner + "=" + ownerName + "," + labelBy + "=" + By
	if namespace != "" {
		selector += "," + labelOwnerNamespace + "=" + namespace
	}
	for _, k := range prunable {
		found, err := i.list(ctx, k, "", selector)
		if err != nil {
			return nil, err
		}
		out = append(out, found...)
	}
	return out, nil
}

// obsolete is what of owned objects a release no longer wants.
func obsolete(rel Release, owned []*unstructured.Unstructured) []*unstructured.Unstructured {
	wanted, hasBase := map[ID]bool{}, false
	for _, o := range rel.Objects {
		wanted[IDOf(o.Unstructured)] = true
		hasBase = hasBase || o.Component == Base
	}
	var out []*unstructured.Unstructured
	for _, u := range owned {
		labels := u.GetLabels()
		switch {
		case wanted[IDOf(u)] || labels[keepLabel] == "true":
		case labels[labelComponent] == Base && !hasBase:
			// Shared by all revisions: only who has a part in it may remove of it.
		case labels[labelComponent] != Base && labels[labelRevision] != rel.Revision:
		default:
			out = append(out, u)
		}
	}
	return out
}

// prune removes what the release no longer wants.
func (i *Installer) prune(ctx context.Context, rel Release) ([]ID, error) {
	owned, err := i.owned(ctx, rel.Namespace)
	if err != nil {
		return nil, err
	}
	var out []ID
	for _, u := range obsolete(rel, owned) {
		i.report("", Pruning, "%s", IDOf(u))
		if err := i.remove(ctx, u); err != nil {
			return out, err
		}
		out = append(out, IDOf(u))
	}
	return out, nil
}
