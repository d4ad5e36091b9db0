package kube

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// Right is what somebody may or may not do.
type Right struct {
	User      string // "" if not said
	Verb      string
	Resource  string // with /subresource
	Group     string // "" for the core group
	Namespace string // "" for the whole cluster
}

// String is the right as `kubectl auth can-i` takes it.
func (r Right) String() string {
	s := r.Verb + " " + r.Resource
	if r.Group != "" {
		resource, sub, hasSub := strings.Cut(r.Resource, "/")
		s = r.Verb + " " + resource + "." + r.Group
		if hasSub {
			s += " --subresource=" + sub
		}
	}
	if r.Namespace != "" {
		s += " -n " + r.Namespace
	}
	return s
}

// denial is the sentence of the API server's authorizers; the namespace is
// missing where the whole cluster is meant.
var denial = regexp.MustCompile(`User "([^"]*)" cannot ([a-z]+) resource "([^"]*)" in API group "([^"]*)"(?: in the namespace "([^"]*)")?`)

// forbidden names the missing right.
func forbidden(err error, doing string) error {
	e := &Error{Kind: Forbidden, Message: "you may not " + doing, Cause: err}
	text := err.Error() // a connection that was refused has no other form
	if status := apierrors.APIStatus(nil); errors.As(err, &status) {
		text = status.Status().Message
	}
	m := denial.FindStringSubmatch(text)
	if m == nil {
		e.Cause = errors.New(text)
		return e
	}
	r := Right{User: m[1], Verb: m[2], Resource: m[3], Group: m[4], Namespace: m[5]}
	e.Missing = &r
	where := "in the whole cluster"
	if r.Namespace != "" {
		where = "in namespace " + r.Namespace
	}
	resource := r.Resource
	if r.Group != "" {
		resource += " of " + r.Group
	}
	e.Cause = fmt.Errorf("%s lacks the right to %s %s %s", r.User, r.Verb, resource, where)
	e.Steps = []string{"ask the cluster's administrator for it; check with: kubectl auth can-i " + r.String()}
	return e
}
