package identity

import (
	"fmt"
	"net/url"
	"strings"
)

// ID is a workload identity: a Kubernetes service account in a trust domain.
type ID struct {
	TrustDomain    string
	Namespace      string
	ServiceAccount string
}

// maxIDLength bounds a SPIFFE ID (SPIFFE ID spec §2.3 asks for 2048 to be accepted).
const maxIDLength = 2048

// String is the SPIFFE ID: spiffe://td/ns/x/sa/y.
func (i ID) String() string {
	return "spiffe://" + i.TrustDomain + "/ns/" + i.Namespace + "/sa/" + i.ServiceAccount
}

// URL is String as a URL, for a certificate's SAN.
func (i ID) URL() *url.URL {
	return &url.URL{Scheme: "spiffe", Host: i.TrustDomain, Path: "/ns/" + i.Namespace + "/sa/" + i.ServiceAccount}
}

// ParseID reads spiffe://td/ns/x/sa/y; anything else is an error.
func ParseID(s string) (ID, error) {
	if len(s) > maxIDLength {
		return ID{}, fmt.Errorf("identity of %d bytes is longer than %d", len(s), maxIDLength)
	}
	rest, ok := strings.CutPrefix(s, "spiffe://")
	if !ok {
		return ID{}, fmt.Errorf("identity %q does not begin with spiffe://", s)
	}
	p := strings.Split(rest, "/")
	if len(p) != 5 || p[1] != "ns" || p[3] != "sa" {
		return ID{}, fmt.Errorf("identity %q is not of the form spiffe://domain/ns/namespace/sa/account", s)
	}
	for _, part := range []string{p[0], p[2], p[4]} {
		if !validSegment(part) {
			return ID{}, fmt.Errorf("identity %q has an empty or invalid part", s)
		}
	}
	return ID{TrustDomain: p[0], Namespace: p[2], ServiceAccount: p[4]}, nil
}

// validSegment allows what SPIFFE allows in a path segment (SPIFFE ID spec §2.2).
func validSegment(s string) bool {
	if s == "" || s == "." || s == ".." {
		return false
	}
	for _, c := range s {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '.':
		default:
			return false
		}
	}
	return true
}
