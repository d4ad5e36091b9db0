package hpack

import (
	"encoding/binary"

	"github.com/meshctl/meshctl/internal/proxy/header"
)

// Bad says what is wrong with the text of a field. It is found out once, when
// the text is decoded, and kept in the dynamic table.
type Bad uint8

// What may be wrong (RFC 9113 §8.2.1).
const (
	BadName  Bad = 1 << iota // not a lower-case token
	BadValue                 // control characters, or white space at an end
)

var tokenLower = buildToken()

func buildToken() (t [256]bool) {
	for _, c := range "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz" {
		t[c] = true
	}
	return t
}

func checkName(id header.ID, name []byte) Bad {
	if id != header.Other { // known names are good, pseudo-header fields included
		return 0
	}
	if len(name) == 0 {
		return BadName
	}
	for _, c := range name {
		if !tokenLower[c] {
			return BadName
		}
	}
	return 0
}

// CheckValue tells whether a field value is fit for a message: no control
// characters but tab, no white space at its ends.
func CheckValue(v []byte) Bad {
	n := len(v)
	if n == 0 {
		return 0
	}
	if f, l := v[0], v[n-1]; f == ' ' || f == '\t' || l == ' ' || l == '\t' {
		return BadValue
	}
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	for len(v) >= 8 { // eight at a time: below 0x20, or 0x7f
		x := binary.LittleEndian.Uint64(v)
		d := x ^ (ones * 0x7f)
		if (x-ones*0x20)&^x&tops|(d-ones)&^d&tops != 0 {
			break
		}
		v = v[8:]
	}
	for _, c := range v {
		if c < 0x20 && c != '\t' || c == 0x7f {
			return BadValue
		}
	}
	return 0
}
