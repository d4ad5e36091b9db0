// Package install puts the mesh on a Kubernetes cluster, changes it and takes it
// away again. It has two halves.
//
// The pure one turns options into manifests, without a cluster:
//
//  1. Resolve merges layers, the weakest first: the charts' own values, the
//     profile default, the profile that was chosen, files, --set. Each layer is
//     an IstioOperator spec. Where each value is from is remembered.
//  2. A key or profile that does not exist is an error with its place, and with
//     the nearest that does.
//  3. Render gives each component's values to its Helm chart, lays the settings
//     under k8s and overlays over what comes out, and marks every object as ours.
//
// The other one, Installer, talks to a cluster:
//
//  4. Inspect looks at what is there: an installation of ours, somebody else's.
//  5. Diff asks the server what an apply would change.
//  6. Apply writes what it is about to do into a record, applies objects by
//     server-side apply in the order of their dependencies, waits with the
//     reasons that the cluster gives, removes what is no longer wanted, and
//     closes the record. Every step may be repeated: an interrupted run is
//     continued by running it again.
//  7. Rollback applies an earlier record; Uninstall removes by labels, and looks
//     whether anything is left.
package install
