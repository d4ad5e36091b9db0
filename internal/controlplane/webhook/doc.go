// Package webhook answers the API server: what is to be added to a pod (/inject), and
// whether a resource may be stored (/validate). Both are http.Handlers for
// AdmissionReview v1; the control plane serves them over TLS.
//
// Rules that hold for both:
//
//   - The size of a request is bounded before it is read, and the number of requests
//     that are worked on at once as well.
//   - What a handler cannot judge, it lets pass: a resource of a kind that the mesh
//     does not know, a deletion. What it can judge and is wrong, it refuses, with the
//     field, the reason and the fix.
//   - Nothing is asked of the cluster, so that an answer does not depend on another.
//   - A panic is one failed answer, and is logged.
package webhook
