// Package resource holds user intent: the kinds of object the mesh reads,
// their keys, strict decoding of YAML with file:line:col, and validation.
//
// An Object is made by Decode (files, stdin) or by a source (a cluster), is
// immutable, and knows where each of its fields was written. What is wrong with
// an object is a diag.Diagnostic; deciding what to do about it (set the object
// aside, keep the last good version) is the source's job.
package resource
