// Package detect tells from the first bytes of a connection what is spoken on
// it: TLS (with server name and ALPN), HTTP, or a PROXY protocol header.
//
// All functions are pure: they look at what has come so far and say More until
// they are sure. Each has a bound after which it never says More, so a caller
// that keeps feeding always gets an answer.
package detect

// Verdict is what the bytes so far allow to say.
type Verdict uint8

// Verdicts.
const (
	More Verdict = iota // too early to say
	No
	Yes
)

// String names the verdict.
func (v Verdict) String() string {
	switch v {
	case More:
		return "more"
	case Yes:
		return "yes"
	case No:
		return "no"
	default:
		return "no"
	}
}
