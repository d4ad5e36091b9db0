package install

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var (
	deploymentKind = schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"}
	crdKind        = schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"}
	mutatingKind   = schema.GroupVersionKind{Group: "admissionregistration.k8s.io", Version: "v1", Kind: "MutatingWebhookConfiguration"}
)

// ControlPlane is one that runs on the cluster.
type ControlPlane struct {
	Name      string // of the Deployment
	Namespace string
	Revision  string
	Image     string
	Version   string // tag of the image
	Ours      bool   // installed by meshctl
	Ready     bool
	Reason    string // when not ready
}

// ControlPlanes finds all Deployments that are control planes, of any origin.
func (i *Installer) ControlPlanes(ctx context.Context) ([]ControlPlane, error) {
	found, err := i.list(ctx, deploymentKind, "", "app=istiod")
	if err != nil {
		return nil, err
	}
	var out []ControlPlane
	for _, u := range found {
		c := ControlPlane{
			Name: u.GetName(), Namespace: u.GetNamespace(), Ours: u.GetLabels()[labelBy] == By,
			Revision: cmp.Or(u.GetLabels()[labelRevision], DefaultRevision),
		}
		containers, _, _ := unstructured.NestedSlice(u.Object, "spec", "template", "spec", "containers")
		for _, each := range containers {
			if m, ok := each.(map[string]any); ok && stringAt(m, "name") == "discovery" {
				c.Image = stringAt(m, "image")
			}
		}
		c.Version = tagOf(c.Image)
		c.Ready, c.Reason = readiness(u)
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b ControlPlane) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Revision, b.Revision))
	})
	return out, nil
}

// tagOf is the version in an image's name.
func tagOf(image string) string {
	image, _, _ = strings.Cut(image, "@")
	if n := strings.LastIndexByte(image, ':'); n > strings.LastIndexByte(image, '/') {
		return image[n+1:]
	}
	return ""
}

// ForeignError is somebody else's installation in the way.
type ForeignError struct{ Found ControlPlane }

// Error implements error.
func (e *ForeignError) Error() string {
	return fmt.Sprintf("revision %s is another's installation: Deployment %s/%s runs %s", e.Found.Revision, e.Found.Namespace, e.Found.Name, cmp.Or(e.Found.Image, "an unknown image"))
}

// OtherNamespaceError is an installation of ours that is somewhere else.
type OtherNamespaceError struct {
	Found ControlPlane
	Want  string
}

// Error implements error.
func (e *OtherNamespaceError) Error() string {
	return fmt.Sprintf("revision %s is installed in namespace %s already, and not in %s", e.Found.Revision, e.Found.Namespace, e.Want)
}

// CheckInTheWay refuses a release that would take over what is another's.
func CheckInTheWay(rel Release, found []ControlPlane) error {
	if !slices.ContainsFunc(rel.Objects, func(o Object) bool { return o.Component == Pilot }) {
		return nil
	}
	for _, c := range found {
		switch {
		case c.Revision == rel.Revision && !c.Ours:
			return &ForeignError{c}
		case c.Revision == rel.Revision && c.Namespace != rel.Namespace:
			return &OtherNamespaceError{c, rel.Namespace}
		}
	}
	return nil
}

// Capabilities is what charts may ask about this cluster.
func (i *Installer) Capabilities(version string) Cluster {
	c := Cluster{Version: version}
	groups, lists, err := i.Client.Discovery.ServerGroupsAndResources()
	if err != nil && groups == nil {
		return c // an aggregated API that is away must not keep anybody from installing
	}
	for _, g := range groups {
		for _, v := range g.Versions {
			c.APIs = append(c.APIs, v.GroupVersion)
		}
	}
	for _, l := range lists {
		for _, r := range l.APIResources {
			c.APIs = append(c.APIs, l.GroupVersion+"/"+r.Kind)
		}
	}
	return c
}
