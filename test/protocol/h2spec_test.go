package protocol

import (
	"io"
	"net/http"
	"testing"

	"github.com/meshctl/meshctl/internal/testenv/h2spec"
)

// TestH2Spec is about a whole listener. All cases have to pass but 3.5/2: what is
// no HTTP/2 preface is answered as HTTP/1.
func TestH2Spec(t *testing.T) {
	t.Parallel()
	w := webServer(t, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(rw, "hello")
	}))
	h2spec.Run(t, w.plain, 145)
}
