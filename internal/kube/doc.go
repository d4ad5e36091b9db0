// Package kube is the way to a Kubernetes cluster: clients made of a
// kubeconfig, errors that say what went wrong and what to do about it, and
// connections to ports of pods.
//
//	c, err := kube.New(kube.Options{Context: "prod"}) // reads files only
//	v, err := c.Version(ctx)                          // talks to it
//	f, err := c.Forward(ctx, "istio-system", "istiod-5c8d")
//	defer f.Close()
//	web := http.Client{Transport: f.Transport(15014)}
//
// Every error that comes out of here, and every one of a client made here after
// Explain, is an *Error when it is known what it means.
package kube
