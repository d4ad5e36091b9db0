package snapshot

import "github.com/meshctl/meshctl/internal/proxy/header"

// HeaderOps are changes to request and response headers. Removals come before
// additions, as in Envoy.
type HeaderOps struct {
	Request, Response             []HeaderOp
	RequestRemove, ResponseRemove []HeaderName
}

// HeaderName is a lower-case name with its number. A removal of a name that
// ends with "*" removes by prefix; Prefix is set then.
type HeaderName struct {
	Name   string
	ID     header.ID
	Prefix bool
}

// HeaderAction says how a value is put in.
type HeaderAction uint8

// Actions.
const (
	HeaderAppend         HeaderAction = iota // add another value
	HeaderAddIfAbsent                        // only when there is none
	HeaderOverwrite                          // replace, or add
	HeaderOverwriteExist                     // only replace
)

// HeaderOp adds or sets one header. Value is a constant when Format is nil.
type HeaderOp struct {
	HeaderName
	Action    HeaderAction
	KeepEmpty bool // add the header even if its value is empty
	Value     string
	Format    *Format
}
