package h1

import (
	"bufio"
	"io"
	"net/http"
	"strings"
	"testing"
)

// laxer are the refusals which net/http reads without an error.
const laxer = `
two CL that agree
CL with leading zero
TE name with space
trailer content-length
trailer transfer-encoding
trailer host
trailer folded
bare LF ends a line
bare LF ends the head
space before colon
space in a name
folded header
line of blanks
Host missing
Host empty
Host list
Host with comma
Host with user
Host with path
Host with space
Host with two ports
Host with port of letters
Host with only a port
Host with broken IPv6
Host with IPv6 and more
Host missing beside absolute form
absolute form with user
absolute form without host
absolute form of another scheme
asterisk for GET
fragment
CONNECT with path
CONNECT without port
method too long
bare LF behind the request line
HTTP/1.2
HTTP/2.0
HTTP/2 preface
HTTP/1.0
`

// TestStricterThanNetHTTP documents where we accept less than net/http; the fuzz
// targets hold that we accept no more and read it alike.
func TestStricterThanNetHTTP(t *testing.T) {
	t.Parallel()
	var got strings.Builder
	for _, c := range refusals {
		req, err := http.ReadRequest(bufio.NewReader(strings.NewReader(c.in)))
		if err != nil {
			continue
		}
		if _, err := io.ReadAll(req.Body); err == nil {
			got.WriteString(c.name + "\n")
		}
	}
	if want := strings.TrimPrefix(laxer, "\n"); got.String() != want {
		t.Errorf("net/http accepts\n%swant\n%s", got.String(), want)
	}
}
