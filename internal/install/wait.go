package install

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/meshctl/meshctl/internal/kube"
	"github.com/meshctl/meshctl/internal/plural"
)

// NotReadyError says what did not become ready in time, and why.
type NotReadyError struct {
	Component string
	After     time.Duration
	Objects   []Unready
}

// Unready is an object that is not ready.
type Unready struct {
	ID     ID
	Reason string
	Hint   string // what to do about it, "" if nothing is known
}

// Error implements error.
func (e *NotReadyError) Error() string {
	return fmt.Sprintf("%s is not ready after %s", Title(e.Component), e.After)
}

// Reasons is one line for each object.
func (e *NotReadyError) Reasons() string {
	lines := make([]string, len(e.Objects))
	for i, o := range e.Objects {
		lines[i] = o.ID.String() + ": " + o.Reason
	}
	return strings.Join(lines, "\n")
}

// pollInterval is between looks at what is waited for.
const pollInterval = time.Second

// wait returns when all objects are ready, or with the reasons why not.
func (i *Installer) wait(ctx context.Context, component string, objects []Object, timeout time.Duration) error {
	deadline := time.NewTimer(timeout)
	defer deadline.Stop()
	injectors := i.injectorsOf(objects)
	last := ""
	var unready []Unready
	for {
		var err error
		if unready, err = i.unready(ctx, objects); err != nil {
			var k *kube.Error
			if !errors.As(err, &k) || !slices.Contains(again, k.Kind) {
				return err
			}
			unready = []Unready{{ID: ID{Kind: "Cluster", Name: i.Client.Name()}, Reason: k.Error()}}
		}
		if len(unready) == 0 {
			unready = injectors.outdated(ctx)
		}
		if len(unready) == 0 {
			return nil
		}
		text := unready[0].ID.String() + ": " + unready[0].Reason
		if len(unready) > 1 {
			text += fmt.Sprintf(" (and %d more)", len(unready)-1)
		}
		if text != last {
			i.report(component, Waiting, "%s", text)
			last = text
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-deadline.C:
			return &NotReadyError{component, timeout, unready}
		case <-time.After(pollInterval):
		}
	}
}

// unready looks at every object that can be ready or not.
func (i *Installer) unready(ctx context.Context, objects []Object) ([]Unready, error) {
	var out []Unready
	for _, o := range objects {
		if !canWait(o.GetKind()) {
			continue
		}
		live, err := i.get(ctx, o.Unstructured)
		if err != nil {
			return nil, err
		}
		if live == nil {
			out = append(out, Unready{ID: IDOf(o.Unstructured), Reason: "it is not there"})
			continue
		}
		ok, reason := readiness(live)
		if ok {
			continue
		}
		u := Unready{ID: IDOf(live), Reason: reason}
		if isWorkload(live.GetKind()) {
			if why, hint := i.podsReason(ctx, live); why != "" {
				u.Reason, u.Hint = why, hint
			}
		}
		out = append(out, u)
	}
	return out, nil
}

func canWait(kind string) bool {
	return isWorkload(kind) || kind == "CustomResourceDefinition" || kind == "Namespace"
}

func isWorkload(kind string) bool {
	return kind == "Deployment" || kind == "DaemonSet" || kind == "StatefulSet"
}

// readiness judges a live object by its status.
func readiness(u *unstructured.Unstructured) (bool, string) {
	number := func(fields ...string) int64 {
		n, _, _ := unstructured.NestedInt64(u.Object, fields...)
		return n
	}
	if isWorkload(u.GetKind()) && number("status", "observedGeneration") < u.GetGeneration() {
		return false, "the cluster has not looked at it yet"
	}
	switch u.GetKind() {
	case "Deployment", "StatefulSet":
		want, found, _ := unstructured.NestedInt64(u.Object, "spec", "replicas")
		if !found {
			want = 1
		}
		updated, ready := number("status", "updatedReplicas"), number("status", "readyReplicas")
		switch {
		case updated < want:
			return false, fmt.Sprintf("%d of %d replicas are of the new version", updated, want)
		case ready < want:
			return false, fmt.Sprintf("%d of %d replicas are ready", ready, want)
		case number("status", "replicas") > want && u.GetKind() == "Deployment":
			return false, plural.Of(number("status", "replicas")-want, "old replica") + " left to end"
		}
	case "DaemonSet":
		want := number("status", "desiredNumberScheduled")
		if n := number("status", "updatedNumberScheduled"); n < want {
			return false, fmt.Sprintf("%d of %d nodes have the new version", n, want)
		}
		if n := number("status", "numberReady"); n < want {
			return false, fmt.Sprintf("%d of %d nodes are ready", n, want)
		}
	case "CustomResourceDefinition":
		if status, message := condition(u, "Established"); status != "True" {
			if _, why := condition(u, "NamesAccepted"); why != "" && message == "" {
				message = why
			}
			if message == "" {
				message = "the cluster does not serve it yet"
			}
			return false, message
		}
	case "Namespace":
		if phase, _, _ := unstructured.NestedString(u.Object, "status", "phase"); phase != "Active" {
			return false, "it is " + strings.ToLower(phase)
		}
	}
	return true, ""
}

// condition is the status and message of a condition.
func condition(u *unstructured.Unstructured, kind string) (string, string) {
	list, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
	for _, each := range list {
		if m, ok := each.(map[string]any); ok && m["type"] == kind {
			return stringAt(m, "status"), stringAt(m, "message")
		}
	}
	return "", ""
}
