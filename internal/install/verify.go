package install

import (
	"context"
	"fmt"
)

// Verification is what became of one object that an installation had applied.
type Verification struct {
	ID        ID     `json:"object"`
	Component string `json:"component"`
	OK        bool   `json:"ok"`
	Reason    string `json:"reason,omitempty"`
}

// Verify compares a release with the cluster: everything is there, as it was
// applied, and ready.
func (i *Installer) Verify(ctx context.Context, rel Release) ([]Verification, error) {
	var out []Verification
	for _, o := range rel.Objects {
		v := Verification{ID: IDOf(o.Unstructured), Component: o.Component, OK: true}
		d, err := i.diffOne(ctx, o.Unstructured)
		if err != nil {
			return nil, err
		}
		switch d.Action {
		case Create:
			v.OK, v.Reason = false, "it is not there"
		case Change:
			v.OK, v.Reason = false, "it was changed since (meshctl install --diff shows how)"
		case Same, Delete:
			unready, err := i.unready(ctx, []Object{o})
			if err != nil {
				return nil, err
			}
			if len(unready) > 0 {
				v.OK, v.Reason = false, "it is not ready: "+unready[0].Reason
			}
		}
		out = append(out, v)
	}
	return out, nil
}

// Current is the release that is in force for a revision.
func (i *Installer) Current(ctx context.Context, namespace, revision string) (Record, error) {
	all, err := i.History(ctx, namespace, revision)
	if err != nil {
		return Record{}, err
	}
	r, ok := lastDeployed(all)
	if !ok {
		return Record{}, &NotInstalledError{Revision: revision, Namespace: namespace, Records: len(all)}
	}
	return r, nil
}

// NotInstalledError says that no release of a revision is in force.
type NotInstalledError struct {
	Revision, Namespace string
	Records             int // that failed
}

// Error implements error.
func (e *NotInstalledError) Error() string {
	if e.Records > 0 {
		return fmt.Sprintf("no installation of revision %s in namespace %s has ever become ready", e.Revision, e.Namespace)
	}
	return fmt.Sprintf("revision %s is not installed in namespace %s", e.Revision, e.Namespace)
}
