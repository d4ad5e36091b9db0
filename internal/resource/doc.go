// Package resource holds user intent: the kinds of object the mesh reads,
// their keys, strict decoding of YAML with file:line:col, and validation.
//
//	objects, findings := resource.Decode("reviews.yaml", text, resource.Options{})
//	for _, o := range objects {
//		findings = append(findings, resource.Validate(o)...)
//	}
//
// How a text becomes objects:
//
//  1. The text is cut into documents (split.go), so that a broken one does not
//     hide those after it. Limits hold from here on (limits.go).
//  2. Each document is parsed once into a tree of JSON values that know their
//     places; anchors, merge keys and tags end here (tree.go).
//  3. apiVersion and kind choose an entry of the table (kindtable.go). Kinds the
//     mesh does not read stay as objects without content.
//  4. The content is filled by walking the tree against the protobuf descriptor
//     (decodeproto.go) or the Go type (decodego.go): every unknown or mistyped
//     field is a finding.
//  5. What remains of the tree is the place of every field (fields.go), canonical
//     JSON and a hash of the content (canonical.go, content.go).
//
// An Object is made by Decode (files, stdin) or by a source (a cluster), is
// immutable, and knows where each of its fields was written. What is wrong with
// an object is a diag.Diagnostic; deciding what to do about it (set the object
// aside, keep the last good version) is the source's job.
package resource
