// Package admin is the proxy's admin interface in the shape of Envoy's, so that
// tools made for Envoy and Istio read it: /config_dump, /clusters, /listeners,
// /stats, /server_info, /certs, /logging, /ready and more; /help lists them.
//
//	h, err := admin.New(admin.Options{...})
//	srv := &http.Server{Handler: h}
//
// It answers clients on this host only: the peer's address and the Host header
// must be loopback, and a browser's page of another origin is refused. What
// changes anything needs POST. Large answers are written as they are made.
package admin
