// Package compare tells what differs between two configurations of a mesh, in the
// terms of what proxies are sent: pure, values in and values out.
//
//	d, err := compare.Configs(before, after)   // what each proxy would be sent, twice
//	for _, g := range d.Groups { … }           // 12 sidecars: route 9080 changed, …
//
// A difference is one of meaning: order counts only where the proxy heeds it, an
// absent field equals its default, and Any is looked into. Comparing a thing with
// itself gives nothing, and exchanging the sides exchanges old and new everywhere.
//
// Keys and passwords are compared and never printed.
package compare
