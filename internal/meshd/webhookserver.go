package meshd

import (
	"crypto/tls"
	"net"
	"net/http"
	"time"
)

// ServeWebhooks serves admission reviews over TLS (port 15017), with a
// certificate of the mesh's own CA that is renewed as it goes. Ready must be
// closed. The API server is the only client, yet anybody in the cluster can
// connect: times and sizes are bounded here, bodies by the handlers.
func (c *Core) ServeWebhooks(ln net.Listener, h http.Handler) Server {
	srv := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 30 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 16 << 10,
		TLSConfig: &tls.Config{
			MinVersion:     tls.VersionTLS12,
			GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.keeper.Current().Cert, nil },
		},
	}
	go func() { _ = srv.ServeTLS(ln, "", "") }()
	return httpServer{srv}
}
